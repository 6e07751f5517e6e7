"""Greedy choice of rows that cover all rows: MaxHerding and medoids.

How well a row is covered depends only on the pick that is most similar to it. Each pick is the row that adds
most to the mean coverage of all rows. Unlike farthest points, such picks lie where many rows are.

The gain of a candidate only shrinks while rows are picked (the coverage is submodular). So a gain computed
earlier is an upper bound, and only candidates whose old gain is large enough are computed again.
"""

import math
from typing import Literal, NamedTuple

import numpy as np

from dino_assets.numerics.neighbours import blocks, measure_squared, square_rows
from dino_assets.numerics.open_rows import OpenRows
from dino_assets.numerics.rows import Rows, as_rows
from dino_assets.numerics.swapping import improve_by_swaps

Similarity = Literal["gaussian", "distance"]

MOST_ROWS = 4096  # covered rows, and candidates at a time; their similarities take 64 MiB
PICKS_PER_SET = 64  # picks after which other candidates are drawn, if there are more than fit
SAMPLE_PER_PICK = (
    20  # sampled rows for each pick, below which swaps would fit the sample and not the pool
)
RECOMPUTED = 32  # candidates whose gain is computed at a time


class Cover(NamedTuple):
    """Picked rows in order, int64, and the distance of each to the nearest earlier pick, float64.

    The distance is infinite for the first pick if nothing was chosen before.
    """

    indices: np.ndarray
    distances: np.ndarray


def pick_covering(
    points: np.ndarray | Rows,
    count: int,
    *,
    chosen: np.ndarray,
    similarity: Similarity,
    rng: np.random.Generator,
    open_rows: OpenRows | None = None,
    most_rows: int = MOST_ROWS,
    with_swaps: bool = False,
) -> Cover:
    """Pick ``count`` rows that together with the ``chosen`` rows cover all rows best, one after the other.

    Only ``open_rows`` are picked, by default all that are not chosen; each pick closes some of them. There
    are fewer than ``count`` picks if no row is left.

    ``gaussian`` similarities are exp(-d² / median d²), as MaxHerding has them; ``distance`` is -d, which makes
    the picks greedy medoids. Above ``most_rows`` rows, coverage is measured on a random sample. The
    candidates are a random sample, too, and a new one is drawn after some picks. A larger count begins with
    the picks of a smaller one. Ties go to the lowest row.

    ``with_swaps`` exchanges picks for other rows as long as that raises the coverage. Then a larger count does not
    begin with the picks of a smaller one. Picks of a sample are exchanged only if there are few.
    """
    rows = as_rows(points)
    population = _draw(np.arange(rows.shape[0]), most_rows, rng)
    measure = _Similarities(rows, population, similarity)
    covered = measure.cover(np.asarray(chosen, np.int64))
    if open_rows is None:
        open_rows = OpenRows.all_but(chosen, rows.shape[0])
    before, covered_before = open_rows.copy(), covered
    picked: list[int] = []
    while len(picked) < count and len(left := open_rows.list()):
        candidates = _draw(left, most_rows, rng)
        is_all = len(candidates) == len(left)
        more = count - len(picked) if is_all else min(PICKS_PER_SET, count - len(picked))
        similar = measure.between(candidates)
        places, covered = _pick_greedily(similar, covered, more, candidates, open_rows)
        picked += candidates[places].tolist()
    if with_swaps and (len(population) == rows.shape[0] or count * SAMPLE_PER_PICK <= most_rows):
        candidates = np.union1d(_draw(before.list(), most_rows, rng), picked)
        picked = _swap(measure.between(candidates), covered_before, picked, candidates, before)
    indices = np.asarray(picked, np.int64)
    return Cover(indices, measure_earlier(rows, indices, np.asarray(chosen, np.int64)))


def _draw(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Draw at most ``most`` of some ascending rows; keep their order."""
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


class _Similarities:
    """Similarities of rows to the counted rows, on which coverage is measured."""

    def __init__(self, rows: Rows, population: np.ndarray, similarity: Similarity) -> None:
        self.rows, self.similarity = rows, similarity
        read = rows.read(population)
        self.mean = read.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.population = read - self.mean
        self.squares = square_rows(self.population)
        between = self._square(population)
        own = between[np.triu_indices(len(population), 1)]
        self.median = float(np.median(own)) if len(own) else 0.0
        self.least = -float(np.sqrt(between.max(initial=0)))

    def _square(self, which: np.ndarray) -> np.ndarray:
        """Compute squared distances (n, P) in float32, in blocks of a fixed size."""
        squared = np.empty((len(which), len(self.population)), np.float32)
        for block in blocks(len(which), 512):
            given = self.rows.read(which[block]) - self.mean
            squared[block] = given @ self.population.T
            squared[block] *= -2
            squared[block] += self.squares
            squared[block] += square_rows(given)[:, None]
        return np.maximum(squared, 0, out=squared)

    def between(self, which: np.ndarray) -> np.ndarray:
        """Compute the similarities (n, P) of some rows to all counted ones."""
        squared = self._square(which)
        if self.similarity == "distance":
            return np.asarray(-np.sqrt(squared, out=squared))
        # Rows that are all equal have the similarity 1.
        squared /= -self.median if self.median > 0 else -math.inf
        return np.asarray(np.exp(squared, out=squared))

    def cover(self, chosen: np.ndarray) -> np.ndarray:
        """Compute how well chosen rows cover the counted rows (P,); without chosen rows, none is covered."""
        least = 0.0 if self.similarity == "gaussian" else self.least
        covered = np.full(len(self.population), least, np.float32)
        for block in blocks(len(chosen), 512):
            np.maximum(covered, self.between(chosen[block]).max(axis=0), out=covered)
        return covered


def _pick_greedily(
    similar: np.ndarray,
    covered: np.ndarray,
    count: int,
    candidates: np.ndarray,
    open_rows: OpenRows,
) -> tuple[list[int], np.ndarray]:
    """Pick ``count`` candidates by the gain in coverage; return their places and the coverage after them.

    Each pick closes rows. If all candidates are closed, fewer are picked.
    """
    covered, picked = covered.copy(), list[int]()
    gains, is_fresh = np.full(len(similar), math.inf), np.zeros(len(similar), bool)
    _compute_gains(gains, similar, covered, np.arange(len(similar)))
    is_fresh[:] = True
    for _ in range(count):
        # Of equal gains argmax finds the lowest row; a stale gain is never too small.
        while not is_fresh[best := int(gains.argmax())]:
            stale = np.flatnonzero(~is_fresh)
            if len(stale) > RECOMPUTED:
                stale = stale[np.argpartition(-gains[stale], RECOMPUTED)[:RECOMPUTED]]
            _compute_gains(gains, similar, covered, stale)
            is_fresh[stale] = True
        if gains[best] < 0:  # every candidate is closed
            break
        picked.append(best)
        np.maximum(covered, similar[best], out=covered)
        open_rows.pick(int(candidates[best]))
        is_closed = ~open_rows.are_open[candidates]
        gains[is_closed] = -1
        is_fresh = is_closed
    return picked, covered


def _swap(
    similar: np.ndarray,
    covered: np.ndarray,
    picked: list[int],
    candidates: np.ndarray,
    open_rows: OpenRows,
) -> list[int]:
    """Exchange picked rows for other candidates; return the rows in the order of their gains."""
    places = np.searchsorted(candidates, np.asarray(picked, np.int64)).tolist()
    last = np.sort(improve_by_swaps(similar, covered, places, open_rows.among(candidates)))
    everything = OpenRows(np.ones(len(last), bool))
    order, _ = _pick_greedily(similar[last], covered, len(last), np.arange(len(last)), everything)
    return [int(candidates[last[place]]) for place in order]


def _compute_gains(
    gains: np.ndarray, similar: np.ndarray, covered: np.ndarray, which: np.ndarray
) -> None:
    for block in blocks(len(which), 256):
        more = np.maximum(similar[which[block]] - covered, 0)
        gains[which[block]] = more.mean(axis=1, dtype=np.float64)


def measure_earlier(rows: Rows, picked: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Measure the distance of every pick to the nearest row among the chosen ones and the picks before it."""
    read = rows.read(picked)
    squared = np.full(len(picked), math.inf)
    for block in blocks(len(chosen), 256):
        before = rows.read(chosen[block])
        for place, row in enumerate(read):
            squared[place] = min(squared[place], float(measure_squared(before, row).min()))
    for place in range(1, len(picked)):
        squared[place] = min(
            squared[place], float(measure_squared(read[:place], read[place]).min())
        )
    return np.asarray(np.sqrt(squared))
