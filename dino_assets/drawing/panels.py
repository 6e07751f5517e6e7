"""Sheets of several pictures with title, captions, notes, a warning and a colour scale."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from dino_assets.drawing.colour_scales import BAR_HEIGHT_PX, ColourScale, draw_bar
from dino_assets.drawing.lettering import (
    GREY,
    INK,
    RED,
    WHITE,
    Colour,
    load_font,
    shorten,
    wrap,
)

_TITLE_PX, _TEXT_PX, _MARGIN_PX, _GAP_PX = 20, 15, 16, 10
_MIN_WIDTH_PX = 760  # so that the text around small pictures is readable


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture and the caption above it."""

    picture: Image.Image
    caption: str


def draw_panels(
    rows: Sequence[Sequence[Panel]],
    *,
    title: str,
    notes: Sequence[str],
    caveat: str = "",
    scale: ColourScale | None = None,
) -> Image.Image:
    """Draw rows of panels with aligned columns, each panel in its own size.

    The ``caveat`` is a warning. It stands in red between the title and the notes.
    """
    columns = range(max(len(row) for row in rows))
    widths = [max(row[n].picture.width for row in rows if n < len(row)) for n in columns]
    heights = [max(panel.picture.height for panel in row) for row in rows]
    room = max(sum(widths) + _GAP_PX * (len(widths) - 1), _MIN_WIDTH_PX)
    lines = _write_head(title, notes, caveat, room)
    head_px = sum(_line_px(size) for _, _, size in lines) + _GAP_PX
    step_px = _line_px(_TEXT_PX) + _GAP_PX
    foot_px = BAR_HEIGHT_PX + _GAP_PX if scale else 0
    height = head_px + sum(heights) + step_px * len(rows) + foot_px + 2 * _MARGIN_PX - _GAP_PX
    sheet = Image.new("RGB", (room + 2 * _MARGIN_PX, height), WHITE)
    draw, top = ImageDraw.Draw(sheet), _MARGIN_PX
    for text, colour, size in lines:
        draw.text((_MARGIN_PX, top), text, colour, load_font(size))
        top += _line_px(size)
    top += _GAP_PX
    font = load_font(_TEXT_PX)
    for row, row_px in zip(rows, heights, strict=True):
        left = _MARGIN_PX
        for panel, width in zip(row, widths, strict=False):
            draw.text((left, top), shorten(panel.caption, font, width), INK, font)
            sheet.paste(panel.picture, (left, top + _line_px(_TEXT_PX)))
            left += width + _GAP_PX
        top += step_px + row_px
    if scale:
        draw_bar(sheet, _MARGIN_PX, top, scale=scale, room_px=room)
    return sheet


def _write_head(
    title: str, notes: Sequence[str], caveat: str, room: int
) -> list[tuple[str, Colour, int]]:
    head = [(line, INK, _TITLE_PX) for line in wrap(title, load_font(_TITLE_PX), room, max_lines=2)]
    font = load_font(_TEXT_PX)
    for text, colour in [(caveat, RED), *((note, GREY) for note in notes)]:
        if text:
            head += [(line, colour, _TEXT_PX) for line in wrap(text, font, room, max_lines=6)]
    return head


def _line_px(size: int) -> int:
    return round(size * 1.35)
