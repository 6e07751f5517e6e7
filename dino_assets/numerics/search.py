"""Exact search for the most similar vectors, in blocks that come one after the other.

Products in float32 only decide which rows cannot be among the most similar ones. All others are measured in
float64, so the result does not depend on the size of the blocks.
"""

from typing import NamedTuple

import numpy as np

from dino_assets.numerics.neighbours import ROUNDING, blocks, check_vectors, scale_to_unit

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

    def __init__(self, queries: np.ndarray, count: int) -> None:
        """Begin a search for the ``count`` most similar rows of each query (Q, D).

        Raises:
            InvalidVectorsError: the queries are not finite numbers (Q, D).
        """
        self.queries = check_vectors(queries)
        self.units = scale_to_unit(self.queries)
        self.added = 0
        self._margin = 2 * (self.queries.shape[1] + 9) * ROUNDING
        self._best = [_Best(query, count) for query in self.queries]

    def add(self, vectors: np.ndarray) -> None:
        """Search further rows (N, D) of float16 or float32."""
        for block in blocks(len(vectors)):
            rows = np.asarray(vectors[block], np.float32)
            products = scale_to_unit(rows) @ self.units.T
            for best, cosines in zip(self._best, products.T, strict=True):
                places = np.flatnonzero(cosines >= best.least - self._margin)
                best.take(self.added + places, rows[places])
            self.added += len(rows)

    def hits(self) -> list[Hits]:
        """Return the most similar rows of each query, as many as there are."""
        return [best.hits() for best in self._best]


class _Best:
    """The most similar rows of one query so far, and candidates that are not measured yet."""

    def __init__(self, query: np.ndarray, count: int) -> None:
        self.query, self.count = query, count
        self.least = -np.inf  # a row with a smaller cosine is none of the most similar ones
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
