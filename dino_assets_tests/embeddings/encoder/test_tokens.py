"""Preprocessing, the names of tokens, and tiles that no model should see."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_assets.embeddings.encoder.tokens import (
    Tokens,
    check_tiles,
    hide_progress_bars,
    normalise,
)
from dino_assets.embeddings.space import check_side
from dino_assets.errors import ConfigError
from dino_assets_tests.worlds.networks import STATISTICS, Sample, draw_tiles


def test_normalise__by_hand(one_tiny: Sample):
    tile = np.zeros((1, 2, 3, 3), np.uint8)
    tile[0, 1, 2] = (255, 51, 102)
    planes = normalise(tile, one_tiny.checkpoint)
    assert planes.shape == (1, 3, 2, 3)
    assert planes.dtype == np.float32
    # (1 − .4) / .2, (.2 − .5) / .25, (.4 − .6) / .3
    np.testing.assert_allclose(planes[0, :, 1, 2], [3, -1.2, -2 / 3], rtol=1e-6)
    np.testing.assert_allclose(planes[0, :, 0, 0], [-2, -2, -2], rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 4))
def test_normalise__equals_the_formula(one_tiny_checkpoint, seed: int, count: int):
    tiles = draw_tiles(count, 8, seed=seed)
    mean, std = (np.array(each).reshape(1, 3, 1, 1) for each in STATISTICS)
    expected = (tiles.transpose(0, 3, 1, 2) / 255 - mean) / std
    np.testing.assert_allclose(normalise(tiles, one_tiny_checkpoint), expected, atol=1e-6)


def test_normalise__any_memory_layout(one_tiny: Sample):
    tiles = draw_tiles(2, 16)
    flipped_view = np.ascontiguousarray(tiles[:, ::-1])[:, ::-1]
    assert not flipped_view.flags.c_contiguous
    assert np.array_equal(
        normalise(flipped_view, one_tiny.checkpoint), normalise(tiles, one_tiny.checkpoint)
    )


def test_normalise__does_not_change_the_tiles(one_tiny: Sample):
    tiles = draw_tiles(1, 16)
    before = tiles.copy()
    normalise(tiles, one_tiny.checkpoint)
    assert np.array_equal(tiles, before)


def test_tokens__pool():
    tokens = Tokens(cls=np.float32([[1, 2]]), mean=np.float32([[3, 4]]))
    assert tokens.pool("cls").tolist() == [[1, 2]]
    assert tokens.pool("mean").tolist() == [[3, 4]]
    assert tokens.pool("cls+mean").tolist() == [[1, 2, 3, 4]]


def test_tokens__join():
    tokens, more_tokens = Tokens(cls=np.float32([[1, 2]])), Tokens(cls=np.float32([[3, 4], [5, 6]]))
    joined = Tokens.join([tokens, more_tokens])
    assert joined["cls"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert joined.mean is joined.registers is joined.patches is None


@pytest.mark.parametrize("name", ["mean", "patches", "middle"])
def test_tokens__refuses_missing_tokens(name: str):
    tokens = Tokens(cls=np.float32([[1, 2]]))
    with pytest.raises(ConfigError) as caught:
        tokens[name]
    assert (caught.value.setting, caught.value.value) == ("outputs", name)


@pytest.mark.parametrize(
    ("side", "fits"), [(16, True), (224, True), (0, False), (-16, False), (70, False)]
)
def test_check_side__multiples_of_the_patch(one_tiny: Sample, side: int, fits: bool):
    if fits:
        check_side(side, one_tiny.checkpoint)
        return
    with pytest.raises(ConfigError) as caught:
        check_side(side, one_tiny.checkpoint)
    assert (caught.value.setting, caught.value.value) == ("side_px", side)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 64, 64, 3), np.float32),
        np.zeros((1, 64, 64, 4), np.uint8),
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((64, 64), np.uint8),
        np.zeros((1, 3, 64, 64), np.uint8),
    ],
)
def test_check_tiles__refuses_other_arrays(wrong: np.ndarray):
    with pytest.raises(ConfigError) as caught:
        check_tiles(wrong, side_px=64)
    assert (caught.value.setting, caught.value.value) == (
        "tiles",
        (wrong.dtype.name, *wrong.shape),
    )


@pytest.mark.parametrize("shape", [(1, 64, 48, 3), (1, 80, 80, 3), (0, 80, 80, 3)])
def test_check_tiles__refuses_another_side(shape: tuple[int, ...]):
    sentence = f"tiles are {shape[2]}×{shape[1]} px; this encoder expects squares of 64 px"
    with pytest.raises(ConfigError, match=sentence):
        check_tiles(np.zeros(shape, np.uint8), side_px=64)


def test_check_tiles__accepts_any_number():
    check_tiles(np.zeros((0, 64, 64, 3), np.uint8), side_px=64)
    check_tiles(np.zeros((9, 64, 64, 3), np.uint8), side_px=64)


@pytest.mark.parametrize("is_enabled", [True, False])
def test_hide_progress_bars__restores_the_setting(is_enabled: bool):
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    switch = {True: logging.enable_progress_bar, False: logging.disable_progress_bar}
    try:
        switch[is_enabled]()
        with contextlib.suppress(KeyError), hide_progress_bars():
            assert not logging.is_progress_bar_enabled()
            raise KeyError
        assert logging.is_progress_bar_enabled() is is_enabled
    finally:
        switch[before]()
