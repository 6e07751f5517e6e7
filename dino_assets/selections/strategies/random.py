"""Picks by chance."""

from dataclasses import dataclass

import numpy as np

from dino_assets.selections.strategies.strategy import Picks, Pool, Reason


@dataclass(frozen=True)
class RandomStrategy:
    """Every open row with the same chance."""

    def pick(self, pool: Pool, budget: int, rng: np.random.Generator) -> Picks:
        """Shuffle all, so that a larger budget begins with the picks of a smaller one."""
        indices = rng.permutation(pool.open_rows)[:budget]
        return Picks(indices.tolist(), [Reason("random")] * len(indices))
