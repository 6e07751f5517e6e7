"""Picks by how unsure a model is, and how unlike what is chosen already."""

from dataclasses import dataclass

import numpy as np

from dino_assets.errors import ConfigError
from dino_assets.numerics.neighbours import find_nearest, fold_in
from dino_assets.selections.strategies.strategy import Picks, Pool, Reason


@dataclass(frozen=True, eq=False)
class UncertaintyStrategy:
    """The row with the largest product of uncertainty and distance to all before it, one after the other.

    The first of all has no distance yet: it is the most uncertain row. Of what lies at distance 0, such as
    copies of chosen rows, the most uncertain comes first, after everything else.
    """

    uncertainties: np.ndarray

    def pick(self, pool: Pool, budget: int, rng: np.random.Generator) -> Picks:
        """Walk; nothing is random. Ties go to the lowest row."""
        uncertainties = check_uncertainties(self.uncertainties, len(pool.vectors))
        squared = np.full(len(pool.vectors), np.inf)
        if len(pool.chosen):
            squared = find_nearest(pool.vectors, pool.vectors[pool.chosen]).squared
        is_open = np.zeros(len(pool.vectors), bool)
        is_open[pool.open_rows] = True
        indices, reasons = [], []
        for step in range(budget):
            is_first = step == 0 and not len(pool.chosen)
            scores = uncertainties if is_first else uncertainties * np.sqrt(squared)
            scores = np.where(is_open, scores, -1)
            if not scores.max() > 0:
                scores = np.where(is_open, uncertainties, -1)
            row = int(scores.argmax())
            distance = None if is_first else float(np.sqrt(squared[row]))
            indices.append(row)
            reasons.append(Reason("uncertain", None, distance))
            is_open[row] = False
            fold_in(squared, pool.vectors, pool.vectors[row])
        return Picks(indices, reasons)


def check_uncertainties(uncertainties: np.ndarray, rows: int) -> np.ndarray:
    """The same numbers as float64 (N,), one per row.

    Raises:
        ConfigError: not one per row, or one that is negative or not finite.
    """
    given = np.asarray(uncertainties, np.float64)
    if given.shape != (rows,):
        raise ConfigError(
            f"uncertainties of shape {given.shape} for {rows} rows: pass one number per row",
            setting="uncertainties",
            value=given.shape,
        )
    broken = np.flatnonzero(~(np.isfinite(given) & (given >= 0)))
    if len(broken):
        row = int(broken[0])
        raise ConfigError(
            f"the uncertainty of row {row} is {given[row]}: expected finite numbers from 0",
            setting="uncertainties",
            value=float(given[row]),
        )
    return given
