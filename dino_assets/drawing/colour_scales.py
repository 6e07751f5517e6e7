"""Colour scales for numbers, heat maps over photographs, and the bar that explains the colours."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from dino_assets.drawing.lettering import GREY, INK, LINE, load_font, shorten

# Ten stops of viridis (CC0). Its lightness rises evenly, so it works in grey and for the colour-blind.
VIRIDIS = (
    *((68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142)),
    *((31, 158, 137), (53, 183, 121), (109, 205, 89), (180, 222, 44), (253, 231, 37)),
)
HEAT_SHARE = 0.65  # share of the colour over a photograph; the rest is the photograph in grey
BAR_PX, _LETTERS_PX, _GAP_PX = 18, 15, 6
BAR_HEIGHT_PX = BAR_PX + 2 * _LETTERS_PX + 3 * _GAP_PX
_MIDDLE_GREY = 128


@dataclass(frozen=True)
class ColourScale:
    """Colours of numbers: the darkest at ``low`` and below, the brightest at ``high`` and above."""

    low: float
    high: float
    meaning: str  # the text above the bar
    spell: Callable[[float], str] = "{:.3g}".format  # writes a number below the bar
    is_open: bool = False  # there are numbers above ``high``, drawn in the same colour
    mark: tuple[float, str] | None = None  # a number to mark on the bar, with its label
    share: float = HEAT_SHARE  # share of the colour over the photograph

    def colour(self, values: ArrayLike) -> NDArray[np.uint8]:
        """Compute the RGB colour of each number, as uint8 (…, 3)."""
        span = self.high - self.low
        numbers = np.asarray(values, np.float64)
        shares = np.clip((numbers - self.low) / (span if span > 0 else 1), 0, 1)
        stops = np.linspace(0, 1, len(VIRIDIS))
        channels = [np.interp(shares, stops, channel) for channel in zip(*VIRIDIS, strict=True)]
        return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def lay_over(photo: Image.Image, values: NDArray[np.float32], scale: ColourScale) -> Image.Image:
    """Draw a grid of numbers (rows, columns) as coloured rectangles over a photograph in grey."""
    heat = Image.fromarray(scale.colour(values)).resize(photo.size, Image.Resampling.NEAREST)
    return Image.blend(photo.convert("L").convert("RGB"), heat, scale.share)


def draw_bar(
    picture: Image.Image, left: int, top: int, *, scale: ColourScale, room_px: int
) -> None:
    """Draw a scale: its meaning as text, a bar of its colours over middle grey, and numbers below the bar."""
    draw, font = ImageDraw.Draw(picture), load_font(_LETTERS_PX)
    draw.text((left, top), shorten(scale.meaning, font, room_px), INK, font)
    top += _LETTERS_PX + _GAP_PX
    width = min(room_px, 440)
    ramp = scale.colour(np.linspace(scale.low, scale.high, width)[None])
    gray = Image.new("RGB", (width, BAR_PX), (_MIDDLE_GREY,) * 3)
    heat = Image.fromarray(ramp).resize((width, BAR_PX), Image.Resampling.NEAREST)
    picture.paste(Image.blend(gray, heat, scale.share), (left, top))
    draw.rectangle((left, top, left + width - 1, top + BAR_PX - 1), outline=LINE)
    _write_numbers(draw, left, top, width, scale)


def _write_numbers(
    draw: ImageDraw.ImageDraw, left: int, top: int, width: int, scale: ColourScale
) -> None:
    """Write the lowest and the highest number below the bar, and one number between them.

    That is the marked number, or the middle one if none is marked.
    """
    font, below = load_font(_LETTERS_PX), top + BAR_PX + 2
    low, high = scale.spell(scale.low), scale.spell(scale.high)
    high += " and more" if scale.is_open else ""
    draw.text((left, below), low, GREY, font)
    draw.text((left + width, below), high, GREY, font, anchor="ra")
    middle = (scale.low + scale.high) / 2
    value, label = scale.mark or (middle, scale.spell(middle))
    if not scale.low <= value <= scale.high or scale.low == scale.high:
        return
    at = (width - 1) * (value - scale.low) / (scale.high - scale.low)
    if scale.mark:
        draw.line((left + at, top - 3, left + at, top + BAR_PX + 2), INK, 2)
    half = font.getlength(label) / 2
    first, last = font.getlength(low) + 12 + half, width - font.getlength(high) - 12 - half
    if first <= last:
        place = (left + min(max(at, first), last), below)
        draw.text(place, label, INK if scale.mark else GREY, font, anchor="ma")
