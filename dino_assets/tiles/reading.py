"""Rows and windows of some tiles, read by their ids."""

import logging
from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dino_assets.errors import CommitRefusedError, CorruptObjectError, NotCommittedError
from dino_assets.store.commits.columns import read_records
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles.rows import TileRow
from dino_assets.tiles.same_ground import Windows

_COLUMNS = ("tile_id", "x", "y", "w", "h", "center_longitude", "center_latitude", "gsd_m")

log = logging.getLogger(__name__)


def read_tiles(tiles: CommittedTable, drop: str, tile_ids: Collection[str]) -> dict[str, TileRow]:
    """Read the rows of some tiles of a drop, by id.

    Raises:
        CommitRefusedError: a tile is not in ``tiles``, or the drop was tiled by an earlier version.
    """
    table = tiles.read(drop)
    if "span_px" not in table.column_names:
        raise CommitRefusedError(
            f"drop {drop!r} was tiled by an earlier version of dino_assets. Materialise its `images`, "
            "`tiles` and `embeddings` again."
        )
    chosen = table.filter(pc.is_in(table["tile_id"], pa.array(sorted(tile_ids))))
    rows = {row.tile_id: row for row in read_records(TileRow, chosen)}
    if missing := sorted(set(tile_ids) - rows.keys()):
        raise CommitRefusedError(
            f"drop {drop!r}: tile {missing[0]!r} is embedded but no longer in `tiles`. Materialise "
            "`embeddings` of this drop again."
        )
    return rows


def read_windows(
    tiles: CommittedTable,
    drops: Sequence[str],
    tile_ids: Sequence[str],
    image_ids: Sequence[str],
) -> Windows:
    """Read the windows of tiles, which are given by a drop, an id and a picture each.

    A tile that ``tiles`` lacks gets no window, so it shows the ground of no other. So does a drop whose
    ``tiles`` cannot be read. A round finds that out when it cuts a picture, and leaves the drop out.
    """
    boxes = np.zeros((len(drops), 4), np.int64)
    centers, sides_m = np.full((len(drops), 2), np.nan), np.full(len(drops), np.nan)
    rows_of: dict[str, list[int]] = {}
    for row, drop in enumerate(drops):
        rows_of.setdefault(drop, []).append(row)
    for drop, of_drop in rows_of.items():
        rows = np.asarray(of_drop)
        try:
            table = tiles.read(drop, list(_COLUMNS))
        except (NotCommittedError, CorruptObjectError, pa.ArrowInvalid) as err:
            log.warning("%s: cannot read which ground its tiles show: %s", drop, err)
            continue
        ids = pa.array([tile_ids[row] for row in of_drop], pa.string())
        places = pc.index_in(ids, value_set=table["tile_id"].combine_chunks())
        stored, table = rows[places.is_valid().to_numpy(False)], table.take(places.drop_null())
        boxes[stored] = to_numbers(table, ("x", "y", "w", "h"))
        centers[stored] = to_numbers(table, ("center_longitude", "center_latitude"))
        (gsd_m,) = to_numbers(table, ("gsd_m",)).T
        sides_m[stored] = gsd_m * boxes[stored, 2:].max(axis=1, initial=0)
    return Windows(image_ids, boxes, centers, sides_m)


def to_numbers(table: pa.Table, columns: Sequence[str]) -> NDArray[np.float64]:
    """Convert columns of a table to float64 (N, columns); null becomes NaN."""
    numbers = [table[name].cast(pa.float64()).to_numpy() for name in columns]
    return np.stack(numbers, 1) if len(table) else np.empty((0, len(columns)))
