"""Farthest points: equal to the definition, index for index and distance for distance."""

from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from dino_assets.numerics import farthest
from dino_assets.numerics.farthest import walk_farthest
from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.numerics.open_rows import OpenRows
from dino_assets.numerics.rows import Rows

NOTHING = np.empty(0, np.int64)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread per product: many small products in several threads wait for each other."""
    with threadpool_limits(1):
        yield


def walk_naively(
    points: np.ndarray,
    count: int,
    chosen: np.ndarray,
    groups: np.ndarray | None = None,
    closed: np.ndarray = NOTHING,
) -> tuple[list[int], list[float]]:
    """The definition in float64: every row is measured after every pick.

    Of rows with the same number in ``groups``, one is picked.
    """
    points64 = points.astype(np.float64)
    squared = np.full(len(points64), np.inf)
    for row in chosen:
        squared = np.minimum(squared, np.square(points64 - points64[row]).sum(axis=1))
    taken_rows, picks, distances = [*chosen, *closed], [], []
    groups = np.arange(len(points)) if groups is None else groups
    for _ in range(count):
        if picks or len(chosen):
            open_squared = squared.copy()
        else:
            open_squared = np.square(points64 - points64.mean(axis=0)).sum(axis=1)
        open_squared[taken_rows] = -1
        row = int(open_squared.argmax())
        if open_squared[row] < 0:
            break
        taken_rows += np.flatnonzero(groups == groups[row]).tolist()
        picks.append(row)
        distances.append(float(np.sqrt(open_squared[row])))
        squared = np.minimum(squared, np.square(points64 - points64[row]).sum(axis=1))
    return picks, distances


def draw(kind: str, rng: np.random.Generator, count: int, dims: int) -> np.ndarray:
    """Draw rows that are hard in different ways."""
    cloud = rng.normal(size=(count, dims)).astype(np.float32)
    few_rows = cloud[rng.integers(0, max(1, count // 10), count)]
    match kind:
        case "cloud":
            return cloud
        case "grid":  # many exact ties
            return np.round(cloud)
        case "copies":
            return few_rows
        case "one point":
            return np.full_like(cloud, 3.3)
        case "tight clusters":  # equal to float32 products, and not to float64 differences
            return (few_rows * 1000 + cloud * 1e-4).astype(np.float32)
        case "far from the origin":
            return (cloud * 1e-5 + 7).astype(np.float32)
        case "half precision":
            return cloud.astype(np.float16)
        case "huge":
            cloud[0] *= 100
            return cloud * np.float32(1e30)
        case "tiny":
            return cloud * np.float32(1e-30)
        case _:  # one row decides the error of all products
            cloud[count // 2] *= 1e6
            return cloud


KINDS = (
    "cloud",
    "grid",
    "copies",
    "one point",
    "tight clusters",
    "far from the origin",
    "half precision",
    "huge",
    "tiny",
    "an outlier",
)


@pytest.mark.parametrize("kind", KINDS)
def test_walk_farthest__equals_the_definition(kind: str, monkeypatch):
    """Pools and chunks of every size, since a project's rows never fill the default ones."""
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(30):
        count, dims = int(rng.integers(1, 300)), int(rng.integers(1, 20))
        points = draw(kind, rng, count, dims)
        chosen = np.sort(
            rng.permutation(count)[: rng.integers(0, min(count, 30)) * rng.integers(2)]
        )
        budget = int(rng.integers(0, count - len(chosen) + 1))
        for name, limit in (("CHUNK_ROWS", 40), ("FIRST_SEEN", 9), ("SEARCHED", 9)):
            monkeypatch.setattr(farthest, name, int(rng.integers(1, limit)))
        walk = walk_farthest(points, budget, chosen=chosen, pool_rows=int(rng.integers(1, 50)))
        picks, distances = walk_naively(points, budget, chosen)
        assert walk.indices.tolist() == picks
        assert walk.distances.tolist() == distances


@pytest.mark.parametrize("kind", KINDS)
def test_walk_farthest__rows_that_exclude_others(kind: str):
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(20):
        count = int(rng.integers(2, 300))
        points = draw(kind, rng, count, int(rng.integers(1, 20)))
        groups = rng.integers(0, rng.integers(1, count), count)
        chosen = np.sort(rng.permutation(count)[: rng.integers(0, 9) * rng.integers(2)])
        closed = np.flatnonzero(rng.random(count) < 0.1)
        open_rows = OpenRows.all_but(
            np.union1d(chosen, closed), count, lambda row, g=groups: np.flatnonzero(g == g[row])
        )
        budget = int(rng.integers(0, count + 1))
        walk = walk_farthest(
            points, budget, chosen=chosen, open_rows=open_rows, pool_rows=int(rng.integers(1, 50))
        )
        picks, distances = walk_naively(points, budget, chosen, groups, closed)
        assert walk.indices.tolist() == picks
        assert walk.distances.tolist() == distances


@pytest.mark.parametrize("chosen", [NOTHING, np.arange(0, 300, 2)])
def test_walk_farthest__many_rows_of_many_dimensions(chosen: np.ndarray):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 384)).astype(np.float32)
    points = scale_to_unit(
        centres[rng.integers(0, 40, 2500)] + rng.normal(size=(2500, 384)).astype(np.float32)
    )
    walk = walk_farthest(points, 150, chosen=chosen)
    picks, distances = walk_naively(points, 150, chosen)
    assert walk.indices.tolist() == picks
    assert walk.distances.tolist() == distances


def test_walk_farthest__reads_a_memory_map_of_half_precision(tmp_path):
    vectors = np.random.default_rng(1).normal(size=(3000, 48)).astype(np.float16)
    np.save(tmp_path / "vectors.npy", vectors)
    memory_map = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    walk = walk_farthest(Rows(memory_map, unit=True), 50, chosen=NOTHING)
    picks, distances = walk_naively(scale_to_unit(vectors), 50, NOTHING)
    assert walk.indices.tolist() == picks
    assert walk.distances.tolist() == distances
