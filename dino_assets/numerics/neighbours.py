"""Exact neighbours and nearest centres by blocked matrix products.

One idea throughout: products in float32 only *screen*. Their rounding error is bounded, and every
pair that the bound cannot rule out is decided by direct differences in float64. So the answers do
not depend on block shapes, on how many rows are asked, or on which BLAS computed the products.
"""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dino_assets.errors import ConfigError, InvalidVectorsError
from dino_assets.settings.choices import check_word

Metric = Literal["cosine", "euclidean"]
METRICS: tuple[Metric, ...] = ("cosine", "euclidean")

SPARE = 16  # neighbours screened beyond those asked, so that few rows need a second look
PAIR_FLOATS = 1 << 20  # float64 numbers in flight while pairs are decided: 8 MiB, fits the cache
ROUNDING = 2.0**-24  # of one float32 operation
NOT_IN_POOL = -1  # in place of a query's own row
TINY = np.float32(1e-36)  # more than what float32 products lose by underflow


class BlockSizes(NamedTuple):
    """Rows of a product at a time; together 32 MiB of float32."""

    queries: int = 1024
    pool: int = 8192


BLOCK_SIZES = BlockSizes()


class Neighbours(NamedTuple):
    """Nearest rows per query (M, k): int64 indices, nearest first, and float32 distances."""

    indices: np.ndarray
    distances: np.ndarray


class Queries(NamedTuple):
    """Rows (M, D) whose neighbours are looked for, and which row of the pool each of them is, if any."""

    rows: np.ndarray
    own: np.ndarray


class Nearest(NamedTuple):
    """The nearest centre per row: int64 indices (N,) and float64 squared distances (N,)."""

    labels: np.ndarray
    squared: np.ndarray


def check_vectors(vectors: ArrayLike) -> np.ndarray:
    """The same vectors as float32 (N, D); a memory map of float32 stays one.

    Raises:
        InvalidVectorsError: not two-dimensional, no dimensions, or a number that is not finite.
    """
    given = np.asarray(vectors)
    if given.ndim != 2 or given.dtype.kind not in "fiu":
        raise InvalidVectorsError(
            f"vectors of shape {given.shape} and type {given.dtype}: expected numbers (N, D), "
            "one row per tile"
        )
    if not given.shape[1] and len(given):
        raise InvalidVectorsError(f"vectors of shape {given.shape} have no dimensions")
    with np.errstate(over="ignore"):  # what does not fit float32 becomes inf and is named below
        points = np.ascontiguousarray(given, np.float32)
    for block in blocks(len(points)):
        broken = np.flatnonzero(~np.isfinite(points[block]).all(axis=1))
        if len(broken):
            row = block.start + int(broken[0])
            where = int((~np.isfinite(points[row])).argmax())
            raise InvalidVectorsError(
                f"row {row} holds {given[row, where]} in dimension {where}: expected finite float32 "
                "numbers; embed that tile again, or leave it out",
                row=row,
            )
    return points


def scale_to_unit(points: np.ndarray) -> np.ndarray:
    """Rows of length 1 in float32. A row of zeros has no direction and stays zero."""
    unit = np.empty(points.shape, np.float32)
    for block in blocks(len(points)):
        rows = points[block].astype(np.float64)
        length = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
        unit[block] = np.divide(rows, length, out=rows, where=length > 0)
    return unit


def measure_squared(points: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Squared distances in float64 by direct differences, along the last axis after broadcasting.

    The one definition of distance that decides anything: a pair's value does not depend on what
    else is computed with it, which a matrix product does not promise.
    """
    difference = points.astype(np.float64) - to
    return np.asarray(np.square(difference, out=difference).sum(axis=-1))


def fold_in(squared: np.ndarray, points: np.ndarray, centre: np.ndarray) -> None:
    """Lower the squared distances (N,) float64 to those from ``centre`` (D,), in place."""
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
    """The exact ``k`` nearest other rows for each row, or the nearest rows for each of other ``queries``.

    Ties go to the lowest index. Cosine distance is 1 − cos; a row of zeros is at distance 1 from all
    others, and 0 from other zeros.

    Raises:
        ConfigError: an unknown metric, or fewer than ``k`` other rows.
        InvalidVectorsError: vectors that are not finite (N, D), or queries of another D.
    """
    check_word("metric", metric, METRICS)
    pool = check_vectors(vectors)
    asked = pool if queries is None else check_vectors(queries)
    if asked.shape[1] != pool.shape[1]:
        raise InvalidVectorsError(
            f"queries of {asked.shape[1]} dimensions and rows of {pool.shape[1]}: embed both with the "
            "same model",
            dims=(asked.shape[1], pool.shape[1]),
        )
    others = max(len(pool) - (queries is None), 0)
    if not 1 <= k <= others:
        raise ConfigError(
            f"k={k} neighbours of {others} other rows: use 1 to that number",
            setting="k",
            value=k,
        )
    if metric == "cosine":
        pool = _point_zeros(scale_to_unit(pool))
        asked = pool if queries is None else _point_zeros(scale_to_unit(asked))
    screen = make_screen(pool, asked)
    indices = np.empty((len(asked), k), np.int64)
    squared = np.empty((len(asked), k))
    for block in blocks(len(asked), sizes.queries):
        own = np.arange(block.start, block.stop)
        query = Queries(asked[block], own if queries is None else np.full(len(own), NOT_IN_POOL))
        indices[block], squared[block] = _search(pool, k, query, screen, pool_block=sizes.pool)
    if metric == "euclidean":
        distances = np.minimum(np.sqrt(squared), np.finfo(np.float32).max)  # twice it may come out
        return Neighbours(indices, distances.astype(np.float32))
    # Half of it is 1 − cos for unit rows, without the cancellation.
    return Neighbours(indices, (squared / 2).astype(np.float32))


def find_nearest(points: np.ndarray, centres: np.ndarray) -> Nearest:
    """The exactly nearest centre (K, D) of every row (N, D); ties go to the lowest index."""
    # Equal centres tie everywhere, and every tie would be decided in float64.
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
        upper = lower + 2 * screen.margin * (_square(left)[:, None] + _square(right))
        i, j = np.nonzero(lower <= upper.min(axis=1, keepdims=True))
        exact = _measure_pairs(rows, i, distinct, j)
        order = np.lexsort((j, exact, i))
        best = order[np.searchsorted(i, np.arange(len(rows)))]
        labels[block], squared[block] = first[j[best]], exact[best]
    return Nearest(labels, squared)


class Screen(NamedTuple):
    """A shift and a power of two that bring all rows near the origin, where float32 is sharpest.

    Untrained encoders give embeddings that share nearly all of their length; without the shift the
    products would resolve nothing. ``margin`` · (|a|² + |b|²) bounds what a screened squared
    distance is off by; a bound by the longest row would let one outlier blur everything.
    """

    shift: np.ndarray
    scale: np.float32
    margin: np.float32

    def project(self, rows: np.ndarray) -> np.ndarray:
        """Rows as the float32 products see them: centred and scaled."""
        return np.asarray(rows * self.scale - self.shift, np.float32)

    def bound_below(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Lower bounds (M, N) float32 of the squared distances between projected rows."""
        products = left @ right.T
        products *= -2
        products += (1 - self.margin) * _square(left)[:, None] - TINY
        products += (1 - self.margin) * _square(right)
        return np.asarray(products)


def make_screen(*arrays: np.ndarray) -> Screen:
    """A common centre and scale for some arrays of rows, and the error that products then have."""
    largest = max((float(np.abs(a[b]).max()) for a in arrays for b in blocks(len(a))), default=0)
    # A power of two scales without rounding; within ±2 nothing overflows.
    power = np.clip(-np.ceil(np.log2(largest)), -126, 126) if largest else 0
    scale = np.float32(2.0**power)
    shift = np.asarray(scale * arrays[0].mean(axis=0, dtype=np.float64), np.float32)
    # |a|² + |b|² − 2ab rounds each of D products, and (|a| + |b|)² ≤ 2 (|a|² + |b|²).
    return Screen(shift, scale, np.float32(2 * (arrays[0].shape[1] + 8) * ROUNDING))


def _square(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def _measure_pairs(a: np.ndarray, i: np.ndarray, b: np.ndarray, j: np.ndarray) -> np.ndarray:
    squared = np.empty(len(i))
    for block in blocks(len(i), max(1, PAIR_FLOATS // max(a.shape[1], 1))):
        squared[block] = measure_squared(a[i[block]], b[j[block]])
    return squared


def _search(
    pool: np.ndarray, k: int, query: Queries, screen: Screen, *, pool_block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and squared distances (M, k) of the neighbours of ``query`` in the pool."""
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
        # The k rows found bound the k-th distance from above; what was never kept is at least as
        # far as the last one kept. Where the two overlap, more must be measured.
        upper = np.stack([_square(screen.project(pool[c])) for c in indices])
        upper = lower + 2 * screen.margin * (_square(left)[:, None] + upper)
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
    """The same for rows among ties: everything that may lie within the limit is measured."""
    queries, own = query
    # Of equal rows only the first k + 1 can be neighbours. Thousands of tiles of black or of open
    # water are equal, and would otherwise be measured against each other.
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
    """Ascending indices of the rows with fewer than ``keep`` equal rows before them."""
    rows = np.ascontiguousarray(pool).view(np.dtype((np.void, pool.shape[1] * pool.itemsize)))
    groups = np.unique(rows.ravel(), return_inverse=True)[1]
    order = np.argsort(groups, kind="stable")
    ranked = groups[order]
    rank = np.arange(len(order)) - np.searchsorted(ranked, ranked)
    return np.sort(order[rank < keep])


def _point_zeros(unit: np.ndarray) -> np.ndarray:
    """One more dimension, along which rows without a direction point: orthogonal to all others."""
    return np.column_stack([unit, ~unit.any(axis=1)]).astype(np.float32, copy=False)


def _find_smallest(values: np.ndarray, count: int) -> np.ndarray:
    if values.shape[1] <= count:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    return np.argpartition(values, count - 1, axis=1)[:, :count]


def blocks(count: int, size: int = BLOCK_SIZES.pool) -> Iterator[slice]:
    """Slices that cover ``count`` rows."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
