"""The map as one HTML page that opens from the disk and shows the tile under the pointer."""

import base64
import io
import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from dino_assets.drawing.lettering import LINE, encode_picture
from dino_assets.drawing.templates import render_page
from dino_assets.errors import ConfigError
from dino_assets.projections.map.picture import check_points

THUMB_PX = 48  # as the embeddings carry them
SHEET_COLUMNS = 32
SHEET_THUMBS = SHEET_COLUMNS**2  # 1,536 px square: 9 MB decoded, and only once it is hovered
SHEET_QUALITY = 75


def make_page(
    coordinates: ArrayLike,
    *,
    tile_ids: Sequence[str],
    groups: Sequence[int] | np.ndarray | None,
    group_names: Sequence[str],
    thumbs: Sequence[bytes],
    title: str,
    caption: str,
    colours: Sequence[int] | None = None,
    chosen: Mapping[int, str] | None = None,
    earlier: Mapping[int, str] | None = None,
    caveat: str = "",
) -> str:
    """One HTML file that shows the map and, under the pointer, the tile: no server, no network.

    ``chosen`` rows, by rank, and rows chosen ``earlier`` get rings and their note: on hover, and the
    chosen ones in a list. Without ``chosen`` the page does not speak of choices.
    An empty thumb is a tile without a picture. A tile costs about 0.75 KB: 0.69 of them are
    its picture. A ``caveat`` stands in red above the caption. ``#hover=<tile id>`` at the end of the address opens the page on that tile.

    Raises:
        ConfigError: the lists are not of one length, or one of them is not what ``draw_map`` accepts;
            a thumb is not a picture.
    """
    notes, earlier_notes = dict(chosen or {}), dict(earlier or {})
    points = check_points(
        coordinates, groups, group_names, list(notes), list(earlier_notes), colours=colours
    )
    count = len(points.coordinates)
    if len(tile_ids) != count or len(thumbs) != count:
        raise ConfigError(
            f"{count} coordinates, {len(tile_ids)} tile ids, {len(thumbs)} thumbs: pass one per tile",
            setting="tile_ids" if len(tile_ids) != count else "thumbs",
            value=len(tile_ids) if len(tile_ids) != count else len(thumbs),
        )
    data = {
        "ids": list(tile_ids),
        "xy": _to_base64(points.coordinates.astype("<f4").tobytes()),
        "groups": _to_base64(points.groups.astype("<u2").tobytes()),
        "names": points.names,
        "counts": points.counts,
        "colours": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in points.colours.tolist()],
        "isRound": chosen is not None,
        "chosen": list(notes),
        "notes": list(notes.values()),
        "earlier": list(earlier_notes),
        "earlierNotes": list(earlier_notes.values()),
        "thumbPx": THUMB_PX,
        "sheetColumns": SHEET_COLUMNS,
        "sheetThumbs": SHEET_THUMBS,
        "sheets": [_to_base64(sheet) for sheet in pack_thumbs(thumbs, tile_ids=tile_ids)],
    }
    return render_page(
        "dino_assets.projections.map",
        "page.html",
        title=title.encode("utf-8", "replace").decode("utf-8"),
        caption=caption.encode("utf-8", "replace").decode("utf-8"),
        caveat=caveat,
        # Only "<" can end a script element early; ASCII keeps lone surrogates out of the file.
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    )


def pack_thumbs(thumbs: Sequence[bytes], *, tile_ids: Sequence[str]) -> list[bytes]:
    """WebP sheets of 32 × 32 thumbs, row by row; the last one is only as high as it needs to be.

    Raises:
        ConfigError: a thumb is not a picture.
    """
    if not any(thumbs):
        return []
    sheets = []
    for start in range(0, len(thumbs), SHEET_THUMBS):
        part = thumbs[start : start + SHEET_THUMBS]
        rows = -(-len(part) // SHEET_COLUMNS)
        sheet = Image.new("RGB", (SHEET_COLUMNS * THUMB_PX, rows * THUMB_PX), LINE)
        for index, thumb in enumerate(part):
            if thumb:
                row, column = divmod(index, SHEET_COLUMNS)
                picture = _open_thumb(thumb, tile_ids[start + index])
                sheet.paste(picture, (column * THUMB_PX, row * THUMB_PX))
        sheets.append(encode_picture(sheet, "WEBP", quality=SHEET_QUALITY, method=3))
    return sheets


def _open_thumb(thumb: bytes, tile_id: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(thumb), formats=("WEBP", "PNG", "JPEG")) as opened:
            picture = opened.convert("RGB")
    except OSError as err:
        raise ConfigError(
            f"the thumb of tile {tile_id!r} ({len(thumb)} bytes) is not a WebP, PNG or JPEG picture: "
            "pass empty bytes for a tile without one",
            setting="thumbs",
            value=tile_id,
        ) from err
    if picture.size == (THUMB_PX, THUMB_PX):
        return picture
    return picture.resize((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS)


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
