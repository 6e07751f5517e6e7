"""Origins of a pool's tiles: the photograph and the place on the ground."""

import logging
from collections.abc import Collection
from typing import NamedTuple

import pyarrow as pa

from dino_assets.embeddings.stage.pool import TilePool
from dino_assets.errors import CorruptObjectError, NotCommittedError
from dino_assets.store.commits.columns import columns_of, read_records
from dino_assets.store.commits.manifests import content_hash
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles.rows import TileOrigin

log = logging.getLogger(__name__)


class Origins(NamedTuple):
    """One origin or None per tile of a pool; ``unknown`` has the reason for each drop without origins."""

    tiles: list[TileOrigin | None]
    unknown: dict[str, str]


def read_origins(tiles: CommittedTable, pool: TilePool) -> Origins:
    """Read the origins of all tiles of a pool, drop by drop; only four columns are read.

    A map can be drawn without origins. So if a drop's ``tiles`` cannot be read, that is only logged, and the
    reason goes into ``unknown``.
    """
    origins: list[TileOrigin | None] = [None] * len(pool)
    unknown: dict[str, str] = {}
    rows_of: dict[str, dict[str, int]] = {}
    for row, (drop, tile_id) in enumerate(zip(pool.drops, pool.tile_ids, strict=True)):
        rows_of.setdefault(drop, {})[tile_id] = row
    for drop, rows in rows_of.items():
        try:
            table = tiles.read(drop, [column.name for column in columns_of(TileOrigin)])
        except (NotCommittedError, CorruptObjectError, pa.ArrowInvalid) as err:
            unknown[drop] = str(err)
            log.warning(
                "%s: cannot read which photographs and places its tiles come from: %s", drop, err
            )
            continue
        for origin in read_records(TileOrigin, table):
            if (of_pool := rows.get(origin.tile_id)) is not None:
                origins[of_pool] = origin
    return Origins(origins, unknown)


def hash_tiles(tiles: CommittedTable, drops: Collection[str]) -> dict[str, str]:
    """Return the content hash of the ``tiles`` of some drops as recipe inputs.

    The inputs are named ``tiles/DROP``. A drop's name has no ``/``, so no such input is mistaken for a drop.
    """
    by_drop = {str(m.recipe.output.drop): m for m in tiles.manifests}
    return {f"tiles/{drop}": content_hash(by_drop[drop]) for drop in drops if drop in by_drop}
