"""Rows and windows of some tiles, read by their ids."""

import logging
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dino_assets.errors import CommitRefusedError, CorruptObjectError, NotCommittedError
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles.grid import BOX_VERSION
from dino_assets.tiles.rows import TileRow, read_tile_rows
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
    rows = {row.tile_id: row for row in read_tile_rows(chosen)}
    if missing := sorted(set(tile_ids) - rows.keys()):
        raise CommitRefusedError(
            f"drop {drop!r}: tile {missing[0]!r} is embedded but no longer in `tiles`. Materialise "
            "`embeddings` of this drop again."
        )
    return rows


def is_boxed(manifest: Manifest) -> bool:
    """Check whether a drop's committed tiles are the boxes of a detector."""
    return manifest.recipe.config.get("grid_version") == BOX_VERSION


def read_windows(
    tiles: CommittedTable,
    drops: Sequence[str],
    tile_ids: Sequence[str],
    image_ids: Sequence[str],
) -> Windows:
    """Read the windows of tiles, which are given by a drop, an id and a picture each.

    A tile that ``tiles`` lacks gets no window, so it never counts as showing another tile's ground. The same
    holds for all tiles of a drop whose ``tiles`` cannot be read. A round leaves such a drop out later, when
    it cuts pictures.
    """
    boxes = np.zeros((len(drops), 4), np.int64)
    centers, sides_m = np.full((len(drops), 2), np.nan), np.full(len(drops), np.nan)
    groups: list[str | None] = [None] * len(drops)
    for stored, table in _walk_drops(tiles, drops, tile_ids, _COLUMNS, of_boxes=["box_group"]):
        boxes[stored] = to_numbers(table, ("x", "y", "w", "h"))
        centers[stored] = to_numbers(table, ("center_longitude", "center_latitude"))
        (gsd_m,) = to_numbers(table, ("gsd_m",)).T
        sides_m[stored] = gsd_m * boxes[stored, 2:].max(axis=1, initial=0)
        if "box_group" in table.column_names:
            _fill(groups, stored, table["box_group"])
    return Windows(image_ids, boxes, centers, sides_m, groups)


def read_paths_and_classes(
    tiles: CommittedTable, drops: Sequence[str], tile_ids: Sequence[str]
) -> tuple[list[str], list[str | None]]:
    """Read the photograph's path and the detector's class of tiles, which are given by a drop and an id each.

    A tile that ``tiles`` lacks has an empty path. A tile of a grid has no class.
    """
    paths: list[str] = [""] * len(drops)
    classes: list[str | None] = [None] * len(drops)
    columns = ("tile_id", "path")
    for stored, table in _walk_drops(tiles, drops, tile_ids, columns, of_boxes=["box_class"]):
        _fill(paths, stored, table["path"])
        if "box_class" in table.column_names:
            _fill(classes, stored, table["box_class"])
    return paths, classes


def _walk_drops(
    tiles: CommittedTable,
    drops: Sequence[str],
    tile_ids: Sequence[str],
    columns: Sequence[str],
    *,
    of_boxes: Sequence[str],
) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """Read columns of tiles drop by drop; yield the places of the tiles that are there, and their rows.

    The columns ``of_boxes`` are read if the tiles of a drop are boxes.
    """
    rows_of: dict[str, list[int]] = {}
    for row, drop in enumerate(drops):
        rows_of.setdefault(drop, []).append(row)
    for drop, of_drop in rows_of.items():
        rows = np.asarray(of_drop)
        try:
            more = of_boxes if is_boxed(tiles.manifest(drop)) else ()
            table = tiles.read(drop, [*columns, *more])
        except (NotCommittedError, CorruptObjectError, pa.ArrowInvalid) as err:
            log.warning("%s: cannot read where its tiles are: %s", drop, err)
            continue
        ids = pa.array([tile_ids[row] for row in of_drop], pa.string())
        places = pc.index_in(ids, value_set=table["tile_id"].combine_chunks())
        yield rows[places.is_valid().to_numpy(False)], table.take(places.drop_null())


def _fill(values: list[Any], rows: NDArray[np.int64], column: pa.ChunkedArray) -> None:
    for row, value in zip(rows.tolist(), column.to_pylist(), strict=True):
        values[row] = value


def to_numbers(table: pa.Table, columns: Sequence[str]) -> NDArray[np.float64]:
    """Convert columns of a table to float64 (N, columns); null becomes NaN."""
    numbers = [table[name].cast(pa.float64()).to_numpy() for name in columns]
    return np.stack(numbers, 1) if len(table) else np.empty((0, len(columns)))
