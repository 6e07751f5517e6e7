"""Farthest tiles over all drops of a space, each drop read by one of several processes or machines."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.compute.processes import Workers
from dino_assets.embeddings.rows import to_matrix
from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.embeddings.stage.pool import read_parts
from dino_assets.numerics.farthest_shards import (
    ShardPicks,
    measure_radius,
    pick_in_shard,
    pick_in_union,
)
from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits.reading import open_table
from dino_assets.store.objects import open_store


@dataclass(frozen=True)
class EmbeddedDrops:
    """Where the vectors of the shards are: a store, a space, and a column of its embeddings.

    It holds no vectors, so that it can be sent to a process or machine.
    """

    storage: StorageSettings
    space: str
    column: EmbeddingColumn = "cls"

    def list_drops(self) -> tuple[str, ...]:
        """List the drops of the space; each is a shard."""
        return open_table(open_store(self.storage), "embeddings", space=self.space).drops

    def read(self, drop: str) -> tuple[list[str], NDArray[np.float32]]:
        """Read the ids of a drop's tiles, and their vectors (N, D) scaled to length 1."""
        table = open_table(open_store(self.storage), "embeddings", space=self.space, drops=[drop])
        parts = [part for _, part in read_parts(table, self.column, ["tile_id"])]
        ids = [tile_id for part in parts for tile_id in part["tile_id"].to_pylist()]
        return ids, scale_to_unit(np.concatenate([to_matrix(part[self.column]) for part in parts]))


@dataclass(frozen=True)
class FarthestTiles:
    """Farthest tiles in order: drop and id of each, and its distance to the nearest tile before it.

    ``radius`` is the distance of the farthest tile of all drops from its nearest chosen tile. It is at most
    ``bound``, and no choice of as many tiles has a radius below ``least_radius``.
    """

    tiles: tuple[tuple[str, str], ...]
    distances: tuple[float, ...]
    radius: float
    bound: float
    least_radius: float


@dataclass(frozen=True)
class _Pick:
    """Pick the farthest points of drops."""

    source: EmbeddedDrops
    count: int

    def __call__(self, device: str) -> Callable[[Iterable[str]], Generator[Any, None, None]]:
        return self._work

    def _work(
        self, drops: Iterable[str]
    ) -> Generator[tuple[str, list[str], ShardPicks], None, None]:
        for drop in drops:
            ids, vectors = self.source.read(drop)
            picks = pick_in_shard(vectors, self.count)
            yield drop, [ids[row] for row in picks.rows.tolist()], picks


@dataclass(frozen=True, eq=False)
class _Measure:
    """Measure the radius of picks in drops."""

    source: EmbeddedDrops
    picks: NDArray[np.float32]

    def __call__(self, device: str) -> Callable[[Iterable[str]], Generator[Any, None, None]]:
        return self._work

    def _work(self, drops: Iterable[str]) -> Generator[float, None, None]:
        for drop in drops:
            yield measure_radius(self.source.read(drop)[1], self.picks)


def choose_farthest_tiles(
    source: EmbeddedDrops, count: int, *, workers: Workers, devices: tuple[str, ...] = ("cpu",)
) -> FarthestTiles:
    """Choose the farthest tiles of all drops in two rounds; only picks travel between processes.

    The result is the same for any number of ``devices``, each of which is a process. For a pool that one machine can
    read, the strategy ``fps`` is exact.
    """
    drops = source.list_drops()
    picks_by_drop: dict[str, tuple[list[str], ShardPicks]] = {}
    for drop, ids, picks in workers.map_shards(drops, _Pick(source, count), devices=devices):
        picks_by_drop[drop] = (ids, picks)
    chosen = pick_in_union([picks_by_drop[drop][1] for drop in drops], count)
    radii = workers.map_shards(drops, _Measure(source, chosen.vectors), devices=devices)
    places = {
        (shard, row): picks_by_drop[drop][0][place]
        for shard, drop in enumerate(drops)
        for place, row in enumerate(picks_by_drop[drop][1].rows.tolist())
    }
    picked = zip(chosen.shards.tolist(), chosen.rows.tolist(), strict=True)
    return FarthestTiles(
        tuple((drops[shard], places[shard, row]) for shard, row in picked),
        tuple(chosen.distances.tolist()),
        max(radii, default=0.0),
        chosen.bound,
        chosen.least_radius,
    )
