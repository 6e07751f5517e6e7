"""Selection by farthest-point sampling."""

from dataclasses import dataclass

import numpy as np

from dino_assets.numerics.farthest import walk_farthest
from dino_assets.selections.strategies.strategy import Picks, Pool, Reason


@dataclass(frozen=True)
class FarthestStrategy:
    """Exact farthest-point sampling over the whole pool. It finds rare tiles, and outliers first."""

    def pick(self, pool: Pool, budget: int, rng: np.random.Generator) -> Picks:
        """Pick rows by the farthest-point walk; ``rng`` is not used."""
        indices, distances = walk_farthest(
            pool.vectors, budget, chosen=pool.chosen, open_rows=pool.open()
        )
        is_first = [step == 0 and not len(pool.chosen) for step in range(len(indices))]
        reasons = [
            Reason("first" if first else "farthest", None, distance)
            for first, distance in zip(is_first, distances.tolist(), strict=True)
        ]
        return Picks(indices.tolist(), reasons)
