"""Selection by a model's uncertainty and the distance to tiles that are already chosen."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dino_assets.errors import ConfigError
from dino_assets.numerics.neighbours import find_nearest, fold_in
from dino_assets.selections.strategies.strategy import Picks, Pool, Reason


@dataclass(frozen=True, eq=False)
class UncertaintyStrategy:
    """Repeated choice of the row with the largest product of uncertainty and distance to chosen rows.

    If nothing is chosen yet, the first pick is the most uncertain row. Rows at distance 0, for instance
    copies of chosen rows, come after all others, the most uncertain first.
    """

    uncertainties: ArrayLike

    def pick(self, pool: Pool, budget: int, rng: np.random.Generator) -> Picks:
        """Pick rows one after the other; ``rng`` is not used, and ties go to the lowest row."""
        uncertainties = check_uncertainties(self.uncertainties, len(pool.vectors))
        squared = np.full(len(pool.vectors), np.inf)
        if len(pool.chosen):
            squared = find_nearest(pool.vectors, pool.vectors[pool.chosen]).squared
        open_rows = pool.open()
        is_open = open_rows.are_open
        indices, reasons = [], []
        for step in range(budget):
            if not is_open.any():
                break
            is_first = step == 0 and not len(pool.chosen)
            scores = uncertainties if is_first else uncertainties * np.sqrt(squared)
            scores = np.where(is_open, scores, -1)
            if not scores.max() > 0:
                scores = np.where(is_open, uncertainties, -1)
            row = int(scores.argmax())
            distance = None if is_first else float(np.sqrt(squared[row]))
            indices.append(row)
            reasons.append(Reason("uncertain", None, distance))
            open_rows.pick(row)
            fold_in(squared, pool.vectors, pool.vectors[row])
        return Picks(indices, reasons)


def check_uncertainties(uncertainties: ArrayLike, rows: int) -> np.ndarray:
    """Check uncertainties, and convert them to float64 (N,), one per row.

    Raises:
        ConfigError: there is not one number per row, or one is negative or not finite.
    """
    numbers = np.asarray(uncertainties, np.float64)
    if numbers.shape != (rows,):
        raise ConfigError(
            f"uncertainties have the shape {numbers.shape} for {rows} rows: one number per row is expected, such as "
            "the entropy of a probe's predictions",
            setting="uncertainties",
            value=numbers.shape,
        )
    broken = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))
    if len(broken):
        row = int(broken[0])
        raise ConfigError(
            f"the uncertainty of row {row} is {numbers[row]}: a finite number of at least 0 is expected",
            setting="uncertainties",
            value=float(numbers[row]),
        )
    return numbers
