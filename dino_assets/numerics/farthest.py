"""Exact farthest-point sampling, by bounds that are brought up to date only where they can decide.

Each pick is the row that is farthest from its nearest earlier pick; ties go to the lowest row. Distances are
squared, and measured by direct differences in float64. Measuring every row after every pick would read all
vectors once per pick. Instead every row has bounds of its smallest distance to the picks with which it was
compared. Further picks can only make the distance smaller, so the upper bound stays true without comparing
the row with them. A row far below the largest distance is never compared with them.

A small *pool* of the rows with the largest upper bounds is kept up to date. Picks are made inside the pool while
one of its rows is certainly above every row outside.
"""

import math
from typing import NamedTuple

import numpy as np

from dino_assets.numerics.distance_bounds import (
    PICKED,
    Bounds,
    Frame,
    Projected,
    make_frame,
)
from dino_assets.numerics.neighbours import PAIR_FLOATS, TINY, blocks, measure_squared, square_rows
from dino_assets.numerics.open_rows import OpenRows
from dino_assets.numerics.rows import Rows, as_rows

# Rows that are kept up to date together: 6 MiB at 768 dimensions, which a last-level cache holds.
POOL_ROWS = 2048
WINDOW = 16  # pools in a window, where the next pools are searched instead of among all rows
CHUNK_ROWS = 256  # rows per product; sorted, so that all have seen nearly the same picks
FIRST_SEEN = 32  # of the rows chosen before, those that are shown to every row
SEARCHED = 64  # rows whose nearest centre is searched together
USEFUL = 0.8  # share of a pool's rows that may still be picked, below which the others are left out


class Walk(NamedTuple):
    """Picked rows in order, int64, and the distance of each to the nearest earlier pick, float64."""

    indices: np.ndarray
    distances: np.ndarray


def walk_farthest(
    points: np.ndarray | Rows,
    count: int,
    *,
    chosen: np.ndarray,
    open_rows: OpenRows | None = None,
    pool_rows: int = POOL_ROWS,
) -> Walk:
    """Pick ``count`` farthest points among finite rows, or fewer if no row is left.

    Every pick is the row farthest from all chosen and picked rows; ties go to the lowest index. The result
    equals the naive definition, for every ``pool_rows``. If nothing is chosen, the first pick is the row
    farthest from the mean: unlike row 0, it does not depend on the order of the rows. Only ``open_rows`` are
    picked, by default all that are not chosen; each pick closes some of them.
    """
    rows = as_rows(points)
    if open_rows is None:
        open_rows = OpenRows.all_but(chosen, rows.shape[0])
    if not count or not open_rows.are_open.any():
        return Walk(np.empty(0, np.int64), np.empty(0))
    frame = make_frame(rows)
    walker = _Walker(rows, frame, open_rows, capacity=len(chosen) + count, pool_rows=pool_rows)
    start, squared = None, math.inf
    if not len(chosen):
        start, squared = _find_farthest_from_mean(rows, frame, open_rows.are_open)
        walker.pick(start)
    walker.add_centres(np.asarray(chosen, np.int64))
    walker.show_all(FIRST_SEEN)
    while walker.count < walker.capacity and walker.pick_some():
        pass
    squares = walker.measure_centres(len(chosen))
    if start is not None:
        squares[0] = squared
    return Walk(walker.order[len(chosen) : walker.count], np.sqrt(squares))


def _find_farthest_from_mean(rows: Rows, frame: Frame, are_open: np.ndarray) -> tuple[int, float]:
    """Find the lowest open row with the largest squared distance to the mean, and that distance."""
    best, largest, start = 0, -1.0, 0
    centre = frame.project(frame.mean.astype(np.float64))
    for block in rows.blocks():
        projected = frame.project(block)
        squares = square_rows(projected)
        middle = squares - 2 * (projected @ centre)
        error = frame.margin * (squares + centre @ centre) + TINY
        is_open = are_open[start : start + len(block)]
        least = (middle - error).max(initial=-math.inf, where=is_open)
        for row in np.flatnonzero((middle + error >= least) & is_open):
            squared = float(measure_squared(block[row], frame.mean))
            if squared > largest:
                best, largest = start + int(row), squared
        start += len(block)
    return best, largest


class _Walker:
    """The bounds of every row; the centres, which are the chosen and the picked rows.

    Distances are in the frame's scale. A row's bounds are those of its distances to the first ``seen`` centres. ``exact`` is the smallest
    squared distance to the first ``exact_seen`` centres, for the few rows where the nearest centre had to be
    searched.
    """

    def __init__(
        self, rows: Rows, frame: Frame, open_rows: OpenRows, *, capacity: int, pool_rows: int
    ) -> None:
        count, dims = rows.shape
        self.rows, self.frame, self.open_rows = rows, frame, open_rows
        self.capacity, self.pool_rows = capacity, pool_rows
        self.bounds, self.seen = Bounds.unknown(count), np.zeros(count, np.int32)
        self.bounds.close(~open_rows.are_open)
        self.exact, self.exact_seen = np.full(count, math.inf), np.zeros(count, np.int32)
        self.order, self.count = np.empty(capacity, np.int64), 0
        self.factors = np.empty((capacity, dims), np.float32)  # projected centres, times -2
        self.squares = np.empty(capacity, np.float32)  # their squared lengths
        self.window = np.empty(0, np.int64)
        self.window_limit = math.inf  # no row outside the window has a larger upper bound

    def add_centres(self, which: np.ndarray) -> None:
        """Add rows to the centres."""
        for block in blocks(len(which), CHUNK_ROWS):
            self._append(which[block], self._project(which[block]))

    def _append(self, which: np.ndarray, projected: Projected) -> None:
        added = slice(self.count, self.count + len(which))
        np.multiply(projected.rows, -2, out=self.factors[added])
        self.squares[added] = projected.squares
        self.order[added] = which
        self.bounds.close(which)
        self.count = added.stop

    def pick(self, row: int, projected: Projected | None = None) -> None:
        """Add a row to the centres, and close the rows that it excludes."""
        which = np.array([row])
        self._append(which, self._project(which) if projected is None else projected)
        self.bounds.close(self.open_rows.pick(row))

    def show_all(self, most: int) -> None:
        """Show the first ``most`` centres to every row."""
        shown = min(self.count, most)
        for block in blocks(self.rows.shape[0], CHUNK_ROWS):
            self._show(block, slice(0, shown))

    def pick_some(self) -> bool:
        """Pick rows, or bring the bounds of the first rows up to date; return False if no row is left."""
        pool, outside = self._choose_pool()
        stale = pool[self.seen[pool] < self.count]
        if len(stale):
            stale = stale[np.argsort(self.seen[stale], kind="stable")]
            for block in blocks(len(stale), CHUNK_ROWS):
                which = stale[block]
                self._show(which, slice(int(self.seen[which[0]]), self.count))
        elif self.bounds.high[pool].max() <= 0:  # only copies of centres are left
            return self._pick_copies()
        else:
            self._pick_inside(np.sort(pool), outside)
        return True

    def _pick_copies(self) -> bool:
        """Pick copies of centres, the lowest rows first; return False if they are not enough."""
        for row in np.flatnonzero(self.bounds.high > PICKED):
            if self.count == self.capacity:
                break
            if self.bounds.high[row] > PICKED:  # no copy that was picked excludes it
                self.pick(int(row))
        return self.count == self.capacity

    def _choose_pool(self) -> tuple[np.ndarray, float]:
        """Choose the rows with the largest upper bounds, and find the largest bound of all others."""
        high = self.bounds.high[self.window]
        if not len(high) or high.max() <= self.window_limit:
            most = WINDOW * self.pool_rows
            self.window, self.window_limit = _take_largest(self.bounds.high, most)
            high = self.bounds.high[self.window]
        places, outside = _take_largest(high, self.pool_rows)
        if outside < self.window_limit:
            places, outside = np.flatnonzero(high > self.window_limit), self.window_limit
        return self.window[places], outside

    def _project(self, which: slice | np.ndarray) -> Projected:
        projected = self.frame.project(self.rows.read(which))
        return Projected(projected, square_rows(projected))

    def _show(self, which: slice | np.ndarray, centres: slice) -> None:
        """Lower the bounds of rows by some centres; they include all earlier centres already."""
        bounds = self.bounds.take(which)
        bounds.lower(self._bound(self._project(which), centres))
        self.bounds.put(which, bounds)
        self.seen[which] = centres.stop

    def _bound_pairs(self, projected: Projected, centres: slice) -> np.ndarray:
        """Bound the squared distances (n, centres) of rows from some centres from below, in float32."""
        least = projected.rows @ self.factors[centres].T
        least += (1 - self.frame.margin) * self.squares[centres] - TINY
        least += (1 - self.frame.margin) * projected.squares[:, None]
        return np.maximum(least, 0, out=least)

    def _bound(self, projected: Projected, centres: slice) -> Bounds:
        """Bound the smallest squared distances of rows from some centres."""
        pairs, each = self._bound_pairs(projected, centres), np.arange(len(projected.rows))
        nearest = pairs.argmin(axis=1) if pairs.shape[1] > 1 else np.zeros(len(each), np.int64)
        low = pairs[each, nearest]
        error = self._spread(projected.squares, self.squares[centres][nearest])
        pairs[each, nearest] = math.inf
        others = pairs.min(axis=1)
        return Bounds(low, low + error, (nearest + centres.start).astype(np.int32), others)

    def _spread(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Bound the difference between the lower bounds of squared distances and the distances."""
        return np.asarray(2 * self.frame.margin * (a + b) + 2 * TINY)

    def _pick_inside(self, pool: np.ndarray, outside: float) -> None:
        """Pick rows from an up-to-date pool while the best one is above every row outside."""
        projected, bounds = self._project(pool), self.bounds.take(pool)
        while self.count < self.capacity:
            place = self._find_largest(pool, projected, bounds, outside)
            if place is None:
                break
            self.pick(int(pool[place]), projected.take([place]))
            bounds.lower(self._bound(projected, slice(self.count - 1, self.count)))
            excludes = self.open_rows.excludes_some
            bounds.close(self.bounds.high[pool] == PICKED if excludes else place)
            is_useful = bounds.high > outside
            if np.count_nonzero(is_useful) < USEFUL * len(pool):
                self._keep(pool, bounds)
                pool, projected = pool[is_useful], projected.take(is_useful)
                bounds = bounds.take(is_useful)
                if not len(pool):
                    break
        self._keep(pool, bounds)

    def _keep(self, pool: np.ndarray, bounds: Bounds) -> None:
        self.bounds.put(pool, bounds)
        self.seen[pool] = self.count

    def _find_largest(
        self, pool: np.ndarray, projected: Projected, bounds: Bounds, outside: float
    ) -> int | None:
        """Find the place of the row with the largest distance, if it is certainly above ``outside``."""
        low, high = bounds.low, bounds.high
        while True:
            rivals = np.flatnonzero(high >= low.max())
            if len(rivals) == 1 and low[rivals[0]] > max(outside, PICKED):
                return int(rivals[0])
            unsure = rivals[low[rivals] < high[rivals]]
            if not len(unsure):
                best = int(rivals[high[rivals].argmax()])
                return best if high[best] > max(outside, 0) else None
            values = self._measure_pairs(pool[unsure], self.order[bounds.nearest[unsure]])
            if (values > bounds.others[unsure]).any():
                # Another centre may be nearer. Searching some rows costs little more than searching one, and
                # the next largest ones are the rivals of the next picks.
                unsure = np.flatnonzero(low < high)
                unsure = unsure[_take_largest(high[unsure], SEARCHED)[0][: 2 * SEARCHED]]
                values = self._search(pool[unsure], projected.take(unsure))
            low[unsure] = high[unsure] = values

    def _search(self, which: np.ndarray, projected: Projected) -> np.ndarray:
        """Measure the distances of rows to those newly added centres that may be their nearest."""
        values, start = self.exact[which], int(self.exact_seen[which].min())
        centres = slice(start, self.count)
        least = self._bound_pairs(projected, centres)
        most = least + self._spread(projected.squares[:, None], self.squares[centres])
        i, j = np.nonzero(least <= np.minimum(values, most.min(axis=1))[:, None])
        np.minimum.at(values, i, self._measure_pairs(which[i], self.order[start + j]))
        self.exact[which], self.exact_seen[which] = values, self.count
        return np.asarray(values)

    def _measure_pairs(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Measure squared distances of pairs of rows in float64, in the frame's scale."""
        squared = np.empty(len(a))
        for block in blocks(len(a), max(1, PAIR_FLOATS // self.rows.shape[1])):
            squared[block] = measure_squared(self.rows.read(a[block]), self.rows.read(b[block]))
        return squared * self.frame.scale**2

    def measure_centres(self, first: int) -> np.ndarray:
        """Measure, for each centre from number ``first`` on, the squared distance to its nearest earlier centre."""
        squared = np.full(self.count - first, math.inf)
        for block in blocks(len(squared), CHUNK_ROWS):
            own = np.arange(first + block.start, first + block.stop)
            projected, centres = self._project(self.order[own]), slice(0, int(own[-1]))
            if not centres.stop:
                continue
            least = self._bound_pairs(projected, centres)
            least[np.arange(centres.stop) >= own[:, None]] = math.inf
            most = least + self._spread(projected.squares[:, None], self.squares[centres])
            i, j = np.nonzero((least <= most.min(axis=1)[:, None]) & (least < math.inf))
            exact = self._measure_pairs(self.order[own[i]], self.order[j])
            np.minimum.at(squared, block.start + i, exact)
        return squared / self.frame.scale**2


def _take_largest(values: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    """Take the places of the ``count`` largest values, and of equal ones; find the largest value of the rest."""
    if len(values) <= count:
        return np.arange(len(values)), -math.inf
    limit = np.partition(values, len(values) - count)[len(values) - count]
    rest = values[values < limit]
    return np.flatnonzero(values >= limit), float(rest.max()) if len(rest) else -math.inf
