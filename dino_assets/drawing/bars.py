"""Chart of counts: one horizontal bar for each name, the longest first."""

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from dino_assets.drawing.lettering import GREY, INK, WHITE, load_font, shorten

_TITLE_PX, _TEXT_PX, _MARGIN_PX, _ROW_PX = 20, 15, 16, 26
_NAME_PX, _BAR_PX, _COUNT_PX = 200, 420, 110
BAR = (0, 114, 178)  # of the palette of Okabe and Ito, which colour-blind people can tell apart
MOST_BARS = 40


def draw_bars(
    counts: Mapping[str, int], *, title: str, notes: Sequence[str] = (), most: int = MOST_BARS
) -> Image.Image:
    """Draw a bar for each count, at most ``most``; a last line says how many names are left out."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = ranked[most:]
    lines = [*notes]
    if rest:
        lines.append(f"and {len(rest)} more, with {sum(count for _, count in rest):,} together")
    font, longest = load_font(_TEXT_PX), max((count for _, count in ranked), default=1)
    width = 2 * _MARGIN_PX + _NAME_PX + _BAR_PX + _COUNT_PX
    height = 2 * _MARGIN_PX + _ROW_PX * (len(ranked[:most]) + len(lines)) + _ROW_PX + 8
    sheet = Image.new("RGB", (width, height), WHITE)
    draw, top = ImageDraw.Draw(sheet), _MARGIN_PX
    heading = load_font(_TITLE_PX)
    draw.text((_MARGIN_PX, top), shorten(title, heading, width - 2 * _MARGIN_PX), INK, heading)
    top += _ROW_PX + 8
    left = _MARGIN_PX + _NAME_PX
    for name, count in ranked[:most]:
        draw.text((_MARGIN_PX, top), shorten(name, font, _NAME_PX - 10), INK, font)
        length = max(1, round(_BAR_PX * count / max(longest, 1)))
        draw.rectangle((left, top + 2, left + length, top + _ROW_PX - 8), BAR)
        draw.text((left + length + 8, top), f"{count:,}", INK, font)
        top += _ROW_PX
    for line in lines:
        draw.text((_MARGIN_PX, top), shorten(line, font, width - 2 * _MARGIN_PX), GREY, font)
        top += _ROW_PX
    return sheet
