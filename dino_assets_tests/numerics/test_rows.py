"""Rows that are read from one array or from several."""

import numpy as np
import pytest

from dino_assets.numerics.farthest import walk_farthest
from dino_assets.numerics.rows import JoinedArrays, Rows

NOTHING = np.empty(0, np.int64)


@pytest.fixture
def whole() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(900, 8)).astype(np.float16)


def cut(whole: np.ndarray, *places: int) -> JoinedArrays:
    return JoinedArrays(np.split(whole, places))


@pytest.mark.parametrize("places", [(), (0,), (1,), (100, 100, 512), (300, 600, 899, 900)])
def test_joined_arrays__read_as_one(whole, places: tuple[int, ...]):
    joined = cut(whole, *places)
    assert joined.shape == whole.shape
    wanted = [slice(0, 900), slice(90, 110), slice(5, 5), slice(0, 900, 7), slice(899, None)]
    orders = [np.array([899, 0, 512, 511, 0]), NOTHING, np.arange(900)[::-1]]
    for which in (*wanted, *orders):
        assert np.array_equal(joined[which], whole[which])


def test_joined_arrays__rows_of_one_array_are_not_copied(whole):
    assert np.shares_memory(cut(whole, 400)[400:500], whole)


def test_joined_arrays__without_rows():
    empty = JoinedArrays([np.empty((0, 4), np.float32)])
    assert empty.shape == (0, 4)
    assert empty[0:0].shape == (0, 4)


def test_walk_farthest__of_joined_arrays_is_that_of_one(whole):
    ours = walk_farthest(Rows(cut(whole, 1, 333, 700), unit=True), 50, chosen=NOTHING)
    one = walk_farthest(Rows(whole, unit=True), 50, chosen=NOTHING)
    assert ours.indices.tolist() == one.indices.tolist()
    assert ours.distances.tolist() == one.distances.tolist()
