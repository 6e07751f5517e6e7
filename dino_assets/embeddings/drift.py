"""Drift detection: how much a drop differs from the other drops, and which of its tiles differ most.

A tile is novel if it is far from the tiles of the other drops. It is more novel if its own drop has
similar tiles: smoke is on several tiles, an odd roof on one. The novelty of a drop is the mean novelty of
its most novel 3 % of tiles.

Every drop is compared with all others in the same way. A drop raises an alarm if at most 4 % of all drops,
including itself, are at least as novel. So at most 4 % of usual drops raise a false alarm, provided that
usual drops are exchangeable: any of them is equally likely to be the most novel one. The vectors need no
particular distribution, so this limit holds for every model and every kind of ground.
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

# One alarm in 25 usual drops, not in 20. With this share, a test with 200 usual drops stays below 5 % alarms.
ALARM_SHARE = 0.04
MIN_PAST_DROPS = math.ceil(1 / ALARM_SHARE) - 1
MIN_TILES = 8  # per drop; a smaller drop has too few similar tiles to compare with
# Chosen by a comparison with other values on drawn flights: see the table in test_drift.py.
TOP_SHARE = 0.03
OWN_WEIGHT = 0.75
OWN_RANK = 4
# A tile's distance to the second nearest drop counts, not to the nearest one. Otherwise, ground that was
# flown twice, or the same files in two drops, would make past drops look more alike than a new place can be.
DROP_RANK = 2
# Share of the variance in the compared directions; the rest is noise of single tiles.
VARIANCE_SHARE = 0.95
MAX_DIMS = 64
DROP_TILES = 512  # evenly spaced rows of each drop
FIT_TILES = 128
QUERY_ROWS = 128  # against 100 × 512 tiles: 26 MB of distances at a time


@dataclass(frozen=True, eq=False)
class Drift:
    """The novelty of a drop compared with past drops; ``tiles`` (N,) float32 is the novelty per tile.

    A novelty above ``limit`` is an alarm. ``p_value`` is the share of drops that are at least as novel,
    including this drop. If there is too little data, ``missing`` says what is missing. Then ``novelty`` and
    ``limit`` are NaN, ``p_value`` is 1 and ``tiles`` are zeros.
    """

    tiles: NDArray[np.float32]
    novelty: float
    limit: float
    p_value: float
    past_drops: int
    is_alarm: bool
    missing: str | None = None

    def find_most_novel(self, count: int = 10) -> NDArray[np.int64]:
        """Return the row numbers of the ``count`` most novel tiles, the most novel first."""
        return np.argsort(-self.tiles, kind="stable")[:count].astype(np.int64)


def measure_drift(
    vectors: np.ndarray, past: Sequence[np.ndarray], *, own_rank: int = OWN_RANK
) -> Drift:
    """Measure how novel a drop is compared with past drops.

    ``vectors`` (N, D) are those of the drop, and ``past`` holds one such array per past drop, in any order.
    All vectors must be of one space and one column. Past drops with fewer than ``MIN_TILES`` tiles are left
    out. With ``own_rank`` 4, a tile's distance to the 4th nearest tile of the same drop is used.

    Raises:
        InvalidVectorsError: a number is not finite, or the drops have different numbers of dimensions.
    """
    new = check_vectors(vectors)
    checked = [check_vectors(drop) for drop in past]
    for drop in checked:
        if len(drop) and drop.shape[1] != new.shape[1]:
            raise InvalidVectorsError(
                f"the vectors of a past drop have {drop.shape[1]} dimensions, those of the new drop have "
                f"{new.shape[1]}. Compare only drops of one space and column.",
                dims=(drop.shape[1], new.shape[1]),
            )
    large = [drop for drop in checked if len(drop) >= MIN_TILES]
    missing = describe_missing(len(new), len(large))
    if missing:
        nothing = np.zeros(len(new), np.float32)
        return Drift(nothing, math.nan, math.nan, 1.0, len(large), is_alarm=False, missing=missing)
    # Every drop gets the same number of tiles. In a larger drop, a tile's nearest tiles of the same drop are
    # nearer, so the larger drop would look more novel.
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


def describe_missing(tiles: int, past_drops: int) -> str | None:
    """Describe what is missing for a comparison; return None if nothing is missing."""
    # The size of the drop itself is checked first, so that callers need not read other drops.
    if tiles < MIN_TILES:
        return f"{count_of(tiles, 'tile')}; {MIN_TILES} are needed to compare a drop with others"
    if past_drops < MIN_PAST_DROPS:
        return (
            f"{count_of(past_drops, 'past drop')} to compare with; {MIN_PAST_DROPS} are needed to tell an unusual "
            f"drop from a usual one with at most {ALARM_SHARE:.0%} false alarms"
        )
    return None


def thin_drop(rows: np.ndarray, most: int = DROP_TILES) -> np.ndarray:
    """Return at most ``most`` of a drop's ``rows`` (one row per tile), evenly spaced.

    Neighbouring rows are neighbours on the ground, so evenly spaced rows cover the whole drop. Only the
    returned rows of a past drop are compared, so only they need memory.
    """
    return rows if len(rows) <= most else rows[_pick(len(rows), most)]


def _pick(count: int, most: int) -> NDArray[np.int64]:
    return np.arange(min(count, most)) * count // min(count, most)


def _find_thinned(count: int, most: int) -> NDArray[np.int64]:
    """Return the position of each of a drop's ``count`` rows in the result of ``thin_drop``; -1 if left out."""
    places = np.full(count, -1)
    picked = _pick(count, most)
    places[picked] = np.arange(len(picked))
    return places


class _View(NamedTuple):
    """The directions in which tiles differ; directions with more variance get smaller weights."""

    middle: np.ndarray
    axes: np.ndarray

    def project(self, rows: np.ndarray) -> NDArray[np.float32]:
        """Project rows (N, D) to the compared directions: (N, at most ``MAX_DIMS``).

        The projected rows from which the directions were fitted have a total variance of about 1.
        """
        return np.asarray((rows - self.middle) @ self.axes, np.float32)


def _fit_view(drops: Sequence[np.ndarray]) -> _View:
    """Fit principal directions, each divided by the fourth root of its variance (half whitening).

    Encoders, trained or not, put most of their spread into a few directions (brightness, colour), which
    would hide all other directions. Full whitening would give noise in weak directions as much weight as
    strong directions have.
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
    # Scaled so that a tile's spread is 1: novelties of two spaces are then comparable.
    weights = strong**-0.25 / math.sqrt(float(np.sqrt(strong).sum()))
    return _View(middle.astype(np.float32), (axes[:, :dims] * weights).astype(np.float32))


class _Pool(NamedTuple):
    """The rows of all drops, one drop after another.

    ``bounds`` holds the number of each drop's first row and, last, the number of all rows.
    """

    rows: NDArray[np.float32]
    bounds: NDArray[np.int64]
    own_rank: int  # 4: the distance to the 4th nearest tile of the same drop is used


def _measure(
    pool: _Pool,
    drop: int,
    *,
    asked: NDArray[np.float32] | None = None,
    itself: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Measure the novelty of the ``asked`` rows of one drop, by default of all its rows in the pool.

    ``itself`` holds the position of each asked row among the drop's rows in the pool, or -1 if the pool does
    not have it. A row is never its own neighbour.
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
    """Return a drop's novelty: the mean over the share ``TOP_SHARE`` of its tiles that is most novel.

    Unlike the highest novelty of a tile, this mean does not grow with the size of the drop.
    """
    count = max(1, round(TOP_SHARE * len(novelties)))
    return float(np.sort(novelties)[-count:].mean(dtype=np.float64))
