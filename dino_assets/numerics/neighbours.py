"""Exact nearest neighbours and nearest centres, by matrix products of blocks of rows.

Products in float32 are only used for *screening*. Their rounding error has a known bound, and pairs that are
too far apart in spite of the largest possible error are excluded. Every other pair is measured by direct
differences in float64.
Therefore the results do not depend on block shapes, on the number of queries, or on the library (BLAS) that
computed the products.
"""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dino_assets.errors import ConfigError, InvalidVectorsError
from dino_assets.numerics.allocating import allocate_rows
from dino_assets.settings.choices import check_word

Metric = Literal["cosine", "euclidean"]
METRICS: tuple[Metric, ...] = ("cosine", "euclidean")

SPARE = 16  # neighbours screened in addition to k, so that few rows need a second search
PAIR_FLOATS = 1 << 20  # float64 numbers in memory while pairs are measured: 8 MiB, fits the cache
ROUNDING = 2.0**-24  # of one float32 operation
NOT_IN_POOL = -1  # in place of a query's own row
TINY = np.float32(1e-36)  # more than the underflow of float32 products


class BlockSizes(NamedTuple):
    """Rows of both factors of one matrix product; the product is 32 MiB of float32."""

    queries: int = 1024
    pool: int = 8192


BLOCK_SIZES = BlockSizes()


class Neighbours(NamedTuple):
    """Nearest rows per query (M, k): int64 indices, nearest first, and float32 distances."""

    indices: np.ndarray
    distances: np.ndarray


class Queries(NamedTuple):
    """Rows (M, D) whose neighbours are searched, and each row's own index in the pool, or ``NOT_IN_POOL``."""

    rows: np.ndarray
    own: np.ndarray


class Nearest(NamedTuple):
    """The nearest centre per row: int64 indices (N,) and float64 squared distances (N,)."""

    labels: np.ndarray
    squared: np.ndarray


def check_vectors(vectors: ArrayLike) -> np.ndarray:
    """Check vectors and convert them to float32 (N, D); a memory map of float32 stays one.

    Raises:
        InvalidVectorsError: they are not two-dimensional, have no dimensions, or a number is not finite.
    """
    given = np.asarray(vectors)
    if given.ndim != 2 or given.dtype.kind not in "fiu":
        raise InvalidVectorsError(
            f"vectors of shape {given.shape} and type {given.dtype}: expected numbers (N, D), "
            "one row per tile"
        )
    if not given.shape[1] and len(given):
        raise InvalidVectorsError(f"vectors of shape {given.shape} have no dimensions")
    with np.errstate(
        over="ignore"
    ):  # numbers too large for float32 become inf and are refused below
        points = np.ascontiguousarray(given, np.float32)
    for block in blocks(len(points)):
        broken = np.flatnonzero(~np.isfinite(points[block]).all(axis=1))
        if len(broken):
            row = block.start + int(broken[0])
            where = int((~np.isfinite(points[row])).argmax())
            raise InvalidVectorsError(
                f"row {row} has {given[row, where]} in dimension {where}: expected finite float32 "
                "numbers. Embed that tile again, or leave it out",
                row=row,
            )
    return points


def scale_to_unit(points: np.ndarray) -> np.ndarray:
    """Scale rows to length 1, in float32. A row of zeros stays zero."""
    unit = allocate_rows(*points.shape)
    for block in blocks(len(points)):
        rows = points[block].astype(np.float64)
        length = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
        unit[block] = np.divide(rows, length, out=rows, where=length > 0)
    return unit


def measure_squared(points: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Measure squared distances in float64 by direct differences, along the last axis after broadcasting.

    These distances decide every result. In contrast to a matrix product, the value of a pair does not depend
    on what else is computed in the same call.
    """
    difference = points.astype(np.float64) - to
    return np.asarray(np.square(difference, out=difference).sum(axis=-1))


def fold_in(squared: np.ndarray, points: np.ndarray, centre: np.ndarray) -> None:
    """Update squared distances (N,) float64 of rows to their nearest centre, for one more ``centre`` (D,).

    ``squared`` is changed in place: a distance is replaced where the new centre is nearer.
    """
    for block in blocks(len(points), max(1, PAIR_FLOATS // max(points.shape[1], 1))):
        np.minimum(squared[block], measure_squared(points[block], centre), out=squared[block])


def find_neighbours(
    vectors: np.ndarray,
    k: int,
    *,
    queries: np.ndarray | None = None,
    metric: Metric = "cosine",
    sizes: BlockSizes = BLOCK_SIZES,
) -> Neighbours:
    """Find the exact ``k`` nearest other rows for each row, or the nearest rows for each of ``queries``.

    Among equally near rows, the lowest index comes first. Cosine distance is 1 minus the cosine. A row of
    zeros is at cosine distance 0 from other rows of zeros, and at distance 1 from all other rows.

    Raises:
        ConfigError: the metric is unknown, or there are fewer than ``k`` other rows.
        InvalidVectorsError: vectors are not finite numbers (N, D), or the queries have another D.
    """
    check_word("metric", metric, METRICS)
    pool = check_vectors(vectors)
    query_rows = pool if queries is None else check_vectors(queries)
    if query_rows.shape[1] != pool.shape[1]:
        raise InvalidVectorsError(
            f"queries of {query_rows.shape[1]} dimensions and rows of {pool.shape[1]}: embed both with "
            "the same model",
            dims=(query_rows.shape[1], pool.shape[1]),
        )
    others = max(len(pool) - (queries is None), 0)
    if not 1 <= k <= others:
        raise ConfigError(
            f"k={k} neighbours among {others} other rows: expected 1 to {others}",
            setting="k",
            value=k,
        )
    if metric == "cosine":
        pool = _point_zeros(scale_to_unit(pool))
        query_rows = pool if queries is None else _point_zeros(scale_to_unit(query_rows))
    screen = make_screen(pool, query_rows)
    indices = np.empty((len(query_rows), k), np.int64)
    squared = np.empty((len(query_rows), k))
    for block in blocks(len(query_rows), sizes.queries):
        own = np.arange(block.start, block.stop)
        own = own if queries is None else np.full(len(own), NOT_IN_POOL)
        query = Queries(query_rows[block], own)
        indices[block], squared[block] = _search(pool, k, query, screen, pool_block=sizes.pool)
    if metric == "euclidean":
        # Rows within float32 may be up to twice its maximum apart.
        distances = np.minimum(np.sqrt(squared), np.finfo(np.float32).max)
        return Neighbours(indices, distances.astype(np.float32))
    # For unit rows, half of the squared distance is 1 − cos, without cancellation.
    return Neighbours(indices, (squared / 2).astype(np.float32))


def find_nearest(points: np.ndarray, centres: np.ndarray) -> Nearest:
    """Find the exactly nearest centre (K, D) of every row (N, D); among equally near ones, take the first."""
    # Repeated centres are removed: they are equally near to every row, so all would be measured in float64.
    first = np.sort(np.unique(centres, axis=0, return_index=True)[1])
    distinct = np.ascontiguousarray(centres[first])
    screen = make_screen(distinct, points)
    right = screen.project(distinct)
    labels, squared = np.empty(len(points), np.int64), np.empty(len(points))
    for block in blocks(
        len(points), max(1, min(BLOCK_SIZES.pool, math.prod(BLOCK_SIZES) // len(first)))
    ):
        rows = points[block]
        left = screen.project(rows)
        lower = screen.bound_below(left, right)
        upper = lower + 2 * screen.margin * (square_rows(left)[:, None] + square_rows(right))
        i, j = np.nonzero(lower <= upper.min(axis=1, keepdims=True))
        exact = _measure_pairs(rows, i, distinct, j)
        order = np.lexsort((j, exact, i))
        best = order[np.searchsorted(i, np.arange(len(rows)))]
        labels[block], squared[block] = first[j[best]], exact[best]
    return Nearest(labels, squared)


class Screen(NamedTuple):
    """A shift and a scale (a power of two) that move all rows near the origin, where float32 is most exact.

    Embeddings of untrained encoders are nearly equal; without the shift, products could not distinguish them.
    The error of a squared distance between rows a and b is at most ``margin`` · (|a|² + |b|²). A common bound
    from the longest row would be useless if a single row were very long.
    """

    shift: np.ndarray
    scale: np.float32
    margin: np.float32

    def project(self, rows: np.ndarray) -> np.ndarray:
        """Shift and scale rows for float32 products."""
        return np.asarray(rows * self.scale - self.shift, np.float32)

    def bound_below(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Compute lower bounds (M, N) float32 of the squared distances between projected rows."""
        products = left @ right.T
        products *= -2
        products += (1 - self.margin) * square_rows(left)[:, None] - TINY
        products += (1 - self.margin) * square_rows(right)
        return np.asarray(products)


def make_screen(*arrays: np.ndarray) -> Screen:
    """Choose a common shift, scale and error margin for arrays of rows."""
    largest = max((float(np.abs(a[b]).max()) for a in arrays for b in blocks(len(a))), default=0)
    # A power of two scales without rounding. Numbers within ±2 do not overflow.
    power = np.clip(-np.ceil(np.log2(largest)), -126, 126) if largest else 0
    scale = np.float32(2.0**power)
    shift = np.asarray(scale * arrays[0].mean(axis=0, dtype=np.float64), np.float32)
    # |a|² + |b|² − 2ab rounds each of D products, and (|a| + |b|)² ≤ 2 (|a|² + |b|²).
    return Screen(shift, scale, np.float32(2 * (arrays[0].shape[1] + 8) * ROUNDING))


def square_rows(rows: np.ndarray) -> np.ndarray:
    """Compute the squared lengths (n,) of rows."""
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def _measure_pairs(a: np.ndarray, i: np.ndarray, b: np.ndarray, j: np.ndarray) -> np.ndarray:
    squared = np.empty(len(i))
    for block in blocks(len(i), max(1, PAIR_FLOATS // max(a.shape[1], 1))):
        squared[block] = measure_squared(a[i[block]], b[j[block]])
    return squared


def _search(
    pool: np.ndarray, k: int, query: Queries, screen: Screen, *, pool_block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find indices and squared distances (M, k) of the neighbours of ``query`` in the pool."""
    queries, own = query
    left, every = screen.project(queries), np.arange(len(queries))
    count = min(k + SPARE, len(pool))
    indices: np.ndarray = np.empty((len(queries), 0), np.int64)
    lower: np.ndarray = np.empty((len(queries), 0), np.float32)
    for block in blocks(len(pool), pool_block):
        bounds = screen.bound_below(left, screen.project(pool[block]))
        inside = (own >= block.start) & (own < block.stop)
        bounds[every[inside], own[inside] - block.start] = np.inf
        columns = _find_smallest(bounds, count)
        lower = np.hstack([lower, np.take_along_axis(bounds, columns, 1)])
        indices = np.hstack([indices, columns + block.start])
        columns = _find_smallest(lower, count)
        lower = np.take_along_axis(lower, columns, 1)
        indices = np.take_along_axis(indices, columns, 1)
    columns = np.argsort(indices, axis=1)
    lower = np.take_along_axis(lower, columns, 1)
    indices = np.take_along_axis(indices, columns, 1)
    squared = np.stack([measure_squared(q, pool[c]) for q, c in zip(queries, indices, strict=True)])
    squared[indices == own[:, None]] = np.inf
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    if count < len(pool):
        # The k rows bound the k-th distance from above. Rows that were dropped are at least as far as the
        # lower bound of the last candidate. Where the two bounds overlap, more rows must be measured.
        upper = np.stack([square_rows(screen.project(pool[c])) for c in indices])
        upper = lower + 2 * screen.margin * (square_rows(left)[:, None] + upper)
        limits = np.sort(upper, axis=1)[:, k - 1]
        unsure = np.flatnonzero(lower.max(axis=1) <= limits)
    else:
        unsure, limits = np.empty(0, np.int64), np.empty(0)
    indices = np.take_along_axis(indices, order, 1)
    squared = np.take_along_axis(squared, order, 1)
    if len(unsure):
        indices[unsure], squared[unsure] = _search_wide(
            pool,
            k,
            Queries(queries[unsure], own[unsure]),
            screen,
            limits[unsure],
            pool_block=pool_block,
        )
    return indices, squared


def _search_wide(
    pool: np.ndarray,
    k: int,
    query: Queries,
    screen: Screen,
    limits: np.ndarray,
    *,
    pool_block: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the neighbours of queries with many near ties, by measuring every row that may be near enough.

    ``limits`` (M,) holds an upper bound of each query's k-th smallest distance, as the screen measures it.
    """
    queries, own = query
    # Of equal rows only the first k + 1 can be neighbours. Otherwise thousands of equal tiles (black, open
    # water) would be measured against each other.
    useful = _drop_repeats(pool, k + 1)
    left = screen.project(queries)
    pairs = []
    for block in blocks(len(useful), pool_block):
        lower = screen.bound_below(left, screen.project(pool[useful[block]]))
        i, j = np.nonzero(lower <= limits[:, None])
        pairs.append((i, useful[j + block.start]))
    i, j = (np.concatenate(side) for side in zip(*pairs, strict=True))
    i, j = i[j != own[i]], j[j != own[i]]
    exact = _measure_pairs(queries, i, pool, j)
    order = np.lexsort((j, exact, i))
    starts = np.searchsorted(i[order], np.arange(len(queries)))
    chosen = order[starts[:, None] + np.arange(k)]
    return j[chosen], exact[chosen]


def _drop_repeats(pool: np.ndarray, keep: int) -> np.ndarray:
    """List the indices of rows that have fewer than ``keep`` equal rows before them, in ascending order."""
    rows = np.ascontiguousarray(pool).view(np.dtype((np.void, pool.shape[1] * pool.itemsize)))
    groups = np.unique(rows.ravel(), return_inverse=True)[1]
    order = np.argsort(groups, kind="stable")
    ranked = groups[order]
    rank = np.arange(len(order)) - np.searchsorted(ranked, ranked)
    return np.sort(order[rank < keep])


def _point_zeros(unit: np.ndarray) -> np.ndarray:
    """Add a dimension that is 1 for rows of zeros and 0 for others, so that both kinds are orthogonal."""
    return np.column_stack([unit, ~unit.any(axis=1)]).astype(np.float32, copy=False)


def _find_smallest(values: np.ndarray, count: int) -> np.ndarray:
    if values.shape[1] <= count:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    return np.argpartition(values, count - 1, axis=1)[:, :count]


def blocks(count: int, size: int = BLOCK_SIZES.pool) -> Iterator[slice]:
    """Yield slices that cover ``count`` rows."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
