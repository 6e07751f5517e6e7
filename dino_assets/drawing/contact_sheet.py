"""Contact sheets: a page of tiles with captions, to look through before labelling."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dino_assets.drawing.lettering import GREY, INK, RED, WHITE, encode_picture, load_font, wrap
from dino_assets.errors import ConfigError

MAX_JPEG_PX = 65_500  # the format's own limit is 65,535
MAX_TITLE_LINES = 4
MAX_CAVEAT_LINES = 20  # enough for the whole text above a single small cell


def make_contact_sheet(
    tiles: Sequence[tuple[NDArray[np.uint8], str]],
    *,
    columns: int = 5,
    cell_px: int = 220,
    title: str = "",
    caveat: str = "",
) -> bytes:
    """Draw tiles (side, side, 3) uint8 as a JPEG, row by row, each with a caption of up to three lines.

    The ``title`` stands above the tiles. The ``caveat``, a warning, stands in red below the title.

    Raises:
        ConfigError: ``columns`` is below 1, ``cell_px`` is below 40, a tile is not (side, side, 3) uint8,
            or a JPEG has no room for all tiles.
    """
    if columns < 1 or cell_px < 40:
        name, value = ("columns", columns) if columns < 1 else ("cell_px", cell_px)
        message = (
            f"columns={columns}, cell_px={cell_px}: expected at least 1 column and cells of 40 px"
        )
        raise ConfigError(message, setting=name, value=value)
    text_px = max(10, cell_px // 16)
    font, gap = load_font(text_px), max(6, cell_px // 18)
    if not tiles:
        empty = Image.new("RGB", (cell_px * 2, cell_px // 2), WHITE)
        middle = (cell_px, cell_px / 4)
        ImageDraw.Draw(empty).text(middle, "No tiles to show", fill=GREY, font=font, anchor="mm")
        return encode_picture(empty, "JPEG", quality=88)
    captions = [wrap(caption, font, cell_px, max_lines=3) for _, caption in tiles]
    line_px = round(text_px * 1.35)
    step_y = cell_px + max(map(len, captions)) * line_px + text_px // 2 + gap
    across = min(columns, len(tiles))
    width = across * (cell_px + gap) + gap
    room_px = width - 2 * gap
    head = [(line, INK) for line in wrap(title, font, room_px, max_lines=MAX_TITLE_LINES)]
    head += [(line, RED) for line in wrap(caveat, font, room_px, max_lines=MAX_CAVEAT_LINES)]
    head_px = len(head) * line_px + gap if head else 0
    height = head_px + -(-len(tiles) // across) * step_y + gap
    if max(width, height) > MAX_JPEG_PX:
        raise ConfigError(
            f"{len(tiles)} tiles make a sheet of {width}×{height} px, and a JPEG can have at most "
            f"{MAX_JPEG_PX} px per side. Use another number of columns, smaller cells or fewer tiles",
            setting="tiles",
            value=len(tiles),
        )
    sheet = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(sheet)
    for number, (line, colour) in enumerate(head):
        draw.text((gap, gap + number * line_px), line, fill=colour, font=font)
    for index, (pixels, lines) in enumerate(zip((t for t, _ in tiles), captions, strict=True)):
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise ConfigError(
                f"tile {index} has the type {pixels.dtype} and the shape {pixels.shape}: expected uint8 and "
                "(side, side, 3)",
                setting="tiles",
                value=index,
            )
        row, column = divmod(index, across)
        left, top = gap + column * (cell_px + gap), head_px + gap + row * step_y
        picture = Image.fromarray(pixels)
        sheet.paste(picture.resize((cell_px, cell_px), Image.Resampling.LANCZOS), (left, top))
        for number, line in enumerate(lines):
            y = top + cell_px + text_px // 3 + number * line_px
            draw.text((left, y), line, fill=GREY if number else INK, font=font)
    # Colours at half resolution (4:2:0) would blur the coloured edges of text.
    return encode_picture(sheet, "JPEG", quality=88, subsampling=0)
