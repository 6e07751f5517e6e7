"""Random selection."""

from dataclasses import dataclass

import numpy as np

from dino_assets.selections.strategies.strategy import Picks, Pool, Reason


@dataclass(frozen=True)
class RandomStrategy:
    """Random selection; every open row has the same chance."""

    def pick(self, pool: Pool, budget: int, rng: np.random.Generator) -> Picks:
        """Pick from a shuffle of all open rows, so a larger budget begins with the picks of a smaller one."""
        open_rows = pool.open()
        indices: list[int] = []
        for row in rng.permutation(pool.open_rows).tolist():
            if len(indices) == budget:
                break
            if open_rows.are_open[row]:
                indices.append(row)
                open_rows.pick(row)
        return Picks(indices, [Reason("random")] * len(indices))
