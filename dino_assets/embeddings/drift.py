"""Whether a drop shows what the other drops do not, and which of its tiles do.

A tile is novel when it lies far from the tiles of the other drops, more so when its own drop holds
others like it: smoke is on several tiles, an odd roof on one. A drop is as novel as the most novel 3 %
of its tiles. How novel is unusual is not taken from a distribution but counted: every drop is held
against all others in the same way, the new one among them, and it alarms when at most 4 % are as novel.
Where drops are exchangeable, that alone bounds the false alarms, whatever the model and the ground.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_assets.counting import count_of
from dino_assets.errors import InvalidVectorsError
from dino_assets.numerics.neighbours import blocks, check_vectors

# One alarm in 25 usual drops, not in 20: 5 % is then kept by the count of 200 as well as on average.
ALARM_SHARE = 0.04
MIN_PAST_DROPS = math.ceil(1 / ALARM_SHARE) - 1
MIN_TILES = 8  # of a drop: fewer have no tiles of their own kind to be held against
# Measured on drawn flights beside other choices, see the table in test_drift.py.
TOP_SHARE = 0.03
OWN_WEIGHT = 0.75
OWN_RANK = 4
# To the second nearest drop: ground flown twice, or the same files in two drops, would make the past
# look better known than a new place can be.
DROP_RANK = 2
VARIANCE_SHARE = 0.95  # of the directions compared; the rest is noise of single tiles
MAX_DIMS = 64
DROP_TILES = 512  # of each drop, evenly taken
FIT_TILES = 128
QUERY_ROWS = 128  # against 100 × 512 tiles: 26 MB of distances at a time


@dataclass(frozen=True, eq=False)
class Drift:
    """How novel a drop is, beside its past; ``tiles`` (N,) float32 is each tile's own novelty.

    ``limit`` is what the drop had to exceed; ``p_value`` the share of drops at least as novel, itself
    among them. With too little history ``lacking`` says so, and nothing else is known.
    """

    tiles: NDArray[np.float32]
    novelty: float
    limit: float
    p_value: float
    past_drops: int
    is_alarm: bool
    lacking: str | None = None

    def find_most_novel(self, count: int = 10) -> NDArray[np.int64]:
        """Rows of the most novel tiles, the most novel first."""
        return np.argsort(-self.tiles, kind="stable")[:count].astype(np.int64)


def measure_drift(
    vectors: np.ndarray, past: Sequence[np.ndarray], *, own_rank: int = OWN_RANK
) -> Drift:
    """Hold a drop (N, D) against past drops of the same space and column, in any order.

    Past drops of fewer than ``MIN_TILES`` tiles are left out.

    Raises:
        InvalidVectorsError: numbers that are not finite, or dimensions that differ.
    """
    new = check_vectors(vectors)
    checked = [check_vectors(drop) for drop in past]
    for drop in checked:
        if len(drop) and drop.shape[1] != new.shape[1]:
            raise InvalidVectorsError(
                f"a past drop has {drop.shape[1]} dimensions, the new one {new.shape[1]}: both must "
                "come from one space",
                dims=(drop.shape[1], new.shape[1]),
            )
    large = [drop for drop in checked if len(drop) >= MIN_TILES]
    lacking = tell_lack(len(new), len(large))
    if lacking:
        nothing = np.zeros(len(new), np.float32)
        return Drift(nothing, math.nan, math.nan, 1.0, len(large), is_alarm=False, lacking=lacking)
    # As many of each: a drop of more tiles has nearer ones of its own, and would look more novel.
    most = min(DROP_TILES, int(np.median([len(drop) for drop in large])))
    thinned = [thin_drop(drop, most) for drop in (*large, new)]
    view = _fit_view([thin_drop(drop, FIT_TILES) for drop in thinned])
    projected = [view.project(drop) for drop in thinned]
    pool = _Pool(
        np.concatenate(projected), np.cumsum([0, *(len(drop) for drop in projected)]), own_rank
    )
    scores = np.array([_score(_measure(pool, number)) for number in range(len(large))])
    tiles = _measure(
        pool, len(large), asked=view.project(new), itself=_find_thinned(len(new), most)
    )
    novelty = _score(tiles)
    limit = float(np.sort(scores)[-math.floor(ALARM_SHARE * (len(large) + 1) + 1e-9)])
    p_value = float((1 + np.count_nonzero(scores >= novelty)) / (len(large) + 1))
    return Drift(tiles, novelty, limit, p_value, len(large), is_alarm=novelty > limit)


def tell_lack(tiles: int, past_drops: int) -> str | None:
    """What is missing for a comparison, in words; None where nothing is."""
    # First what no other drop has a say in: then none need be looked at.
    if tiles < MIN_TILES:
        return f"{count_of(tiles, 'tile')}; {MIN_TILES} are needed to compare a drop with others"
    if past_drops < MIN_PAST_DROPS:
        return (
            f"{count_of(past_drops, 'past drop')} to compare with; {MIN_PAST_DROPS} are needed to tell an unusual "
            f"drop from a usual one with at most {ALARM_SHARE:.0%} false alarms"
        )
    return None


def thin_drop(rows: np.ndarray, most: int = DROP_TILES) -> np.ndarray:
    """At most so many rows, evenly taken: neighbours in a table are neighbours on the ground.

    Of a past drop no more is looked at, so no more need be kept in memory.
    """
    return rows if len(rows) <= most else rows[_pick(len(rows), most)]


def _pick(count: int, most: int) -> NDArray[np.int64]:
    return np.arange(min(count, most)) * count // min(count, most)


def _find_thinned(count: int, most: int) -> NDArray[np.int64]:
    """Where each of so many rows stands in the thinned drop; -1 where it does not."""
    places = np.full(count, -1)
    picked = _pick(count, most)
    places[picked] = np.arange(len(picked))
    return places


class _View(NamedTuple):
    """The directions in which tiles differ, the strong ones weighted down a little."""

    middle: np.ndarray
    axes: np.ndarray

    def project(self, rows: np.ndarray) -> NDArray[np.float32]:
        """Rows (N, D) as compared (N, at most MAX_DIMS), spread 1 over all directions."""
        return np.asarray((rows - self.middle) @ self.axes, np.float32)


def _fit_view(drops: Sequence[np.ndarray]) -> _View:
    """Principal directions, each divided by the fourth root of its variance: half whitened.

    Untrained and trained encoders alike put most of their spread into a few directions (brightness,
    colour), which would drown the rest; wholly whitened, the noise of the weak ones drowns them.
    """
    rows = np.concatenate(drops).astype(np.float64)
    middle = rows.mean(axis=0)
    rows -= middle
    variances, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    variances, axes = variances[::-1], axes[:, ::-1]
    total = float(variances.sum())
    if not total > 0:
        return _View(middle.astype(np.float32), np.zeros((rows.shape[1], 1), np.float32))
    dims = int(np.searchsorted(np.cumsum(variances), VARIANCE_SHARE * total)) + 1
    dims = min(dims, MAX_DIMS, len(variances))
    strong = variances[:dims]
    # Then as long as one tile's spread is, so that novelties of two spaces read alike.
    weights = strong**-0.25 / math.sqrt(float(np.sqrt(strong).sum()))
    return _View(middle.astype(np.float32), (axes[:, :dims] * weights).astype(np.float32))


class _Pool(NamedTuple):
    """All drops' rows, one drop after another; ``bounds`` is where each begins, and the end."""

    rows: NDArray[np.float32]
    bounds: NDArray[np.int64]
    own_rank: int  # of the neighbour in the own drop that counts


def _measure(
    pool: _Pool,
    drop: int,
    *,
    asked: NDArray[np.float32] | None = None,
    itself: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Novelty of some rows of one drop, by default of all it has in the pool.

    ``itself``: where among those of the pool each row asked stands, or -1: none is its own neighbour.
    """
    first, last = (int(bound) for bound in pool.bounds[drop : drop + 2])
    queries = pool.rows[first:last] if asked is None else asked
    itself = np.arange(last - first) if itself is None else itself
    squares = np.einsum("ij,ij->i", pool.rows, pool.rows)
    rank = min(pool.own_rank, last - first - 1) - 1
    novelties = np.empty(len(queries), np.float32)
    for block in blocks(len(queries), QUERY_ROWS):
        part, place = queries[block], itself[block]
        squared = part @ pool.rows.T
        squared *= -2
        squared += squares
        squared += np.einsum("ij,ij->i", part, part)[:, None]
        inside = np.flatnonzero(place >= 0)
        squared[inside, first + place[inside]] = np.inf
        own = np.partition(squared[:, first:last], rank, axis=1)[:, rank]
        nearest = np.minimum.reduceat(squared, pool.bounds[:-1], axis=1)
        nearest[:, drop] = np.inf
        others = np.partition(nearest, DROP_RANK - 1, axis=1)[:, DROP_RANK - 1]
        others, own = (np.sqrt(np.maximum(each, 0)) for each in (others, own))
        novelties[block] = others - np.float32(OWN_WEIGHT) * own
    return novelties


def _score(novelties: NDArray[np.float32]) -> float:
    """The mean of the top share, at least one tile: it does not grow with a drop's size."""
    count = max(1, round(TOP_SHARE * len(novelties)))
    return float(np.sort(novelties)[-count:].mean(dtype=np.float64))
