"""Exact search: equal to float64 by brute force, whatever the blocks are."""

import numpy as np
import pytest

from dino_assets.numerics.search import Hits, Search, measure_cosines


def search(pool: np.ndarray, queries: np.ndarray, count: int, *, block: int) -> list[Hits]:
    running = Search(queries, count)
    for start in range(0, len(pool), block):
        running.add(pool[start : start + block])
    return running.hits()


def search_naively(
    pool: np.ndarray, query: np.ndarray, count: int
) -> tuple[list[int], list[float]]:
    cosines = measure_cosines(pool.astype(np.float32), query)
    order = np.lexsort((np.arange(len(pool)), -cosines))[:count]
    return order.tolist(), cosines[order].tolist()


def draw(kind: str, rng: np.random.Generator, count: int) -> np.ndarray:
    cloud = rng.normal(size=(count, 24))
    match kind:
        case "copies":  # thousands of equal rows, as of black tiles
            return cloud[rng.integers(0, 3, count)].astype(np.float16)
        case "zeros":
            cloud[rng.random(count) < 0.5] = 0
            return cloud.astype(np.float32)
        case "far apart":  # squares of such numbers are zero or infinite in float32
            scales = rng.choice([1e-30, 1e-12, 1, 1e14, 1e30], (count, 1))
            return (cloud * scales).astype(np.float32)
        case "almost equal":
            return (cloud * 1e-6 + 5).astype(np.float32)
        case "grid":
            return np.round(cloud).astype(np.float16)
        case _:
            return cloud.astype(np.float16)


@pytest.mark.parametrize("kind", ["cloud", "copies", "zeros", "far apart", "almost equal", "grid"])
@pytest.mark.parametrize("block", [1, 700, 9000])
def test_search__equals_brute_force(kind: str, block: int):
    rng = np.random.default_rng(3)
    pool = draw(kind, rng, 300 if block == 1 else 9000)
    queries = np.vstack([pool[:3].astype(np.float32), np.zeros((1, 24), np.float32)])
    for count in (1, 7, 400):
        for hits, query in zip(search(pool, queries, count, block=block), queries, strict=True):
            rows, cosines = search_naively(pool, query, count)
            assert hits.rows.tolist() == rows
            assert hits.cosines.tolist() == cosines


def test_measure_cosines__by_hand():
    rows = np.array([[2, 0], [0, 3], [-1, 0], [1, 1], [0, 0]], np.float32)
    cosines = measure_cosines(rows, np.array([5, 0], np.float32))
    assert cosines.tolist() == pytest.approx([1, 0, -1, np.sqrt(0.5), 0])


def test_search__without_rows():
    (hits,) = Search(np.ones((1, 3), np.float32), 5).hits()
    assert hits.rows.tolist() == []


@pytest.mark.filterwarnings("ignore:invalid value")
def test_search__a_row_that_is_not_finite_hides_no_other():
    rows = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)
    search = Search(rows[3:4], 100)
    search.add(rows)
    (whole,) = search.hits()
    rows[50] = np.inf
    for count in (2, 3, 99):
        search = Search(rows[3:4], count)
        search.add(rows)
        (hits,) = search.hits()
        assert hits.rows.tolist() == [row for row in whole.rows.tolist() if row != 50][:count]
