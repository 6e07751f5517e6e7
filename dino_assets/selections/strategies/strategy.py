"""The interface of strategies: a pool in, picks with reasons out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from dino_assets.errors import ConfigError
from dino_assets.numerics.neighbours import check_vectors

# What the words of ``Reason`` mean, for people.
REASONS = {
    "random": "drawn by chance",
    "central": "among the nearest to the centre of its cluster",
    "first": "where the walk to the farthest tiles begins",
    "farthest": "most unlike everything chosen before it",
}


class Reason(NamedTuple):
    """Why one tile was picked; words and meanings are stable.

    ``random``: drawn. ``central``: among those nearest to the centre of its cluster. ``first``: the
    start of a farthest-point walk, farthest from the mean. ``farthest``: farthest from everything
    picked or chosen before, within its cluster if one is named. ``uncertain``: the largest product of
    uncertainty and distance to all before it. ``distance`` is what decided, or had its part.
    """

    word: Literal["random", "central", "first", "farthest", "uncertain"]
    cluster: int | None = None
    distance: float | None = None


@dataclass(frozen=True, eq=False)
class Pool:
    """Vectors (N, D) and the ascending rows that are chosen already or still open to be picked."""

    vectors: np.ndarray
    chosen: np.ndarray
    open_rows: np.ndarray


class Picks(NamedTuple):
    """What a strategy answers: open rows in pick order, and a reason for each."""

    indices: Sequence[int]
    reasons: Sequence[Reason]
    n_clusters: int = 0


class Strategy(Protocol):
    """Picks exactly ``budget`` of the pool's open rows; there are at least as many."""

    def pick(self, pool: Pool, budget: int, rng: np.random.Generator) -> Picks:
        """Draw only from ``rng``: the same generator must give the same picks."""


def make_pool(vectors: ArrayLike, chosen: ArrayLike) -> Pool:
    """Check vectors and the rows chosen before.

    Raises:
        ConfigError: chosen rows that the pool does not have.
        InvalidVectorsError: vectors that are not finite (N, D).
    """
    points = check_vectors(vectors)
    rows = np.asarray(chosen)
    if rows.size and (rows.ndim != 1 or rows.dtype.kind not in "iu"):
        raise ConfigError(
            f"chosen rows of shape {rows.shape} and type {rows.dtype}: expected a list of indices",
            setting="chosen",
            value=chosen,
        )
    rows = np.unique(rows.astype(np.int64).ravel())
    outside = rows[(rows < 0) | (rows >= len(points))]
    if len(outside):
        raise ConfigError(
            f"row {outside[0]} was chosen and the pool has rows 0 … {len(points) - 1}: "
            "indices must refer to the same vectors",
            setting="chosen",
            value=int(outside[0]),
        )
    is_open = np.ones(len(points), bool)
    is_open[rows] = False
    return Pool(points, rows, np.flatnonzero(is_open))
