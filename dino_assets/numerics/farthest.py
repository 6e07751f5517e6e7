"""Exact farthest-point picks."""

import math

import numpy as np

from dino_assets.numerics.neighbours import find_nearest, fold_in


def walk_farthest(
    points: np.ndarray, count: int, *, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Farthest-point picks (count,) int64 and each one's distance from all before it, float64.

    Exactly the naive definition: every pick is the row farthest from all chosen and picked rows,
    the lowest index on ties. With nothing chosen it starts at the row farthest from the mean, which
    unlike the first row does not depend on the order of the pool.
    """
    indices, distances = np.empty(count, np.int64), np.empty(count)
    squared = np.full(len(points), math.inf)
    if len(chosen):
        squared = find_nearest(points, points[chosen]).squared
        squared[chosen] = -1
    elif count:
        fold_in(squared, points, points.mean(axis=0, dtype=np.float64))
    for step in range(count):
        row = int(squared.argmax())
        indices[step], distances[step] = row, math.sqrt(squared[row])
        if step == 0 and not len(chosen):
            squared[:] = math.inf  # from here on the mean does not count as covered
        fold_in(squared, points, points[row])
        squared[row] = -1  # never again, not even among duplicates at distance 0
    return indices, distances
