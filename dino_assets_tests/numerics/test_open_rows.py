"""Rows that may still be picked: exclusions and quotas of groups."""

import numpy as np

from dino_assets.numerics.open_rows import OpenRows, Quota


def make_quota(groups: list[int], most: list[int]) -> Quota:
    return Quota(np.array(groups), np.array(most))


def test_open_rows__the_last_pick_of_a_quota_closes_its_group():
    quota = make_quota([0, 0, 0, 1, 1], [2, 1])
    open_rows = OpenRows(np.ones(5, bool), quotas=[quota])
    assert open_rows.excludes_some
    assert open_rows.pick(0).tolist() == []
    assert open_rows.list().tolist() == [1, 2, 3, 4]
    assert open_rows.pick(2).tolist() == [0, 1, 2]
    assert open_rows.list().tolist() == [3, 4]
    assert open_rows.pick(3).tolist() == [3, 4]
    assert quota.left.tolist() == [2, 1]  # the caller's quota serves the next selection, too


def test_open_rows__a_full_group_is_closed_from_the_beginning():
    open_rows = OpenRows(np.ones(4, bool), quotas=[make_quota([0, 1, 0, 1], [0, 5])])
    assert open_rows.list().tolist() == [1, 3]


def test_open_rows__quota_and_excluded_rows_together():
    quota = make_quota([0, 0, 1, 1], [1, 2])
    open_rows = OpenRows(np.ones(4, bool), lambda row: np.array([3 - row]), [quota])
    assert open_rows.pick(0).tolist() == [0, 1, 3]
    assert open_rows.list().tolist() == [2]


def test_open_rows__among_copies_what_is_left_of_the_quota():
    open_rows = OpenRows(np.ones(5, bool), quotas=[make_quota([0, 0, 0, 1, 1], [2, 2])])
    open_rows.pick(0)
    few = open_rows.among(np.array([1, 2, 4]))
    few.pick(0)
    assert few.list().tolist() == [2]
    assert open_rows.list().tolist() == [1, 2, 3, 4]


def test_open_rows__of_several_quotas_each_holds():
    by_drop, by_class = make_quota([0, 0, 0, 1, 1], [2, 2]), make_quota([0, 1, 0, 0, 1], [1, 2])
    open_rows = OpenRows(np.ones(5, bool), quotas=[by_drop, by_class])
    assert open_rows.pick(0).tolist() == [0, 2, 3]
    assert open_rows.pick(1).tolist() == [0, 1, 2]
    assert open_rows.list().tolist() == [4]
