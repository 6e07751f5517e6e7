"""Covering picks: equal to the greedy definition, and sensible where only samples are compared."""

import math

import numpy as np
import pytest

from dino_assets.numerics.covering import Similarity, pick_covering
from dino_assets.numerics.open_rows import OpenRows

NOTHING = np.empty(0, np.int64)


def compare_all(points: np.ndarray, similarity: Similarity) -> np.ndarray:
    points64 = points.astype(np.float64)
    squared = np.square(points64[:, None] - points64).sum(axis=2)
    if similarity == "distance":
        return -np.sqrt(squared)
    return np.exp(-squared / np.median(squared[np.triu_indices(len(points64), 1)]))


@pytest.mark.parametrize("similarity", ["gaussian", "distance"])
@pytest.mark.parametrize("chosen", [NOTHING, np.array([3, 70])])
def test_pick_covering__every_pick_adds_most(similarity: Similarity, chosen: np.ndarray):
    """By the definition in float64; rows whose gains differ by float32's rounding are equally good."""
    rng = np.random.default_rng(7)
    points = rng.normal(size=(300, 12)).astype(np.float32)
    points[:40] *= 5
    similar = compare_all(points, similarity)
    picks = pick_covering(points, 60, chosen=chosen, similarity=similarity, rng=rng)
    coverage = np.full(len(similar), min(0, similar.min()))
    for row in chosen:
        coverage = np.maximum(coverage, similar[row])
    rows_so_far = chosen.tolist()
    for row, distance in zip(picks.indices, picks.distances, strict=True):
        gains = np.maximum(similar - coverage, 0).sum(axis=1)
        gains[rows_so_far] = -1
        assert gains[row] == pytest.approx(gains.max(), rel=1e-5)
        nearest = (
            np.linalg.norm(points[rows_so_far] - points[row], axis=1).min()
            if rows_so_far
            else math.inf
        )
        assert distance == pytest.approx(nearest, rel=1e-6)
        rows_so_far.append(int(row))
        coverage = np.maximum(coverage, similar[row])
    assert len(set(rows_so_far)) == 60 + len(chosen)


@pytest.mark.parametrize("similarity", ["gaussian", "distance"])
def test_pick_covering__one_of_each_group_before_a_second(similarity: Similarity):
    groups = np.repeat(np.arange(6), 50)
    rng = np.random.default_rng(1)
    points = (10 * np.eye(6)[groups] + 0.1 * rng.normal(size=(300, 6))).astype(np.float32)
    picks = pick_covering(points, 6, chosen=NOTHING, similarity=similarity, rng=rng)
    assert sorted(groups[picks.indices]) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("similarity", ["gaussian", "distance"])
def test_pick_covering__equal_rows_are_picked_in_order(similarity: Similarity):
    rng = np.random.default_rng(1)
    picks = pick_covering(
        np.ones((9, 3), np.float32), 5, chosen=np.array([1]), similarity=similarity, rng=rng
    )
    assert picks.indices.tolist() == [0, 2, 3, 4, 5]
    assert picks.distances.tolist() == [0] * 5


@pytest.mark.parametrize("similarity", ["gaussian", "distance"])
def test_pick_covering__samples_of_a_large_pool(similarity: Similarity):
    """More rows than are compared at a time: distinct open rows, a prefix of a larger choice, all groups."""
    groups = np.arange(3000) % 8
    rng = np.random.default_rng(1)
    points = (10 * np.eye(8)[groups] + 0.1 * rng.normal(size=(3000, 8))).astype(np.float32)
    chosen = np.arange(0, 3000, 16)  # group 0 alone
    few_rows, many_rows = (
        pick_covering(
            points,
            count,
            chosen=chosen,
            similarity=similarity,
            rng=np.random.default_rng(5),
            most_rows=200,
        ).indices
        for count in (7, 200)
    )
    assert sorted(groups[few_rows]) == [1, 2, 3, 4, 5, 6, 7]
    assert many_rows[:7].tolist() == few_rows.tolist()
    assert len(np.unique(many_rows)) == 200
    assert not np.isin(many_rows, chosen).any()


@pytest.mark.parametrize("most_rows", [40, 4096])
def test_pick_covering__rows_that_exclude_others(most_rows: int):
    """Also where only samples are compared: no two of a group, and one of each in the end."""
    points = np.random.default_rng(1).normal(size=(300, 6)).astype(np.float32)
    groups = np.arange(300) % 90
    open_rows = OpenRows.all_but(NOTHING, 300, lambda row: np.flatnonzero(groups == groups[row]))
    picks = pick_covering(
        points,
        300,
        chosen=NOTHING,
        similarity="gaussian",
        rng=np.random.default_rng(0),
        open_rows=open_rows,
        most_rows=most_rows,
    )
    assert sorted(groups[picks.indices]) == list(range(90))
