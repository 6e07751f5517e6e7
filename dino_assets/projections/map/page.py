"""Interactive map page: one HTML file that opens from disk and shows the tile under the pointer."""

import io
import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from dino_assets.drawing.lettering import LINE, encode_picture
from dino_assets.drawing.templates import render_page
from dino_assets.errors import ConfigError
from dino_assets.projections.map.cards import CARD_PX, Choice, pack_choices, pack_origins, to_base64
from dino_assets.projections.map.points import check_points
from dino_assets.tiles.rows import TileOrigin

THUMB_PX = 48  # size of the thumbnails in `embeddings`
SHEET_COLUMNS = 32
SHEET_THUMBS = (
    SHEET_COLUMNS**2
)  # 1,536 px square: 9 MB decoded, when one of its tiles is first shown
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
    origins: Sequence[TileOrigin | None] = (),
    chosen: Mapping[int, Choice] | None = None,
    earlier: Mapping[int, str] | None = None,
    caveat: str = "",
) -> str:
    """Make one HTML file with the map, which shows the tile under the pointer; it needs no network.

    The tile is shown on a card: its picture, and from ``origins`` its photograph and place. A row is a tile's
    index in the lists. ``chosen`` maps rows to choices, in the order of rank. ``earlier`` has a note for each
    row that an earlier round chose. Both kinds of tiles get rings, and their cards show the note. The page
    lists the chosen tiles. If ``chosen`` is None, the page does not mention choices.

    An empty thumb (thumbnail) means a tile without a picture. A tile needs about 0.75 KB, of which 0.69 KB
    are its picture. The ``caveat`` is shown in red above the caption. If ``#hover=<tile id>`` ends the
    address, the page opens at that tile.

    Raises:
        ConfigError: the lists differ in length, ``check_points`` refuses one of them, or a thumb is not a
            picture.
    """
    choices, earlier_notes = dict(chosen or {}), dict(earlier or {})
    points = check_points(
        coordinates, groups, group_names, list(choices), list(earlier_notes), colours=colours
    )
    count = len(points.coordinates)
    origins = origins or [None] * count
    for setting, values in (("tile_ids", tile_ids), ("thumbs", thumbs), ("origins", origins)):
        if len(values) != count:
            raise ConfigError(
                f"{len(values)} {setting} for {count} coordinates: one per tile is expected",
                setting=setting,
                value=len(values),
            )
    data = {
        "ids": list(tile_ids),
        "xy": to_base64(points.coordinates.astype("<f4").tobytes()),
        "groups": to_base64(points.groups.astype("<u2").tobytes()),
        "names": points.names,
        "counts": points.counts,
        "colours": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in points.colours.tolist()],
        "isRound": chosen is not None,
        **pack_origins(origins),
        **pack_choices(choices),
        "earlier": list(earlier_notes),
        "earlierNotes": list(earlier_notes.values()),
        "thumbPx": THUMB_PX,
        "sheetColumns": SHEET_COLUMNS,
        "sheetThumbs": SHEET_THUMBS,
        "sheets": [to_base64(sheet) for sheet in pack_thumbs(thumbs, tile_ids=tile_ids)],
    }
    return render_page(
        "dino_assets.projections.map",
        "page.html",
        title=title.encode("utf-8", "replace").decode("utf-8"),
        caption=caption.encode("utf-8", "replace").decode("utf-8"),
        caveat=caveat,
        card_px=CARD_PX,
        # Only "<" can end a script element early. `json.dumps` writes ASCII, so no lone surrogates.
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    )


def pack_thumbs(thumbs: Sequence[bytes], *, tile_ids: Sequence[str]) -> list[bytes]:
    """Pack thumbs into WebP sheets of 32 × 32 thumbs, row by row; the last sheet may have fewer rows.

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
