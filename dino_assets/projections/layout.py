"""Layout of the vectors of tiles in a few dimensions, by UMAP or by principal components.

UMAP is computed by internal functions of the library umap-learn, from exact neighbours and from principal
components as the start. The library's own class would search neighbours approximately (28 s of compiling in
every process), and it warns about neighbours that it gets from outside. The same machine, libraries and seed
give the same coordinates. Another machine may give very different ones, so the coordinates are stored.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from dino_assets.numerics.neighbours import (
    METRICS,
    Metric,
    check_vectors,
    find_neighbours,
    scale_to_unit,
)
from dino_assets.settings.choices import check_range, check_word

Method = Literal["umap", "linear"]

MIN_DISTINCT = 10  # tiles; with fewer, UMAP's neighbourhoods contain all tiles or none
EPOCHS = 200  # 500 keep 1 % more neighbours of 1,797 digits and take 3.7× the time
EXTENT = 10.0  # largest coordinate of the start; UMAP's step length expects it
JITTER = 1e-4  # separates equal points of the start, which UMAP would never separate


@dataclass(frozen=True, eq=False)
class Projection:
    """Coordinates (N, C components), with the method and the settings that were really used.

    If another method was used than the requested one, ``why`` is a sentence with the reason; otherwise it is
    empty. ``n_neighbors`` includes the tile itself, as in UMAP, and is 0 if no neighbours were used.
    """

    coordinates: np.ndarray
    method: Method
    why: str
    n_neighbors: int
    min_dist: float
    n_components: int
    metric: Metric
    seed: int


def fit_projection(
    vectors: ArrayLike,
    *,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    n_components: int = 2,
    metric: Metric = "cosine",
    seed: int = 42,
    method: Method = "umap",
) -> Projection:
    """Lay out the vectors (N, D) of tiles; with fewer than ``MIN_DISTINCT`` different ones, use ``linear``.

    Raises:
        ConfigError: a setting is outside its range.
        InvalidVectorsError: the vectors are not finite (N, D).
    """
    # umap-learn would refuse these values later and with a less clear message.
    check_range("n_neighbors", n_neighbors, least=2, meaning="the tile itself included")
    check_range("min_dist", min_dist, least=0, most=1, meaning="of the distance between clusters")
    check_range("n_components", n_components, least=1, meaning="2 make a plot")
    check_range("seed", seed, least=0, most=2**32 - 1)
    check_word("metric", metric, tuple(METRICS))
    check_word("method", method, get_args(Method))
    points = check_vectors(vectors)
    if metric == "cosine":
        points = scale_to_unit(points)
    why = ""
    if method == "umap" and not _has_distinct(points, MIN_DISTINCT):
        why = (
            f"a linear projection instead of UMAP: fewer than {MIN_DISTINCT} of {len(points)} tiles "
            f"differ under the {metric} metric"
        )
    if method == "linear" or why:
        coordinates = project_linearly(points, n_components).astype(np.float32)
        return Projection(coordinates, "linear", why, 0, min_dist, n_components, metric, seed)
    n_neighbors = min(n_neighbors, len(points) - 1)
    coordinates = _run_umap(points, n_neighbors, min_dist, n_components, metric, seed)
    return Projection(coordinates, "umap", why, n_neighbors, min_dist, n_components, metric, seed)


def project_linearly(points: np.ndarray, n_components: int) -> np.ndarray:
    """Compute the coordinates (N, C) float64 of points along their first principal components.

    The sign of an axis is chosen so that its largest entry by amount is positive. So equal points always give
    equal coordinates. Components beyond the rank of the points are exactly zero.
    """
    coordinates = np.zeros((len(points), n_components))
    if len(points) < 2:
        return coordinates
    centred = points.astype(np.float64)
    centred -= centred.mean(axis=0)
    wide = len(points) <= points.shape[1]
    _, strengths, axes = np.linalg.svd(
        centred if wide else centred.T @ centred, full_matrices=False
    )
    strengths = strengths if wide else np.sqrt(strengths)
    spanned = int((strengths > strengths[0] * 1e-6).sum())
    axes = axes[: min(n_components, spanned)]
    loudest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], 1)
    coordinates[:, : len(axes)] = centred @ (axes * np.sign(loudest)).T
    return coordinates


def _build_graph(points: np.ndarray, n_neighbors: int, metric: Metric, seed: int) -> Any:
    """Build UMAP's weighted neighbour graph, a sparse (N, N), from exact neighbours."""
    umap_ = _import_umap()
    count = len(points)
    near = find_neighbours(points, n_neighbors - 1, metric=metric)
    # UMAP's neighbours begin with the tile itself, at distance 0.
    indices = np.column_stack([np.arange(count), near.indices]).astype(np.int32)
    distances = np.column_stack([np.zeros(count, np.float32), near.distances])
    state = np.random.RandomState(seed)
    graph, _, _ = umap_.fuzzy_simplicial_set(
        points, n_neighbors, state, metric, knn_indices=indices, knn_dists=distances
    )
    return graph


def _run_umap(
    points: np.ndarray,
    n_neighbors: int,
    min_dist: float,
    n_components: int,
    metric: Metric,
    seed: int,
) -> np.ndarray:
    umap_ = _import_umap()
    graph = _build_graph(points, n_neighbors, metric, seed)
    start = project_linearly(points, n_components)
    start *= EXTENT / np.abs(start).max()
    start += np.random.default_rng(seed).normal(scale=JITTER, size=start.shape)
    a, b = umap_.find_ab_params(1.0, min_dist)
    coordinates, _ = umap_.simplicial_set_embedding(
        points,
        graph,
        n_components,
        initial_alpha=1.0,
        a=a,
        b=b,
        gamma=1.0,
        negative_sample_rate=5,
        n_epochs=EPOCHS,
        init=start.astype(np.float32),
        random_state=np.random.RandomState(seed),
        metric=metric,
        metric_kwds={},
        densmap=False,
        densmap_kwds={},
        output_dens=False,
    )
    return np.asarray(coordinates, np.float32)


def _import_umap() -> Any:
    with warnings.catch_warnings():
        # umap warns on import about a missing optional dependency (umap/__init__.py).
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        from umap import layouts, umap_
    for module, name in (
        (umap_, "smooth_knn_dist"),
        (umap_, "compute_membership_strengths"),
        (layouts, "_nb_optimize_layout_euclidean_single_epoch"),
    ):
        # Without a cache, umap-learn compiles these functions again in every process: 7 of the 11 s of CPU
        # time for a map of 1,000 tiles. Numba's cache keys include source, version and processor. If umap
        # renames a function, it is not cached; nothing else happens.
        compiled: Any = getattr(module, name, None)
        if hasattr(compiled, "enable_caching"):
            compiled.enable_caching()
    return umap_


def warm_up() -> None:
    """Compile the functions that a map needs and cache them on disk, so that the first map is faster."""
    fit_projection(np.random.default_rng(0).normal(size=(50, 8)))


def _has_distinct(points: np.ndarray, count: int) -> bool:
    """Check whether there are at least ``count`` different rows; stop once these are seen."""
    distinct = points[:0]
    for start in range(0, len(points), 1024):
        distinct = np.unique(np.concatenate([distinct, points[start : start + 1024]]), axis=0)
        if len(distinct) >= count:
            return True
    return False
