"""Drawing of an image with its grid of tiles."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dino_assets.drawing.lettering import (
    GREY,
    INK,
    WHITE,
    Colour,
    encode_picture,
    load_font,
    shorten,
)

MAX_PX = 1600  # the picture's longer side
EVEN, ODD, SHIFTED = (66, 133, 244), (251, 188, 5), (219, 68, 55)
_LETTERS_PX = 18
_FOOT_PX = 2 * _LETTERS_PX + 24
_MIN_WIDTH_PX = 720  # so that the text below is readable
_LINE_PX = 2


def draw_grid(
    pixels: NDArray[np.uint8], windows: NDArray[np.int32], *, step_px: int, title: str, caption: str
) -> bytes:
    """Draw the windows (N, 4) over an upright image (H, W, 3), as a PNG.

    Neighbouring tiles overlap, so only two corners of each tile are drawn, in two alternating colours. Tiles
    that were shifted inwards are red. The first tile is outlined. ``step_px`` is the distance between the
    left edges of neighbouring tiles.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, MAX_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.new("RGB", (max(size[0], _MIN_WIDTH_PX), size[1] + _FOOT_PX), WHITE)
    shrunk = Image.fromarray(pixels).resize(size, Image.Resampling.BOX)
    # Lighten the image, so that the grid is visible on a burnt forest and on snow.
    picture.paste(Image.blend(shrunk, Image.new("RGB", size, WHITE), 0.25), (0, 0))
    draw = ImageDraw.Draw(picture)
    for x, y, w, h in windows.tolist():
        corners = [round(v * scale) for v in (x, y, x + w, y + h)]
        _draw_bracket(draw, corners, _colour_of(x, y, step_px))
    x, y, w, h = windows[0].tolist()
    outline = [round(v * scale) for v in (x, y, x + w - 1, y + h - 1)]
    draw.rectangle([min(a, b - 1) for a, b in zip(outline, size * 2, strict=True)], None, EVEN, 4)
    _write(draw, size[1] + 8, title, INK, room_px=picture.width - 16)
    _write(draw, size[1] + 12 + _LETTERS_PX, caption, GREY, room_px=picture.width - 16)
    return encode_picture(picture, "PNG", optimize=True)


def _colour_of(x: int, y: int, step_px: int) -> Colour:
    if x % step_px or y % step_px:
        return SHIFTED
    return ODD if (x // step_px + y // step_px) % 2 else EVEN


def _draw_bracket(draw: ImageDraw.ImageDraw, corners: list[int], colour: Colour) -> None:
    left, top, right, bottom = corners
    arm = max(3, min(right - left, bottom - top) // 6)
    draw.line((left, top, min(left + arm, right), top), colour, _LINE_PX)
    draw.line((left, top, left, min(top + arm, bottom)), colour, _LINE_PX)
    draw.line((right - 1, bottom - 1, max(right - arm, left), bottom - 1), colour, _LINE_PX)
    draw.line((right - 1, bottom - 1, right - 1, max(bottom - arm, top)), colour, _LINE_PX)


def _write(
    draw: ImageDraw.ImageDraw, top: int, text: str, colour: Colour, *, room_px: float
) -> None:
    font = load_font(_LETTERS_PX)
    draw.text((8, top), shorten(text, font, room_px), colour, font)
