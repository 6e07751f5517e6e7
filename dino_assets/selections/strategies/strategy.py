"""Interface of selection strategies: a pool in, picks with reasons out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from dino_assets.errors import ConfigError
from dino_assets.numerics.neighbours import check_vectors
from dino_assets.numerics.open_rows import Excludes, OpenRows, Quota, exclude_nothing

# Meanings of the words of ``Reason``, for people.
REASONS = {
    "random": "chosen at random",
    "central": "among the nearest to the centre of its cluster",
    "first": "start of the search for the farthest tiles",
    "farthest": "least similar to everything chosen before it",
    "representative": "similar to many tiles that resemble nothing chosen before it",
    "similar": "similar to the examples of its class",
    "uncertain": "the probe is uncertain about it, and it is unlike everything chosen before it",
}


class TakenShare(NamedTuple):
    """The share of the budget to which a pick belongs, and the pick's score if the share is for a class."""

    name: str
    score: float | None = None


class Reason(NamedTuple):
    """The reason why a tile was picked; words and meanings are stable.

    ``random``: chosen at random. ``central``: among the nearest to the centre of its cluster. ``first``: the
    start of a farthest-point walk, farthest from the mean. ``farthest``: farthest from everything picked
    or chosen before, within its cluster if there is one. ``representative``: adds most to how well the choice
    represents all tiles. ``uncertain``: the largest product of uncertainty
    and distance to everything before it. ``similar``: the largest score for a class that has a share of the
    budget. ``distance`` is the distance in this definition. ``share`` is None if the budget has no shares.
    """

    word: Literal[
        "random", "central", "first", "farthest", "representative", "uncertain", "similar"
    ]
    cluster: int | None = None
    distance: float | None = None
    share: TakenShare | None = None


@dataclass(frozen=True, eq=False)
class Pool:
    """Vectors (N, D), the rows that are already chosen, and the rows open to pick, both ascending.

    A picked row closes the rows that it ``excludes``. Each of the ``quotas`` limits the picks of groups of rows.
    """

    vectors: np.ndarray
    chosen: np.ndarray
    open_rows: np.ndarray
    excludes: Excludes = exclude_nothing
    quotas: tuple[Quota, ...] = ()

    def open(self) -> OpenRows:
        """Return the open rows, to close some while picking."""
        are_open = np.zeros(len(self.vectors), bool)
        are_open[self.open_rows] = True
        return OpenRows(are_open, self.excludes, self.quotas)


class Picks(NamedTuple):
    """The result of a strategy: open rows in pick order, and a reason for each."""

    indices: Sequence[int]
    reasons: Sequence[Reason]
    n_clusters: int = 0


class Strategy(Protocol):
    """A strategy picks exactly ``budget`` of the pool's open rows, of which there are at least as many.

    It picks fewer only if no row is open any more, because of excluded rows or full groups.
    """

    def pick(self, pool: Pool, budget: int, rng: np.random.Generator) -> Picks:
        """Pick rows; use no randomness but ``rng``, so that an equal generator gives equal picks."""


def make_pool(
    vectors: ArrayLike,
    chosen: ArrayLike,
    *,
    closed: ArrayLike = (),
    excludes: Excludes = exclude_nothing,
    quotas: Sequence[Quota] = (),
) -> Pool:
    """Check vectors and the rows chosen before, and make a pool; ``closed`` rows are not open either.

    Raises:
        ConfigError: the pool does not have a chosen row.
        InvalidVectorsError: the vectors are not finite (N, D).
    """
    points = check_vectors(vectors)
    rows = np.asarray(chosen)
    if rows.size and (rows.ndim != 1 or rows.dtype.kind not in "iu"):
        raise ConfigError(
            f"chosen rows have the shape {rows.shape} and type {rows.dtype}; a list of indices is expected",
            setting="chosen",
            value=chosen,
        )
    rows = np.unique(rows.astype(np.int64).ravel())
    outside = rows[(rows < 0) | (rows >= len(points))]
    if len(outside):
        raise ConfigError(
            f"chosen row {outside[0]} does not exist: the pool has rows 0 … {len(points) - 1}. Chosen "
            "rows must be indices into the given vectors",
            setting="chosen",
            value=int(outside[0]),
        )
    is_open = np.ones(len(points), bool)
    is_open[rows] = False
    is_open[np.asarray(closed, np.int64)] = False
    return Pool(points, rows, np.flatnonzero(is_open), excludes, tuple(quotas))
