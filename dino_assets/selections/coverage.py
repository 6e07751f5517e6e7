"""How well picks cover the pool, against random ones."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dino_assets.numerics.neighbours import find_nearest
from dino_assets.selections.strategies.random import RandomStrategy
from dino_assets.selections.strategies.strategy import make_pool

RANDOM_DRAWS = 5  # an odd number: the median is one of them


@dataclass(frozen=True)
class Coverage:
    """How far the worst-served row of the pool is from what is chosen, and from random picks."""

    radius: float
    random_radius: float


def measure_coverage(vectors: ArrayLike, indices: ArrayLike) -> float:
    """The coverage radius: the largest distance from a row of the pool to its nearest chosen row.

    Infinite when nothing is chosen from a pool that is not empty.
    """
    pool = make_pool(vectors, indices)
    if not len(pool.vectors):
        return 0.0
    if not len(pool.chosen):
        return math.inf
    nearest = find_nearest(pool.vectors, pool.vectors[pool.chosen])
    return math.sqrt(nearest.squared.max())


def certify(
    vectors: ArrayLike,
    indices: ArrayLike,
    *,
    rng: np.random.Generator,
    chosen: ArrayLike = (),
) -> Coverage:
    """Hold picks against random ones at the same budget (the median of five draws).

    Rows ``chosen`` before count for both sides.
    """
    pool = make_pool(vectors, chosen)
    picked = make_pool(pool.vectors, indices).chosen
    budget = len(np.setdiff1d(picked, pool.chosen))
    draws = [
        np.r_[pool.chosen, RandomStrategy().pick(pool, budget, rng).indices].astype(np.int64)
        for _ in range(RANDOM_DRAWS)
    ]
    return Coverage(
        measure_coverage(pool.vectors, np.r_[pool.chosen, picked]),
        float(np.median([measure_coverage(pool.vectors, draw) for draw in draws])),
    )
