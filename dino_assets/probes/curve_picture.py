"""Picture of learning curves as a PNG: a panel for each strategy, with random selection in grey.

Equal input gives equal bytes with the same version of Pillow.
"""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from dino_assets.drawing.lettering import GREY, INK, LINE, WHITE, Colour, encode_picture, load_font
from dino_assets.drawing.panels import Panel, draw_panels
from dino_assets.probes.curve import CurvePoint

_WIDTH_PX, _HEIGHT_PX, _SCALE = (
    380,
    270,
    2,
)  # drawn larger and then reduced, so that lines are smooth
_LEFT_PX, _TOP_PX, _RIGHT_PX, _BOTTOM_PX = 44, 10, 14, 34
_COLUMNS = 3
_TEXT_PX = 12
RANDOM, CHOSEN = (120, 126, 135), (0, 95, 170)
_OPACITY = 0.25  # of a band


def draw_curves(
    points: Sequence[CurvePoint],
    captions: dict[str, str],
    *,
    title: str,
    notes: Sequence[str] = (),
    caveat: str = "",
) -> bytes:
    """Draw the curve of each strategy over random selection, with 95 % bands, one panel per caption."""
    curves: dict[str, list[CurvePoint]] = {}
    for point in points:
        curves.setdefault(point.strategy, []).append(point)
    panels = [
        Panel(_draw_panel(curves["random"], curves[name], points), caption)
        for name, caption in captions.items()
    ]
    rows = [panels[at : at + _COLUMNS] for at in range(0, len(panels), _COLUMNS)]
    sheet = draw_panels(rows, title=title, notes=notes, caveat=caveat)
    return encode_picture(sheet, "PNG", optimize=True)


class _Axes:
    """Places in a panel: budgets on a logarithmic scale to the right, accuracy upwards."""

    def __init__(self, points: Sequence[CurvePoint]) -> None:
        self.budgets = sorted({point.budget for point in points})
        self.low = math.floor(10 * max(0.0, min(point.low for point in points))) / 10
        self.high = math.ceil(10 * min(1.0, max(point.high for point in points))) / 10
        self.high = max(self.high, self.low + 0.1)

    def x(self, budget: float) -> float:
        first, last = math.log(self.budgets[0]), math.log(self.budgets[-1])
        share = (math.log(budget) - first) / (last - first) if last > first else 0.5
        return _SCALE * (_LEFT_PX + share * (_WIDTH_PX - _LEFT_PX - _RIGHT_PX))

    def y(self, accuracy: float) -> float:
        share = (min(max(accuracy, self.low), self.high) - self.low) / (self.high - self.low)
        return _SCALE * (_TOP_PX + (1 - share) * (_HEIGHT_PX - _TOP_PX - _BOTTOM_PX))


def _draw_panel(
    random: Sequence[CurvePoint], chosen: Sequence[CurvePoint], points: Sequence[CurvePoint]
) -> Image.Image:
    axes = _Axes(points)
    picture = Image.new("RGB", (_WIDTH_PX * _SCALE, _HEIGHT_PX * _SCALE), WHITE)
    _draw_grid(ImageDraw.Draw(picture), axes)
    for curve, colour in ((random, RANDOM), (chosen, CHOSEN)):
        picture = _lay_band(picture, axes, curve, colour)
    draw = ImageDraw.Draw(picture)
    for curve, colour in ((random, RANDOM), (chosen, CHOSEN)):
        places = [(axes.x(point.budget), axes.y(point.mean)) for point in curve]
        draw.line(places, colour, 2 * _SCALE)
        for x, y in places:
            radius = 3 * _SCALE
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)
    return picture.resize((_WIDTH_PX, _HEIGHT_PX), Image.Resampling.LANCZOS)


def _lay_band(
    picture: Image.Image, axes: _Axes, curve: Sequence[CurvePoint], colour: Colour
) -> Image.Image:
    outline = [(axes.x(point.budget), axes.y(point.high)) for point in curve]
    outline += [(axes.x(point.budget), axes.y(point.low)) for point in reversed(curve)]
    mask = Image.new("L", picture.size)
    if len(curve) > 1:
        ImageDraw.Draw(mask).polygon(outline, round(255 * _OPACITY))
    return Image.composite(Image.new("RGB", picture.size, colour), picture, mask)


def _draw_grid(draw: ImageDraw.ImageDraw, axes: _Axes) -> None:
    font = load_font(_TEXT_PX * _SCALE)
    left, right = _SCALE * _LEFT_PX, _SCALE * (_WIDTH_PX - _RIGHT_PX)
    bottom = axes.y(axes.low)
    for tenth in range(round(10 * axes.low), round(10 * axes.high) + 1):
        y = axes.y(tenth / 10)
        draw.line((left, y, right, y), LINE, _SCALE)
        draw.text((left - 6 * _SCALE, y), f"{10 * tenth} %", GREY, font, anchor="rm")
    written = -math.inf
    for budget in axes.budgets:
        x, text = axes.x(budget), f"{budget:,}"
        draw.line((x, bottom, x, bottom + 4 * _SCALE), INK, _SCALE)
        half = font.getlength(text) / 2
        if x - half > written:
            draw.text((x, bottom + 6 * _SCALE), text, GREY, font, anchor="ma")
            written = x + half + 4 * _SCALE
    draw.line((left, bottom, right, bottom), INK, _SCALE)
