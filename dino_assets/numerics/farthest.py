"""Exact farthest-point sampling."""

import math

import numpy as np

from dino_assets.numerics.neighbours import find_nearest, fold_in


def walk_farthest(
    points: np.ndarray, count: int, *, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pick ``count`` farthest points; return indices int64 and distances to the nearest earlier pick, float64.

    Every pick is the row farthest from all chosen and picked rows; ties go to the lowest index. The result
    equals the naive definition. If nothing is chosen, the first pick is the row farthest from the mean: unlike
    row 0, it does not depend on the order of the pool.
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
            squared[:] = math.inf  # the mean was only needed for the first pick
        fold_in(squared, points, points[row])
        squared[row] = -1  # never picked again, even among duplicates at distance 0
    return indices, distances
