"""Pictures of chosen tiles: each cut from its photograph, and all on a contact sheet."""

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from dino_assets.drawing.contact_sheet import make_contact_sheet
from dino_assets.drops.sources.source import Source
from dino_assets.errors import CommitRefusedError
from dino_assets.images.records import Pixels
from dino_assets.selections.records import ChosenTile, Pick
from dino_assets.store.commits.columns import read_records
from dino_assets.store.commits.protocol import OutputWriter
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles.grid import TileGrid, cut_tiles
from dino_assets.tiles.rows import TileRow, open_tiled
from dino_assets.tiles.stage import grid_of

SHEET_TILES = 200  # what a person looks through; a JPEG ends at 65,535 px
SHEET_CELL_PX = 220
CROP_QUALITY = 92


def store_pictures(
    out: OutputWriter,
    picks: Sequence[Pick],
    number: int,
    tiles: CommittedTable,
    *,
    open_source: Callable[[str], Source],
    sheet_tiles: int = SHEET_TILES,
) -> tuple[list[ChosenTile], bytes]:
    """Store the picture of each pick of a round; return the rows by rank, and the contact sheet.

    Every photograph is read once and let go, so that a round may be as large as it likes.
    """
    rows: dict[int, ChosenTile] = {}
    cells: dict[int, NDArray[np.uint8]] = {}
    for pick, tile, picture in _cut_pictures(picks, tiles, open_source):
        row = make_row(pick, tile, number)
        rows[pick.rank] = row
        if pick.rank <= sheet_tiles:
            cells[pick.rank] = np.asarray(picture.resize((SHEET_CELL_PX, SHEET_CELL_PX)))
        out.file(row.picture, _encode(picture))
    chosen = [rows[rank] for rank in sorted(rows)]
    sheet = [(cells[row.rank], row.caption) for row in chosen[:sheet_tiles]]
    return chosen, make_contact_sheet(sheet)


def make_row(pick: Pick, tile: TileRow, number: int) -> ChosenTile:
    """Make the row of a pick from the tile that it is."""
    return ChosenTile(
        round=number,
        rank=pick.rank,
        drop=pick.drop,
        tile_id=pick.tile_id,
        image_id=pick.image_id,
        path=tile.path,
        x=tile.x,
        y=tile.y,
        w=tile.w,
        h=tile.h,
        reason=pick.reason.word,
        cluster=pick.reason.cluster,
        distance=pick.reason.distance,
        latitude=tile.place.center_latitude,
        longitude=tile.place.center_longitude,
    )


def _cut_pictures(
    picks: Sequence[Pick], tiles: CommittedTable, open_source: Callable[[str], Source]
) -> Iterator[tuple[Pick, TileRow, Image.Image]]:
    """Cut drop by drop, photograph by photograph; ranks come as the photographs do."""
    for drop, of_drop in groupby(sorted(picks, key=lambda pick: pick.drop), lambda pick: pick.drop):
        wanted = list(of_drop)
        grid = grid_of(tiles.manifest(drop))
        rows = _read_tiles(tiles, drop, {pick.tile_id for pick in wanted})
        source = open_source(drop)
        by_path: dict[str, list[Pick]] = {}
        for pick in wanted:
            by_path.setdefault(rows[pick.tile_id].path, []).append(pick)
        for _, group in sorted(by_path.items()):
            with open_tiled(source, rows[group[0].tile_id]) as pixels:
                pictures = [_cut(pixels, rows[pick.tile_id], grid) for pick in group]
            for pick, picture in zip(group, pictures, strict=True):
                yield pick, rows[pick.tile_id], picture


def _read_tiles(tiles: CommittedTable, drop: str, wanted: set[str]) -> dict[str, TileRow]:
    """Read the rows of some tiles, by id.

    Raises:
        CommitRefusedError: a tile is not there, or was cut by a version that stored less.
    """
    table = tiles.read(drop)
    if "span_px" not in table.column_names:
        raise CommitRefusedError(
            f"drop {drop!r} was tiled by an earlier version. Materialise `images`, `tiles` and "
            "`embeddings` of it again."
        )
    chosen = table.filter(pc.is_in(table["tile_id"], pa.array(sorted(wanted))))
    rows = {row.tile_id: row for row in read_records(TileRow, chosen)}
    if missing := sorted(wanted - rows.keys()):
        raise CommitRefusedError(
            f"drop {drop!r}: tile {missing[0]!r} is embedded but no longer in `tiles`. Materialise "
            "`embeddings` of this drop again."
        )
    return rows


def _cut(pixels: Pixels, tile: TileRow, grid: TileGrid) -> Image.Image:
    window = np.array([[tile.x, tile.y, tile.w, tile.h]], np.int32)
    return Image.fromarray(cut_tiles(pixels, window, grid.side_px, span_px=tile.span_px)[0])


def _encode(picture: Image.Image) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=CROP_QUALITY)
    return sink.getvalue()
