"""The map as one HTML page that opens from the disk and shows the tile under the pointer."""

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
    origins: Sequence[TileOrigin | None] = (),
    chosen: Mapping[int, Choice] | None = None,
    earlier: Mapping[int, str] | None = None,
    caveat: str = "",
) -> str:
    """One HTML file that shows the map and, under the pointer, the tile: no server, no network.

    ``origins`` say of each tile its photograph and its place; without them the card does not.
    ``chosen`` rows, by rank, and rows chosen ``earlier`` get rings and their note: on the card, and the
    chosen ones in a list. Without ``chosen`` the page does not speak of choices.
    An empty thumb is a tile without a picture. A tile costs about 0.75 KB: 0.69 of them are its
    picture. A ``caveat`` stands in red above the caption. ``#hover=<tile id>`` at the end of the
    address opens the page on that tile.

    Raises:
        ConfigError: the lists are not of one length, or one of them is not what ``draw_map`` accepts;
            a thumb is not a picture.
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
                f"{len(values)} {setting} for {count} coordinates: pass one per tile",
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
