import subprocess
import sys

import numpy as np
import pytest

from dino_assets.errors import ConfigError, InvalidVectorsError
from dino_assets.numerics.neighbours import Metric, find_neighbours
from dino_assets.projections.layout import (
    MIN_DISTINCT,
    _build_graph,
    _import_umap,
    fit_projection,
    project_linearly,
)
from dino_assets_tests.worlds.raising import raising


def cloud(count: int, dims: int = 16, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dims)).astype(np.float32)


def blobs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Three groups that touch nowhere, so that their neighbour graph falls into three parts."""
    labels = np.repeat([0, 1, 2], count)
    return cloud(3 * count) + 20 * np.eye(16, dtype=np.float32)[labels], labels


def agreement(coordinates: np.ndarray, labels: np.ndarray) -> float:
    """Share of a tile's ten nearest on the map that are of its own group."""
    neighbours = find_neighbours(coordinates, 10, metric="euclidean").indices
    return float((labels[neighbours] == labels[:, None]).mean())


# --- linear ---------------------------------------------------------------------------------


def test_project_linearly__by_hand():
    points = np.array([[0.0, 0], [0, 2], [10, 0], [10, 2]])
    assert project_linearly(points, 3).tolist() == [[-5, -1, 0], [-5, 1, 0], [5, -1, 0], [5, 1, 0]]


@pytest.mark.parametrize("shape", [(50, 4), (10, 40), (41, 40)])
def test_project_linearly__equals_principal_components(shape: tuple[int, int]):
    points = cloud(*shape) * np.linspace(1, 5, shape[1])
    coordinates = project_linearly(points, 3)
    centred = points - points.mean(axis=0)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(coordinates), np.abs(left * strengths)[:, :3], atol=1e-6)


def test_project_linearly__signs_do_not_depend_on_the_order():
    points = cloud(60)
    order = np.random.default_rng(0).permutation(60)
    np.testing.assert_allclose(
        project_linearly(points[order], 2), project_linearly(points, 2)[order], atol=1e-9
    )


@pytest.mark.parametrize("direction", [[3, -1, 0], [-3, 1, 0], [1, 1, -4], [-1, -1, 4]])
def test_project_linearly__points_to_the_largest_loading(direction: list[int]):
    steps = np.arange(5.0)
    coordinates = project_linearly(np.outer(steps, direction), 2)
    sign = np.sign(direction[int(np.abs(direction).argmax())])
    length = np.linalg.norm(direction)
    np.testing.assert_allclose(coordinates[:, 0], sign * length * (steps - 2), atol=1e-12)
    assert not coordinates[:, 1].any()  # a line spans no second component


def test_fit_projection__linear_on_request_gives_no_reason():
    points = cloud(30)
    projection = fit_projection(points, method="linear", metric="euclidean")
    assert projection.why == ""
    assert projection.method == "linear"
    assert projection.n_neighbors == 0
    assert projection.coordinates.dtype == np.float32
    np.testing.assert_allclose(projection.coordinates, project_linearly(points, 2), rtol=1e-5)


def test_fit_projection__cosine_ignores_lengths():
    points = cloud(30)
    scaled_points = points * np.random.default_rng(1).uniform(1, 9, (30, 1))
    one, two = (fit_projection(p, method="linear").coordinates for p in (points, scaled_points))
    np.testing.assert_allclose(one, two, atol=1e-5)


# --- pools too small for UMAP ---------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 3, MIN_DISTINCT - 1])
def test_fit_projection__small_pools_are_linear_and_say_so(count: int):
    projection = fit_projection(cloud(count))
    assert projection.coordinates.shape == (count, 2)
    assert projection.method == "linear"
    assert f"fewer than 10 of {count} tiles differ" in projection.why
    if count == 1:
        assert projection.coordinates.tolist() == [[0, 0]]


@pytest.mark.parametrize("value", [0, 0.3])
def test_fit_projection__equal_vectors_are_one_point(value: float):
    projection = fit_projection(np.full((2000, 7), value), n_components=3)
    assert projection.why.endswith("fewer than 10 of 2000 tiles differ under the cosine metric")
    assert not projection.coordinates.any()


def test_fit_projection__a_few_distinct_vectors_stay_apart():
    projection = fit_projection(np.repeat(np.eye(3), 50, axis=0))
    assert projection.method == "linear"
    assert len(np.unique(projection.coordinates, axis=0)) == 3


# --- UMAP ----------------------------------------------------------------------------------


@pytest.mark.slow  # the peer compiles its own neighbour search
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_build_graph__equals_umap_learns_graph(metric: Metric):
    vectors = np.vstack([cloud(150), cloud(30)])  # with duplicates
    peer = (
        _import_umap()
        .UMAP(12, metric=metric, random_state=1, n_jobs=1, transform_mode="graph")
        .fit(vectors)
    )
    graph = _build_graph(vectors, 12, metric, 1)
    np.testing.assert_allclose(graph.toarray(), peer.graph_.toarray(), atol=1e-4)


def test_fit_projection__umap_keeps_groups_and_is_reproducible():
    vectors, labels = blobs(60)
    projection = fit_projection(vectors)
    assert (projection.method, projection.why, projection.n_neighbors) == ("umap", "", 15)
    assert projection.coordinates.shape == (180, 2)
    assert projection.coordinates.dtype == np.float32
    assert agreement(projection.coordinates, labels) == 1
    assert fit_projection(vectors).coordinates.tobytes() == projection.coordinates.tobytes()
    other_projection = fit_projection(vectors, seed=43)
    assert other_projection.coordinates.tobytes() != projection.coordinates.tobytes()


def test_fit_projection__umap_shows_what_a_linear_map_cannot():
    # Twelve groups along twelve axes: two components show a few of them, neighbours all.
    labels = np.repeat(np.arange(12), 25)
    vectors = cloud(300) + 12 * np.eye(16, dtype=np.float32)[labels]
    linear = fit_projection(vectors, method="linear").coordinates
    assert agreement(linear, labels) < 0.7
    assert agreement(fit_projection(vectors).coordinates, labels) > 0.98


@pytest.mark.parametrize("count", [MIN_DISTINCT, 12, 15, 16])
def test_fit_projection__umap_clamps_neighbours(count: int):
    projection = fit_projection(cloud(count), n_components=3)
    assert projection.method == "umap"
    assert projection.n_neighbors == min(15, count - 1)
    assert projection.coordinates.shape == (count, 3)
    assert np.isfinite(projection.coordinates).all()


@pytest.mark.parametrize(
    "vectors",
    [
        pytest.param(np.repeat(cloud(12), 30, axis=0), id="repeated"),
        pytest.param(np.arange(40.0)[:, None], id="a-line"),
        pytest.param(np.vstack([cloud(50), -cloud(50)]), id="opposites"),
        pytest.param(np.vstack([cloud(50), 1e6 * cloud(1)]), id="an-outlier"),
        pytest.param(1 + 1e-6 * cloud(50), id="near-equal"),
        pytest.param(np.vstack([cloud(20), np.zeros((20, 16))]), id="zeros"),
    ],
)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_fit_projection__umap_gives_no_warning_for_any_pool(vectors: np.ndarray, metric: str):
    projection = fit_projection(vectors, metric=metric)  # type: ignore[arg-type]
    assert np.isfinite(projection.coordinates).all()
    assert projection.method == "umap" or projection.why


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("n_neighbors", 1),
        ("min_dist", -0.1),
        ("min_dist", 1.1),
        ("n_components", 0),
        ("metric", "dot"),
        ("seed", -1),
        ("seed", 2**32),
        ("method", "tsne"),
    ],
)
def test_fit_projection__refuses_invalid_settings(setting: str, value: object):
    with raising(ConfigError, setting=setting, value=value):
        fit_projection(cloud(20), **{setting: value})  # type: ignore[arg-type]


def test_fit_projection__names_the_row_that_is_not_finite():
    vectors = cloud(20)
    vectors[7] = np.inf
    with raising(InvalidVectorsError, row=7):
        fit_projection(vectors)


def test_warm_up__the_next_process_compiles_nothing(tmp_path):
    """Otherwise every run pays for it again, unseen: a map's time is not in any test."""
    script = """
from dino_assets.projections.layout import warm_up
warm_up()
from umap import layouts, umap_
for function in (
    umap_.smooth_knn_dist,
    umap_.compute_membership_strengths,
    layouts._nb_optimize_layout_euclidean_single_epoch,
):
    print(sum(function.stats.cache_hits.values()), sum(function.stats.cache_misses.values()))
"""
    for _ in range(2):
        process = subprocess.run(
            [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr
    assert process.stdout.split("\n")[:3] == ["1 0"] * 3
