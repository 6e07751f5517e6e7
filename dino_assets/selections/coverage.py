"""Coverage of a pool by picked tiles, compared with random picks."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dino_assets.numerics.neighbours import find_nearest
from dino_assets.selections.strategies.random import RandomStrategy
from dino_assets.selections.strategies.strategy import make_pool

RANDOM_DRAWS = 5  # an odd number: the median is one of them


@dataclass(frozen=True)
class Coverage:
    """Distances of the pool's rows to the nearest chosen row, and to the nearest random pick.

    A radius is the largest distance, which a single unusual tile can decide. A mean is over all rows.
    """

    radius: float
    random_radius: float
    mean: float
    random_mean: float


def measure_coverage(vectors: ArrayLike, indices: ArrayLike) -> float:
    """Measure the coverage radius: the largest distance from a row of the pool to its nearest chosen row.

    It is infinite if the pool is not empty and nothing is chosen.
    """
    pool = make_pool(vectors, indices)
    return _measure(pool.vectors, pool.chosen)[0]


def _measure(vectors: NDArray[np.float32], indices: NDArray[np.int64]) -> tuple[float, float]:
    """Measure the radius and the mean of the distances to the nearest of some rows."""
    if not len(vectors):
        return 0.0, 0.0
    if not len(indices):
        return math.inf, math.inf
    distances = np.sqrt(find_nearest(vectors, vectors[indices]).squared)
    return float(distances.max()), float(distances.mean())


def certify(
    vectors: ArrayLike,
    indices: ArrayLike,
    *,
    rng: np.random.Generator,
    chosen: ArrayLike = (),
) -> Coverage:
    """Compare picks with random ones of the same budget (the median of five draws).

    Rows ``chosen`` before count in both cases.
    """
    pool = make_pool(vectors, chosen)
    picked = make_pool(pool.vectors, indices).chosen
    budget = len(np.setdiff1d(picked, pool.chosen))
    draws = [
        np.r_[pool.chosen, RandomStrategy().pick(pool, budget, rng).indices].astype(np.int64)
        for _ in range(RANDOM_DRAWS)
    ]
    radius, mean = _measure(pool.vectors, np.r_[pool.chosen, picked].astype(np.int64))
    random = np.median([_measure(pool.vectors, draw) for draw in draws], axis=0)
    return Coverage(radius, float(random[0]), mean, float(random[1]))
