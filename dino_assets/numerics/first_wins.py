"""Exact groups of similar rows: a row joins the first similar earlier row that has not itself joined another.

So a group is a *first* row and later rows that are similar to it. The pairs are never listed: of N equal rows
there would be N²/2.

Most pairs are excluded by a bound of their cosine. Rows are projected onto a few directions that hold most of
their length; the length that is left bounds what the other directions can add. The remaining pairs are
measured by products in float32, and in float64 where rounding errors could decide.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_assets.numerics.neighbours import ROUNDING, blocks, check_vectors, scale_to_unit

SHOWN_DIRECTIONS = 24  # a bound costs a sixteenth of a product at 384 dimensions
SAMPLE_ROWS = 4096
BLOCK_ROWS = 2048
FIRST_ROWS = 8192
DENSE_SHARE = (
    0.02  # of pairs in a product that the bound leaves, above which whole rows are multiplied
)
PAIRS = 1 << 16  # measured together


class Groups(NamedTuple):
    """The first row of each row's group (N,) int64, perhaps the row itself; the cosines to it (N,) float64."""

    firsts: NDArray[np.int64]
    cosines: NDArray[np.float64]


def group_similar(
    vectors: np.ndarray, least: float, *, block_rows: int = BLOCK_ROWS, first_rows: int = FIRST_ROWS
) -> Groups:
    """Group rows (N, D) whose cosine is at least ``least``; rows of zeros are similar to none.

    The result does not depend on the sizes of blocks. ``vectors`` may be a memory map; besides the result,
    about 100 bytes per row are in memory.

    Raises:
        InvalidVectorsError: the vectors are not finite numbers (N, D).
    """
    if not len(vectors):
        return Groups(np.empty(0, np.int64), np.empty(0))
    grouping = _Grouping(vectors, least)
    for block in blocks(len(vectors), block_rows):
        rows = np.arange(block.start, block.stop)
        for start in range(0, grouping.count, first_rows):
            waiting = rows[grouping.firsts[rows] == rows]
            grouping.join(waiting, grouping.list_firsts(start, first_rows))
        grouping.join_each_other(rows[grouping.firsts[rows] == rows])
    return Groups(grouping.firsts, grouping.measure())


class _Grouping:
    """Groups so far, and the projections of all rows."""

    def __init__(self, vectors: np.ndarray, least: float) -> None:
        self._vectors, self._least = vectors, least
        dims = vectors.shape[1]
        self._margin = 2 * (dims + 9) * ROUNDING
        self._shown = self._project(_find_directions(vectors))
        self.firsts = np.arange(len(vectors))
        self.count = 0
        self._order = np.empty(len(vectors), np.int64)

    def list_firsts(self, start: int, count: int) -> NDArray[np.int64]:
        """List first rows, ascending."""
        return self._order[start : min(start + count, self.count)]

    def join(self, rows: NDArray[np.int64], firsts: NDArray[np.int64]) -> None:
        """Let rows join the first similar one of some first rows."""
        if not len(rows) or not len(firsts):
            return
        of_row, of_first = self._find_pairs(rows, firsts)
        # Pairs are sorted by row, then by first row: of each row, the first pair counts.
        places, at = np.unique(of_row, return_index=True)
        self.firsts[rows[places]] = firsts[of_first[at]]

    def join_each_other(self, rows: NDArray[np.int64]) -> None:
        """Find the first rows among rows that joined none, and let the others join them."""
        of_row, of_first = self._find_pairs(rows, rows)
        is_later = of_row > of_first
        of_row, of_first = of_row[is_later], of_first[is_later]
        starts = np.searchsorted(of_row, np.arange(len(rows) + 1))
        is_first = np.ones(len(rows), bool)
        for number in range(len(rows)):
            similar = of_first[starts[number] : starts[number + 1]]
            similar = similar[is_first[similar]]
            if len(similar):
                is_first[number] = False
                self.firsts[rows[number]] = rows[similar[0]]
        new = rows[is_first]
        self._order[self.count : self.count + len(new)] = new
        self.count += len(new)

    def measure(self) -> NDArray[np.float64]:
        """Measure the cosine of each row to its first row; that of a first row is 1."""
        cosines = np.ones(len(self.firsts))
        joined = np.flatnonzero(self.firsts != np.arange(len(self.firsts)))
        for block in blocks(len(joined), PAIRS):
            rows = joined[block]
            cosines[rows] = self._measure_pairs(rows, self.firsts[rows])
        return cosines

    def _project(self, directions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project unit rows, and append the length of the rest, rounded up."""
        shown = np.empty((len(self._vectors), directions.shape[1] + 1), np.float32)
        for block in blocks(len(shown)):
            units = scale_to_unit(check_vectors(self._vectors[block]))
            np.matmul(units, directions, out=shown[block, :-1])
            squares = np.square(units, dtype=np.float64).sum(axis=1)
            rest = squares - np.square(shown[block, :-1], dtype=np.float64).sum(axis=1)
            shown[block, -1] = np.sqrt(np.maximum(rest, 0) + 4 * self._margin)
        return shown

    def _find_pairs(
        self, rows: NDArray[np.int64], firsts: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find the similar pairs of two lists of rows: places in the lists, sorted."""
        bounds = self._shown[rows] @ self._shown[firsts].T
        of_row, of_first = np.nonzero(bounds >= self._least - 4 * self._margin)
        if len(of_row) > DENSE_SHARE * bounds.size:
            products = self._read_units(rows) @ self._read_units(firsts).T
            of_row, of_first = np.nonzero(products >= self._least - self._margin)
            cosines = products[of_row, of_first]
        else:
            cosines = self._multiply_pairs(rows[of_row], firsts[of_first])
        is_similar = cosines >= self._least + self._margin
        unsure = np.flatnonzero(~is_similar & (cosines >= self._least - self._margin))
        for block in blocks(len(unsure), PAIRS):
            pairs = unsure[block]
            exact = self._measure_pairs(rows[of_row[pairs]], firsts[of_first[pairs]])
            is_similar[pairs] = exact >= self._least
        return of_row[is_similar], of_first[is_similar]

    def _read_units(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return scale_to_unit(np.asarray(self._vectors[rows], np.float32))

    def _multiply_pairs(
        self, rows: NDArray[np.int64], firsts: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        products = np.empty(len(rows), np.float32)
        for block in blocks(len(rows), PAIRS // 8):
            left, right = self._read_units(rows[block]), self._read_units(firsts[block])
            products[block] = np.einsum("ij,ij->i", left, right)
        return products

    def _measure_pairs(
        self, rows: NDArray[np.int64], firsts: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        left = np.asarray(self._vectors[rows], np.float64)
        right = np.asarray(self._vectors[firsts], np.float64)
        lengths = np.sqrt(np.square(left).sum(axis=1)) * np.sqrt(np.square(right).sum(axis=1))
        products = (left * right).sum(axis=1)
        return np.asarray(np.divide(products, lengths, out=np.zeros(len(left)), where=lengths > 0))


def _find_directions(vectors: np.ndarray) -> NDArray[np.float32]:
    """Find orthogonal directions that hold most of the rows' lengths, from evenly spaced rows."""
    count = min(len(vectors), SAMPLE_ROWS)
    sample = scale_to_unit(check_vectors(vectors[np.arange(count) * len(vectors) // count]))
    moments = sample.T.astype(np.float64) @ sample
    _, directions = np.linalg.eigh(moments)
    return np.ascontiguousarray(directions[:, -SHOWN_DIRECTIONS:].astype(np.float32))
