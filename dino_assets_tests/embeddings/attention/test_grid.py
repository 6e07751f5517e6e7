"""The grid over pictures of any size."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_assets.embeddings.attention.grid import fit_grid, scale_to_grid
from dino_assets.errors import ConfigError


@pytest.mark.parametrize(
    ("size", "max_px", "shape"),
    [
        ((56, 28), 1024, (2, 4)),
        ((69, 41), 1024, (2, 4)),  # rounded down
        ((4000, 3000), 1024, (54, 73)),
        ((3000, 4000), 1024, (73, 54)),
        ((1022, 1022), 1022, (73, 73)),
        ((1500, 1500), 1500, (107, 107)),
        ((5, 9), 1024, (1, 1)),  # one patch at least
        ((10_000, 60), 1024, (1, 73)),
        ((4000, 3000), 14, (1, 1)),
    ],
)
def test_fit_grid__rows_and_columns(size, max_px, shape):
    grid = fit_grid(*size, patch_px=14, max_px=max_px)
    assert (grid.rows, grid.columns) == shape
    assert grid.size == (shape[1] * 14, shape[0] * 14)
    assert (grid.width, grid.height) == size


def test_fit_grid__refuses_a_bound_below_a_patch():
    with pytest.raises(ConfigError) as caught:
        fit_grid(100, 100, patch_px=16, max_px=15)
    assert (caught.value.setting, caught.value.value) == ("max_px", 15)


@given(width=st.integers(1, 600), height=st.integers(1, 600), max_px=st.integers(14, 200))
def test_fit_grid__within_the_bound_and_near_the_proportions(width, height, max_px):
    grid = fit_grid(width, height, patch_px=14, max_px=max_px)
    assert max(grid.size) <= max_px
    scale = min(Fraction(1), Fraction(max_px, max(width, height)))
    for side, picture_side in zip(grid.size, (width, height), strict=True):
        assert side == 14 or 0 <= picture_side * scale - side < 14


def test_find_patch__corners_and_lines_between():
    grid = fit_grid(56, 28, patch_px=14)
    assert [grid.find_patch(x, 0)[1] for x in (0, 13, 13.9, 14, 27, 28, 55, 55.9)] == [
        *(0, 0, 0, 1, 1, 2, 3, 3)
    ]
    assert grid.find_patch(0, 27.5) == (1, 0)


@given(width=st.integers(1, 300), height=st.integers(1, 300), x=st.floats(0, 1), y=st.floats(0, 1))
def test_find_box__has_exactly_the_pixels_of_its_patch(width, height, x, y):
    grid = fit_grid(width, height, patch_px=14, max_px=150)
    column, row = int(x * (grid.columns - 1)), int(y * (grid.rows - 1))
    left, top, right, bottom = grid.find_box(row, column)
    for px, py, is_inside in [
        (left, top, True),
        (right - 1, bottom - 1, True),
        (left - 1, top, False),
        (right, top, False),
        (left, bottom, False),
    ]:
        if 0 <= px < width and 0 <= py < height:
            assert (grid.find_patch(px, py) == (row, column)) is is_inside
    if column == grid.columns - 1:
        assert right == width
    if row == grid.rows - 1:
        assert bottom == height


@pytest.mark.parametrize("point", [(-1, 0), (0, -0.1), (56, 0), (0, 28), (float("nan"), 0)])
def test_find_patch__refuses_points_outside(point):
    with pytest.raises(ConfigError) as caught:
        fit_grid(56, 28, patch_px=14).find_patch(*point)
    assert caught.value.setting == "point"


def test_scale_to_grid__an_exact_picture_keeps_its_bytes():
    pixels = np.random.default_rng(0).integers(0, 256, (28, 56, 3), dtype=np.uint8)
    grid = fit_grid(56, 28, patch_px=14)
    assert np.array_equal(scale_to_grid(pixels, grid), pixels)


def test_scale_to_grid__keeps_positions():
    pixels = np.zeros((290, 410, 3), np.uint8)
    grid = fit_grid(410, 290, patch_px=14, max_px=100)
    left, top, right, bottom = grid.find_box(grid.rows - 1, 2)
    pixels[top:bottom, left:right] = 255
    scaled = scale_to_grid(pixels, grid)
    assert scaled.shape == (grid.rows * 14, grid.columns * 14, 3)
    cells = scaled[..., 0].reshape(grid.rows, 14, grid.columns, 14).mean(axis=(1, 3))
    assert cells[-1, 2] > 200
    cells[-1, 2] = 0
    assert cells.max() < 60
