"""Selection of rows that represent all rows: MaxHerding, medoids, and herding followed by farthest points."""

import math
from dataclasses import dataclass

import numpy as np

from dino_assets.numerics.covering import Similarity, pick_covering
from dino_assets.numerics.farthest import walk_farthest
from dino_assets.numerics.open_rows import OpenRows
from dino_assets.selections.strategies.strategy import Picks, Pool, Reason


@dataclass(frozen=True)
class CoveringStrategy:
    """Picks one after the other, each the row that adds most to the mean coverage of the pool.

    With ``gaussian`` similarity this is MaxHerding, with ``distance`` it is greedy k-medoids. ``with_swaps``
    exchanges picks for other rows afterwards, as long as that raises the coverage.
    """

    similarity: Similarity
    with_swaps: bool = False

    def pick(self, pool: Pool, budget: int, rng: np.random.Generator) -> Picks:
        """Pick rows; ``rng`` draws samples if the pool is too large to compare all of its rows."""
        return self.pick_open(pool, pool.open(), budget, rng)

    def pick_open(
        self, pool: Pool, open_rows: OpenRows, budget: int, rng: np.random.Generator
    ) -> Picks:
        """Pick from ``open_rows``, and close the rows that may no longer be picked."""
        picked = pick_covering(
            pool.vectors,
            budget,
            chosen=pool.chosen,
            similarity=self.similarity,
            rng=rng,
            open_rows=open_rows,
            with_swaps=self.with_swaps,
        )
        reasons = [
            Reason("representative", None, distance if math.isfinite(distance) else None)
            for distance in picked.distances.tolist()
        ]
        return Picks(picked.indices.tolist(), reasons)


@dataclass(frozen=True)
class HerdingFarthestStrategy:
    """Herding for the first half of the budget, rounded up, then the points farthest from all chosen ones.

    The first half represents what is frequent, the second finds what is rare.
    """

    def pick(self, pool: Pool, budget: int, rng: np.random.Generator) -> Picks:
        """Pick rows; ``rng`` is used as in herding."""
        open_rows = pool.open()
        covering = CoveringStrategy("gaussian")
        first = covering.pick_open(pool, open_rows, budget - budget // 2, rng)
        before = np.union1d(pool.chosen, np.asarray(first.indices, np.int64))
        walk = walk_farthest(pool.vectors, budget // 2, chosen=before, open_rows=open_rows)
        reasons = [Reason("farthest", None, distance) for distance in walk.distances.tolist()]
        return Picks([*first.indices, *walk.indices.tolist()], [*first.reasons, *reasons])
