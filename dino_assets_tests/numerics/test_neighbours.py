import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.cluster import KMeans

from dino_assets.errors import ConfigError, InvalidVectorsError
from dino_assets.numerics import neighbours as linalg
from dino_assets.numerics.kmeans import Seeding, fit_kmeans, run_lloyd
from dino_assets.numerics.neighbours import (
    BlockSizes,
    check_vectors,
    find_nearest,
    find_neighbours,
    measure_squared,
    scale_to_unit,
)

MANY = settings(max_examples=150, deadline=None)
RNG = np.random.default_rng(7)

# Few values, so that ties and equal rows are frequent.
grids = hnp.arrays(
    np.float32,
    st.tuples(st.integers(2, 40), st.integers(1, 4)),
    elements=st.sampled_from([-1, 0, 1, 2]),
)
clouds = hnp.arrays(
    np.float32,
    st.tuples(st.integers(2, 40), st.integers(1, 4)),
    elements=st.floats(-1e3, 1e3, width=32),
)


def blobs(count: int, dims: int, *, centres: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(centres, dims)) * 2
    return (middle[rng.integers(0, centres, count)] + rng.normal(size=(count, dims))).astype("f4")


def naive_neighbours(pool: np.ndarray, k: int, queries: np.ndarray | None = None) -> np.ndarray:
    """Sort all float64 distances of each row stably, as neighbours are defined."""
    indices = []
    for row, query in enumerate(pool if queries is None else queries):
        squared = measure_squared(pool, query)
        if queries is None:
            squared[row] = np.inf
        indices.append(np.argsort(squared, kind="stable")[:k])
    return np.array(indices)


# Pools for which screening in float32 would give wrong results without its error bound.
HARD = {
    "near-equal": 1 + 1e-4 * RNG.normal(size=(300, 32)),
    "many-ties": RNG.integers(0, 3, (300, 4)).astype(float),
    "one-outlier": np.vstack([RNG.normal(size=(300, 8)), np.full((1, 8), 1e5)]),
    "all-equal": np.full((100, 5), 0.3),
    "huge": 3e38 * RNG.uniform(-1, 1, (100, 4)),
    "subnormal": 1e-42 * RNG.normal(size=(100, 3)),
    "two-scales": np.vstack([1e-25 * RNG.normal(size=(60, 3)), np.ones((1, 3))]),
}


# --- by hand --------------------------------------------------------------------------------


def test_find_neighbours__small_example():
    neighbours = find_neighbours(np.array([[0.0], [1.0], [3.0], [7.0]]), 2, metric="euclidean")
    assert neighbours.indices.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert neighbours.distances.tolist() == [[1, 3], [1, 2], [2, 3], [4, 6]]


def test_find_neighbours__small_cosine_example():
    # Right, up, left, diagonal: lengths do not matter.
    neighbours = find_neighbours(np.array([[9.0, 0], [0, 1], [-2, 0], [3, 3]]), 3)
    assert neighbours.indices[0].tolist() == [3, 1, 2]
    assert neighbours.distances[0] == pytest.approx([1 - 0.5**0.5, 1, 2])


def test_find_neighbours__ties_go_to_the_lowest_index():
    neighbours = find_neighbours(
        np.array([[1.0], [0.0], [1.0], [1.0], [-1.0]]), 3, metric="euclidean"
    )
    assert neighbours.indices[1].tolist() == [0, 2, 3]
    assert neighbours.indices[0].tolist() == [2, 3, 1]


def test_find_neighbours__rows_of_zeros_are_orthogonal_to_others():
    neighbours = find_neighbours(np.array([[0.0, 0], [1, 1], [1, 0], [0, 0], [-1, 0]]), 4)
    assert neighbours.indices[2].tolist() == [1, 0, 3, 4]
    assert neighbours.distances[0].tolist() == [0, 1, 1, 1]


def test_scale_to_unit__small_example():
    assert scale_to_unit(np.array([[3.0, 4], [0, 0]])).tolist() == [
        pytest.approx([0.6, 0.8]),
        [0, 0],
    ]


def test_find_nearest__takes_the_lowest_of_equal_centres():
    centres = np.array([[5.0], [1.0], [1.0], [5.0]])
    nearest = find_nearest(np.array([[0.0], [9.0], [3.0]]), centres)
    assert nearest.labels.tolist() == [1, 0, 0]
    assert nearest.squared.tolist() == [1, 16, 4]


def test_fit_kmeans__small_example():
    clusters = fit_kmeans([[0.0], [1], [10], [11], [12]], 2, rng=np.random.default_rng(0))
    assert sorted(clusters.centres.ravel().tolist()) == [0.5, 11]
    assert clusters.inertia == 2.5


# --- neighbours -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", HARD)
def test_find_neighbours__equals_the_definition_on_hard_pools(name: str):
    pool = HARD[name].astype(np.float32)
    neighbours = find_neighbours(pool, 7, metric="euclidean")
    np.testing.assert_array_equal(neighbours.indices, naive_neighbours(pool, 7))
    unit = scale_to_unit(pool)
    np.testing.assert_array_equal(find_neighbours(pool, 7).indices, naive_neighbours(unit, 7))


@pytest.mark.parametrize("name", HARD)
def test_find_neighbours__queries_equal_the_definition_on_hard_pools(name: str):
    rows = HARD[name].astype(np.float32)
    pool, queries = rows[::2], rows[1::3]
    neighbours = find_neighbours(pool, 7, queries=queries, metric="euclidean")
    np.testing.assert_array_equal(neighbours.indices, naive_neighbours(pool, 7, queries))
    unit, unit_queries = scale_to_unit(pool), scale_to_unit(queries)
    neighbours = find_neighbours(pool, 7, queries=queries)
    np.testing.assert_array_equal(neighbours.indices, naive_neighbours(unit, 7, unit_queries))


def test_find_neighbours__query_from_the_pool_finds_itself():
    pool = blobs(500, 6, centres=5)
    neighbours = find_neighbours(pool, len(pool), queries=pool[::7], metric="euclidean")
    assert neighbours.indices[:, 0].tolist() == list(range(0, 500, 7))
    assert neighbours.distances[:, 0].tolist() == [0] * 72
    with pytest.raises(InvalidVectorsError) as caught:
        find_neighbours(pool, 3, queries=pool[:, :4])
    assert caught.value.dims == (4, 6)


@MANY
@given(st.one_of(grids, clouds), st.data())
def test_find_neighbours__equals_the_definition(pool: np.ndarray, data: st.DataObject):
    k = data.draw(st.integers(1, len(pool) - 1))
    neighbours = find_neighbours(pool, k, metric="euclidean")
    np.testing.assert_array_equal(neighbours.indices, naive_neighbours(pool, k))


def test_find_neighbours__across_blocks():
    pool = blobs(500, 6, centres=9)
    pool[100:300] = pool[0]  # more equal rows than are screened
    neighbours = find_neighbours(pool, 10, metric="euclidean")
    np.testing.assert_array_equal(neighbours.indices, naive_neighbours(pool, 10))
    block_neighbours = find_neighbours(
        pool, 10, metric="euclidean", sizes=BlockSizes(queries=7, pool=37)
    )
    np.testing.assert_array_equal(block_neighbours.indices, neighbours.indices)
    np.testing.assert_array_equal(block_neighbours.distances, neighbours.distances)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_find_neighbours__result_of_a_row_is_independent_of_other_queries(metric: linalg.Metric):
    # Products of one row and of many differ in their last bits.
    pool = blobs(600, 100, centres=20)
    neighbours = find_neighbours(pool, 5, metric=metric)
    single_neighbours = find_neighbours(pool, 5, metric=metric, sizes=BlockSizes(queries=1))
    assert single_neighbours.indices.tobytes() == neighbours.indices.tobytes()
    assert single_neighbours.distances.tobytes() == neighbours.distances.tobytes()


@pytest.mark.parametrize("k", [0, 3, -1])
def test_find_neighbours__refuses_k_above_the_number_of_rows(k: int):
    with pytest.raises(ConfigError) as caught:
        find_neighbours(np.eye(3), k)
    assert (caught.value.setting, caught.value.value) == ("k", k)


def test_find_neighbours__refuses_other_metrics():
    with pytest.raises(ConfigError) as caught:
        find_neighbours(np.eye(3), 1, metric="dot")  # type: ignore[arg-type]
    assert (caught.value.setting, caught.value.value) == ("metric", "dot")


# --- vectors --------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_check_vectors__names_the_first_bad_row(bad: float):
    vectors = np.ones((9000, 3))
    vectors[8500, 2] = vectors[8900, 0] = bad
    with pytest.raises(
        InvalidVectorsError, match=re.escape(f"row 8500 has {bad} in dimension 2")
    ) as caught:
        check_vectors(vectors)
    assert caught.value.row == 8500


@pytest.mark.parametrize("bad", [[1.0, 2.0], [["a"]], np.ones((2, 2, 2)), np.ones((2, 0))])
def test_check_vectors__refuses_other_shapes_and_types(bad: object):
    with pytest.raises(InvalidVectorsError) as caught:
        check_vectors(bad)  # type: ignore[arg-type]
    assert caught.value.row == -1


def test_check_vectors__does_not_copy_a_float32_memory_map(tmp_path):
    np.save(tmp_path / "v.npy", np.ones((4, 2), np.float32))
    memory_map = np.load(tmp_path / "v.npy", mmap_mode="r")
    assert np.shares_memory(check_vectors(memory_map), memory_map)
    assert check_vectors(np.ones((4, 2), np.float16)).dtype == np.float32


# --- nearest centres and k-means ------------------------------------------------------------


@MANY
@given(st.one_of(grids, clouds), st.data())
def test_find_nearest__equals_the_definition(points: np.ndarray, data: st.DataObject):
    rows = data.draw(st.lists(st.integers(0, len(points) - 1), min_size=1, max_size=8))
    centres = points[rows]
    nearest = find_nearest(points, centres)
    squared = np.array([measure_squared(points, centre) for centre in centres])
    np.testing.assert_array_equal(nearest.labels, squared.argmin(axis=0))
    np.testing.assert_array_equal(nearest.squared, squared.min(axis=0))


@pytest.mark.parametrize("name", HARD)
def test_find_nearest__equals_the_definition_on_hard_pools(name: str):
    points = HARD[name].astype(np.float32)
    centres = points[:20].astype(np.float64) * 1.001
    squared = np.array([measure_squared(points, centre) for centre in centres])
    np.testing.assert_array_equal(find_nearest(points, centres).labels, squared.argmin(axis=0))


@pytest.mark.parametrize(
    ("count", "dims", "n_clusters"), [(2000, 32, 20), (3000, 16, 100), (20_000, 24, 60)]
)
def test_fit_kmeans__inertia_is_that_of_scikit_learn(count: int, dims: int, n_clusters: int):
    # The last pool is larger than the sub-sample. 2 % is the spread of both libraries between seeds.
    points = blobs(count, dims, centres=40)
    clusters = fit_kmeans(points, n_clusters, rng=np.random.default_rng(3))
    reference = KMeans(n_clusters, n_init=1, random_state=3).fit(points)
    assert len(clusters.centres) == n_clusters
    assert clusters.inertia <= 1.02 * reference.inertia_


def test_fit_kmeans__inertia_is_that_of_scikit_learn_without_groups():
    # No groups, and a sub-sample of only seven rows per cluster: the result depends on the passes.
    points = np.random.default_rng(0).uniform(size=(6000, 2)).astype(np.float32)
    reference = KMeans(100, n_init=1, random_state=3).fit(points)
    clusters = fit_kmeans(points, 100, rng=np.random.default_rng(3))
    assert clusters.inertia <= 1.02 * reference.inertia_
    seeding = Seeding(rows=700, rows_per_cluster=7)
    rough_clusters = fit_kmeans(points, 100, rng=np.random.default_rng(3), seeding=seeding)
    assert rough_clusters.inertia <= 1.04 * reference.inertia_


def test_fit_kmeans__result_is_consistent_and_replayable():
    points = blobs(800, 8, centres=5)
    clusters = fit_kmeans(points, 12, rng=np.random.default_rng(1))
    repeated = fit_kmeans(points, 12, rng=np.random.default_rng(1))
    assert clusters.centres.tobytes() == repeated.centres.tobytes()
    assert set(clusters.labels.tolist()) == set(range(12))
    nearest = find_nearest(points, clusters.centres)
    np.testing.assert_array_equal(nearest.labels, clusters.labels)
    np.testing.assert_array_equal(nearest.squared, clusters.squared)
    other_clusters = fit_kmeans(points, 12, rng=np.random.default_rng(2))
    assert clusters.centres.tobytes() != other_clusters.centres.tobytes()


@MANY
@given(grids, st.integers(1, 50), st.integers(0, 5))
def test_fit_kmeans__as_many_clusters_as_distinct_rows(
    points: np.ndarray, n_clusters: int, seed: int
):
    clusters = fit_kmeans(points, n_clusters, rng=np.random.default_rng(seed))
    distinct_count = len(np.unique(points, axis=0))
    assert len(clusters.centres) <= min(n_clusters, distinct_count)
    assert np.bincount(clusters.labels, minlength=len(clusters.centres)).all()
    if n_clusters >= distinct_count:
        assert len(clusters.centres) == distinct_count
        assert clusters.inertia == 0


def test_fit_kmeans__finds_clusters_that_seeding_misses():
    # Points so close that screening considers them equal, and one point far away.
    points = np.array([[0.0], [1e-4], [2e-4], [3e-4], [1e4]], np.float32)
    clusters = fit_kmeans(np.repeat(points, 30, axis=0), 5, rng=np.random.default_rng(0))
    assert len(clusters.centres) == 5
    assert clusters.inertia == 0


def test_run_lloyd__moves_a_centre_without_rows():
    points = np.array([[0.0], [1.0], [10.0], [11.0]], np.float32)
    start = np.array([[0.5], [10.5], [1000.0]])
    clusters = run_lloyd(points, start, 3, passes=10)
    assert len(clusters.centres) == 3
    assert clusters.inertia == 0.5


def test_fit_kmeans__empty_pool_and_zero_clusters():
    clusters = fit_kmeans(np.empty((0, 4)), 3, rng=np.random.default_rng(0))
    assert clusters.centres.shape == (0, 4)
    assert clusters.labels.shape == (0,)
    with pytest.raises(ConfigError) as caught:
        fit_kmeans(np.eye(2), 0, rng=np.random.default_rng(0))
    assert (caught.value.setting, caught.value.value) == ("n_clusters", 0)
