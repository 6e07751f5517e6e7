"""Rows of some tiles, read by their ids."""

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from dino_assets.errors import CommitRefusedError
from dino_assets.store.commits.columns import read_records
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles.rows import TileRow


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
