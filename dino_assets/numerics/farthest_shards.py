"""Farthest points of vectors that lie in several places: a walk in each shard, then one over all their picks.

This needs one pass over each shard, and one more to measure the result. The picks are not those of the exact walk.
With ``count`` picks, no way of choosing leaves every row nearer than ``TwoRounds.least_radius``, and the picks leave none
farther than ``TwoRounds.bound``. The bound is at most four times the smallest radius that any choice has: of the picks
and the farthest other row, two share the nearest row of the best choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_assets.numerics.farthest import walk_farthest
from dino_assets.numerics.neighbours import find_nearest

_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class ShardPicks:
    """Picks of one shard: their rows in it (K,), their vectors (K, D), and its radius.

    ``radius`` is the distance of the farthest row of the shard from its nearest pick. ``total`` (D,) is the sum of
    the shard's ``count`` rows.
    """

    rows: NDArray[np.int64]
    vectors: NDArray[np.float32]
    radius: float
    total: NDArray[np.float64]
    count: int


@dataclass(frozen=True, eq=False)
class TwoRounds:
    """Picks over all shards, in order: the number of the shard of each, and its row there.

    ``bound`` is an upper limit of the radius, known before it is measured. ``least_radius`` is a lower limit of the
    radius of any choice of as many rows: half of the smallest distance between the picks and one further row.
    """

    shards: NDArray[np.int64]
    rows: NDArray[np.int64]
    vectors: NDArray[np.float32]
    distances: NDArray[np.float64]
    bound: float
    least_radius: float


def pick_in_shard(vectors: NDArray[np.float32], count: int) -> ShardPicks:
    """Pick the farthest points of one shard (N, D)."""
    rows = walk_farthest(vectors, count, chosen=_NONE).indices
    picked = np.ascontiguousarray(vectors[rows])
    total = vectors.sum(axis=0, dtype=np.float64)
    return ShardPicks(rows, picked, measure_radius(vectors, picked), total, len(vectors))


def pick_in_union(shards: Sequence[ShardPicks], count: int) -> TwoRounds:
    """Pick ``count`` farthest points, at least 1, among the picks of all shards.

    A row is within its shard's radius of a pick of its shard, which is within the second walk's radius of a final
    pick. So both together are a bound.
    """
    vectors = np.concatenate([each.vectors for each in shards])
    numbers = np.repeat(np.arange(len(shards)), [len(each.rows) for each in shards])
    rows = np.concatenate([each.rows for each in shards])
    # The first pick is the farthest from the mean of all rows, as in a walk over all of them.
    mean = sum(each.total for each in shards) / sum(each.count for each in shards)
    from_mean = np.linalg.norm(vectors.astype(np.float64) - mean, axis=1)
    start = int(from_mean.argmax())
    walk = walk_farthest(vectors, count, chosen=np.array([start]))
    picks = np.r_[start, walk.indices[: count - 1]]
    # The walk's next pick is the farthest row from the picks before it: its distance is their radius.
    beyond = float(walk.distances[count - 1]) if len(walk.indices) == count else 0.0
    largest = max((each.radius for each in shards), default=0.0)
    return TwoRounds(
        numbers[picks],
        rows[picks],
        np.ascontiguousarray(vectors[picks]),
        np.r_[from_mean[start], walk.distances[: count - 1]],
        bound=largest + beyond,
        least_radius=beyond / 2,
    )


def measure_radius(vectors: NDArray[np.float32], picks: NDArray[np.float32]) -> float:
    """Measure the distance of the farthest row (N, D) from its nearest pick (K, D); 0 without rows."""
    if not len(vectors):
        return 0.0
    return float(np.sqrt(find_nearest(vectors, picks).squared.max()))
