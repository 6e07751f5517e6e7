"""Exact search for the most similar vectors, in blocks that come one after the other.

Products in float32 only decide which rows cannot be among the most similar ones. All others are measured in
float64, so the result does not depend on the size of the blocks.
"""

import math
from typing import NamedTuple

import numpy as np

from dino_assets.numerics.neighbours import (
    ROUNDING,
    blocks,
    check_vectors,
    scale_to_unit,
    square_rows,
)

BLOCK_ROWS = 8192  # 12 MiB at 384 dimensions; smaller products wait for their threads
LEAST_SQUARE, MOST_SQUARE = np.float32(1e-20), np.float32(1e30)
SPARE_ROWS = 2048  # candidates of a query that wait to be measured


class Hits(NamedTuple):
    """Rows, most similar first, int64 (k,), and their cosines with the query, float64 (k,)."""

    rows: np.ndarray
    cosines: np.ndarray


class Search:
    """The most similar rows among all blocks that were added, for each of some queries.

    Rows are numbered from 0 in the order in which they are added; equal cosines go to the lower row. A row or
    a query of zeros has the cosine 0.
    """

    def __init__(self, queries: np.ndarray, count: int, *, keeps_cosines: bool = False) -> None:
        """Begin a search for the ``count`` most similar rows of each query (Q, D).

        With ``keeps_cosines``, ``cosines`` are those of all rows, in float32.

        Raises:
            InvalidVectorsError: the queries are not finite numbers (Q, D).
        """
        self.queries = check_vectors(queries)
        self.units = scale_to_unit(self.queries)
        self.added = 0
        self._screened: list[np.ndarray] | None = [] if keeps_cosines else None
        self._margin = 2 * (self.queries.shape[1] + 9) * ROUNDING
        self._best = [_Best(query, count) for query in self.queries]

    def add(self, vectors: np.ndarray) -> None:
        """Search further rows (N, D) of float16 or float32."""
        for block in blocks(len(vectors), BLOCK_ROWS):
            rows = np.asarray(vectors[block], np.float32)
            screened = self._screen(rows)
            if self._screened is not None:
                self._screened.append(screened)
            for best, cosines in zip(self._best, screened, strict=True):
                # Also without the rows before this block, most of its rows are not among the most similar ones.
                least = max(best.least, _find_kth(cosines, best.count) - self._margin)
                places = np.flatnonzero(cosines >= least - self._margin)
                best.take(self.added + places, rows[places])
            self.added += len(rows)

    def _screen(self, rows: np.ndarray) -> np.ndarray:
        """Compute the cosines (Q, n) of rows with the queries in float32."""
        with np.errstate(over="ignore", invalid="ignore"):
            squares = square_rows(rows)
            products = self.units @ rows.T
        # Squares of such rows lose digits or are infinite, and a row of zeros has no direction.
        is_odd = ~((squares >= LEAST_SQUARE) & (squares <= MOST_SQUARE))
        squares[is_odd] = 1
        products /= np.sqrt(squares)
        if is_odd.any():
            products[:, is_odd] = self.units @ scale_to_unit(rows[is_odd]).T
        return np.asarray(products)

    @property
    def cosines(self) -> np.ndarray:
        """The cosines (Q, N) of all rows with the queries in float32, if they were to be kept."""
        empty = np.empty((len(self.queries), 0), np.float32)
        return np.concatenate([empty, *(self._screened or [])], axis=1)

    def hits(self) -> list[Hits]:
        """Return the most similar rows of each query, as many as there are."""
        return [best.hits() for best in self._best]


class _Best:
    """The most similar rows of one query so far, and candidates that are not measured yet."""

    def __init__(self, query: np.ndarray, count: int) -> None:
        self.query, self.count = query, count
        self.least = -np.inf  # a row with a smaller cosine is not among the most similar ones
        self._similar = Hits(np.empty(0, np.int64), np.empty(0))
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self._rows = 0

    def take(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Add candidates, with higher numbers than all before."""
        self._waiting.append((rows, vectors))
        self._rows += len(rows)
        if self._rows >= SPARE_ROWS:
            self.hits()

    def hits(self) -> Hits:
        """Measure the waiting candidates, and keep the most similar rows."""
        rows = [self._similar.rows, *(rows for rows, _ in self._waiting)]
        cosines = [
            self._similar.cosines,
            *(measure_cosines(v, self.query) for _, v in self._waiting),
        ]
        self._waiting, self._rows = [], 0
        every, exact = np.concatenate(rows), np.concatenate(cosines)
        order = np.lexsort((every, -exact))[: self.count]
        self._similar = Hits(every[order], exact[order])
        if len(order) == self.count:
            self.least = float(self._similar.cosines[-1])
        return self._similar


def _find_kth(values: np.ndarray, k: int) -> float:
    """Return the k-th largest value that is a number; minus infinity if there are fewer."""
    values = values[~np.isnan(values)]
    if len(values) < k:
        return -math.inf
    return float(np.partition(values, len(values) - k)[len(values) - k])


def measure_cosines(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Measure the cosines of rows (N, D) with a query (D,) in float64; those of zeros are 0."""
    cosines = np.empty(len(rows))
    right = query.astype(np.float64)
    length = np.sqrt(np.square(right).sum())
    for block in blocks(len(rows), 1024):
        left = rows[block].astype(np.float64)
        lengths = np.sqrt(np.square(left).sum(axis=1)) * length
        products = (left * right).sum(axis=1)
        cosines[block] = np.divide(products, lengths, out=np.zeros(len(left)), where=lengths > 0)
    return cosines
