"""Exchange of picks: never worse than the greedy choice, no single exchange left, and what excludes stays excluded."""

import numpy as np
import pytest

from dino_assets.numerics.covering import pick_covering
from dino_assets.numerics.open_rows import OpenRows, Quota, exclude_nothing
from dino_assets.numerics.swapping import improve_by_swaps

NONE = np.empty(0, np.int64)


def draw_similar(seed: int, count: int = 60) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(count, 3))
    squared = np.square(points[:, None] - points[None]).sum(axis=2)
    return np.exp(-squared / np.median(squared)).astype(np.float32)


def cover(similar: np.ndarray, covered: np.ndarray, picks: list[int]) -> float:
    return float(np.maximum(covered, similar[picks].max(axis=0)).sum(dtype=np.float64))


def test_improve_by_swaps__no_exchange_is_left_that_helps():
    for seed in range(12):
        similar = draw_similar(seed)
        covered = np.zeros(60, np.float32) if seed % 2 else similar[[7, 9]].max(axis=0)
        first = np.random.default_rng(seed).choice(60, 5, replace=False).tolist()
        picks = improve_by_swaps(similar, covered, first, OpenRows(np.ones(60, bool)))
        reached = cover(similar, covered, picks)
        assert len(set(picks)) == 5
        assert reached >= cover(similar, covered, first)
        for number in range(5):
            for other in set(range(60)) - set(picks):
                exchanged = [*picks[:number], other, *picks[number + 1 :]]
                assert cover(similar, covered, exchanged) <= reached + 1e-3


def test_improve_by_swaps__closed_excluded_and_full_stay_so():
    pairs = {
        row: np.array([row ^ 1]) for row in range(60)
    }  # 0 and 1 show the same ground, 2 and 3, …
    for seed in range(12):
        similar = draw_similar(seed)
        are_open = np.ones(60, bool)
        are_open[40:] = False
        groups = np.arange(60) % 3
        quota = Quota(groups, np.array([2, 2, 2]))
        open_rows = OpenRows(are_open, pairs.__getitem__, [quota])
        picks = improve_by_swaps(similar, np.zeros(60, np.float32), [0, 2, 4, 7, 8, 11], open_rows)
        assert max(picks) < 40
        assert len({row // 2 for row in picks}) == 6
        assert np.bincount(groups[picks], minlength=3).tolist() == [2, 2, 2]


def test_improve_by_swaps__exclusion_may_have_one_direction():
    """Row 5 excludes the picked row 1, and 1 does not exclude 5."""
    similar = np.full((6, 4), 0.1, np.float32)
    similar[5] = 1.0
    excludes = {5: np.array([1])}
    open_rows = OpenRows(np.ones(6, bool), lambda row: excludes.get(row, NONE))
    picks = improve_by_swaps(similar, np.zeros(4, np.float32), [1, 2], open_rows)
    assert sorted(picks) == [2, 5]


@pytest.mark.parametrize("most_rows", [4096, 600])
def test_pick_covering__swaps_cover_more(most_rows: int):
    for seed in range(4):
        points = np.random.default_rng(seed).normal(size=(1000, 6)).astype(np.float32)
        squared = np.square(points[:, None] - points[None]).sum(axis=2)
        similar = np.exp(-squared / np.median(squared[np.triu_indices(1000, 1)]))
        totals = []
        for with_swaps in (False, True):
            picked = pick_covering(
                points,
                20,
                chosen=np.array([3, 4]),
                similarity="gaussian",
                rng=np.random.default_rng(0),
                open_rows=OpenRows.all_but(np.array([3, 4, 5]), 1000, exclude_nothing),
                most_rows=most_rows,
                with_swaps=with_swaps,
            ).indices
            assert not {3, 4, 5} & set(picked.tolist())
            assert len(set(picked.tolist())) == 20
            totals.append(similar[[3, 4, *picked]].max(axis=0).sum())
        assert totals[1] > totals[0]


def test_pick_covering__swaps_do_not_fit_a_small_sample():
    points = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    picked = [
        pick_covering(
            points,
            20,
            chosen=NONE,
            similarity="gaussian",
            rng=np.random.default_rng(0),
            most_rows=100,
            with_swaps=with_swaps,
        ).indices.tolist()
        for with_swaps in (False, True)
    ]
    assert picked[0] == picked[1]
