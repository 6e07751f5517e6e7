import re

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from dino_assets.errors import ConfigError
from dino_assets.images.records import CELL_PX, MAX_IMAGE_SIDE_PX
from dino_assets.tiles.grid import (
    GROUND_VERSION,
    MIN_SPAN_PX,
    TileGrid,
    count_windows,
    cut_tiles,
    cut_windows,
    fit_grid,
    is_padded,
    is_whole,
    make_grid,
    name_tiles,
    step_px,
    uncovered_px,
)

GRID = make_grid(518, patch_px=14)
MANY_EXAMPLES = settings(max_examples=150, deadline=None)
grids = st.builds(
    make_grid,
    st.sampled_from([14, 64, 224, 512, 518, 1036, 2048]),
    overlap=st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 0.75, 0.9]),
)
sides = st.one_of(
    st.integers(1, 3000), st.sampled_from([511, 512, 517, 518, 519, 1023, 1024, 1025, 1036, 1037])
)
large = st.one_of(sides, st.integers(1, 30_000), st.just(MAX_IMAGE_SIDE_PX))


def count_uncovered(width: int, height: int, windows: np.ndarray) -> int:
    """Count the pixels that no window covers, by marking every pixel."""
    canvas = np.zeros((height, width), bool)
    for x, y, w, h in windows.tolist():
        canvas[y : y + h, x : x + w] = True
    return int((~canvas).sum())


def is_small_enough(width: int, height: int, grid: TileGrid) -> bool:
    return count_windows(width, height, grid) <= 20_000


# --- by hand --------------------------------------------------------------------------------


def test_cut_windows__small_example():
    # 10 wide, 4 tall, tiles of 4 with a step of 2: starts 0 2 4 6, one row.
    grid = TileGrid(4, 0.5, 0, 1)
    assert cut_windows(10, 4, grid).tolist() == [
        [0, 0, 4, 4],
        [2, 0, 4, 4],
        [4, 0, 4, 4],
        [6, 0, 4, 4],
    ]


def test_cut_windows__last_one_is_shifted_inwards():
    grid = TileGrid(4, 0.5, 0, 1)
    assert cut_windows(9, 5, grid).tolist() == [[x, y, 4, 4] for x in (0, 2, 4, 5) for y in (0, 1)]


@pytest.mark.parametrize(
    ("width", "height", "tiles"),
    [(4000, 2250, 120), (5472, 3648, 294), (2048, 1536, 35), (1025, 518, 3), (1025, 1, 3)],
)
def test_cut_windows__known_counts(width: int, height: int, tiles: int):
    assert len(cut_windows(width, height, GRID)) == tiles == count_windows(width, height, GRID)


def test_cut_windows__5472x3648_is_21_by_14():
    windows = cut_windows(5472, 3648, GRID)
    assert (len(np.unique(windows[:, 0])), len(np.unique(windows[:, 1]))) == (21, 14)
    assert windows[-1].tolist() == [5472 - 518, 3648 - 518, 518, 518]


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (640, 480), (1024, 1024), (1024, 1), (518, 518), (3, 1024)]
)
def test_cut_windows__images_up_to_1024_px_are_one_tile(width: int, height: int):
    assert is_whole(width, height, GRID)
    assert cut_windows(width, height, GRID).tolist() == [[0, 0, width, height]]
    assert count_windows(width, height, GRID) == 1
    assert not is_padded(cut_windows(width, height, GRID), GRID, whole=True).any()


@pytest.mark.parametrize(("width", "height"), [(1025, 1024), (1024, 1025), (1025, 1)])
def test_is_whole__false_for_one_pixel_more(width: int, height: int):
    assert not is_whole(width, height, GRID)
    assert len(cut_windows(width, height, GRID)) > 1


def test_cut_windows__result_is_read_only():
    assert not cut_windows(4000, 2250, GRID).flags.writeable


@pytest.mark.parametrize(
    ("width", "height"), [(0, 10), (10, 0), (-1, 5), (MAX_IMAGE_SIDE_PX + 1, 5)]
)
def test_cut_windows__impossible_size(width: int, height: int):
    with pytest.raises(ConfigError) as caught:
        cut_windows(width, height, GRID)
    assert caught.value.value == (width, height)


def test_is_padded__only_the_short_side():
    windows = cut_windows(30_000, 200, GRID)
    assert is_padded(windows, GRID, whole=False).all()
    assert set(windows[:, 3].tolist()) == {200}
    assert not is_padded(cut_windows(30_000, 518, GRID), GRID, whole=False).any()


# --- properties -----------------------------------------------------------------------------


@MANY_EXAMPLES
@given(width=sides, height=sides, grid=grids)
@example(width=1025, height=1, grid=GRID)
def test_cut_windows__covers_every_pixel(width: int, height: int, grid: TileGrid):
    assume(is_small_enough(width, height, grid))
    assert count_uncovered(width, height, cut_windows(width, height, grid)) == 0


@MANY_EXAMPLES
@given(width=large, height=large, grid=grids)
@example(width=30_000, height=200, grid=GRID)
@example(width=MAX_IMAGE_SIDE_PX, height=MAX_IMAGE_SIDE_PX, grid=make_grid(2048))
def test_cut_windows__covers_stays_inside_and_matches_the_formula(
    width: int, height: int, grid: TileGrid
):
    assume(is_small_enough(width, height, grid))
    windows = cut_windows(width, height, grid)
    x, y, w, h = windows.T.astype(np.int64)
    assert windows.dtype == np.int32
    assert uncovered_px(width, height, windows) == 0
    assert len(windows) == count_windows(width, height, grid)
    assert len(np.unique(windows, axis=0)) == len(windows)
    assert x.min() == y.min() == 0
    assert (x + w).max() == width
    assert (y + h).max() == height
    if not is_whole(width, height, grid):
        # No padding where the image is large enough.
        assert (w == min(width, grid.side_px)).all()
        assert (h == min(height, grid.side_px)).all()
        is_short = width < grid.side_px or height < grid.side_px
        assert (is_padded(windows, grid, whole=False) == is_short).all()


@MANY_EXAMPLES
@given(width=large, height=large, grid=grids)
def test_cut_windows__neighbours_overlap_as_configured(width: int, height: int, grid: TileGrid):
    assume(is_small_enough(width, height, grid))
    for column in (0, 1):
        starts = np.unique(cut_windows(width, height, grid)[:, column])
        assert (np.diff(starts)[:-1] == step_px(grid)).all()
        assert (np.diff(starts)[-1:] <= step_px(grid)).all()


@MANY_EXAMPLES
@given(width=large, height=large, grid=grids)
def test_cut_windows__rotated_image_has_the_rotated_grid(width: int, height: int, grid: TileGrid):
    assume(is_small_enough(width, height, grid))
    windows = cut_windows(height, width, grid)[:, [1, 0, 3, 2]]
    assert sorted(windows.tolist()) == cut_windows(width, height, grid).tolist()


@MANY_EXAMPLES
@given(width=large, height=large, grid=grids)
@example(width=MAX_IMAGE_SIDE_PX, height=1, grid=make_grid(99_999))
@example(width=MAX_IMAGE_SIDE_PX, height=1, grid=make_grid(2048))
def test_name_tiles__sorted_unique_file_names(width: int, height: int, grid: TileGrid):
    assume(is_small_enough(width, height, grid))
    windows = cut_windows(width, height, grid)
    names = name_tiles("0123456789abcdef" * 4, windows, grid)
    assert names == sorted(set(names))
    pattern = re.compile(r"0123456789abcdef-x\d{5}y\d{5}w\d{5}h\d{5}-g1")
    assert all(pattern.fullmatch(name) for name in names)


def test_name_tiles__small_example():
    windows = np.array([[0, 259, 518, 200]], np.int32)
    assert name_tiles("ab" * 32, windows, GRID) == ["abababababababab-x00000y00259w00518h00200-g1"]


def test_name_tiles__depends_on_the_grid_version():
    windows = np.array([[0, 0, 1, 1]], np.int32)
    assert name_tiles("a" * 64, windows, TileGrid(1, 0, 0, 2))[0].endswith("-g2")


# --- uncovered_px ---------------------------------------------------------------------------


@MANY_EXAMPLES
@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    windows=st.lists(st.tuples(*[st.integers(0, 45)] * 2, *[st.integers(1, 45)] * 2), max_size=8),
)
def test_uncovered_px__equals_counting_pixels(
    width: int, height: int, windows: list[tuple[int, int, int, int]]
):
    array = np.array(windows, np.int32).reshape(-1, 4)
    assert uncovered_px(width, height, array) == count_uncovered(width, height, array)


@MANY_EXAMPLES
@given(width=sides, height=sides, which=st.integers(0, 10_000), shift=st.sampled_from([-1, 1]))
def test_uncovered_px__detects_one_wrong_window(width: int, height: int, which: int, shift: int):
    grid = make_grid(512, overlap=0.0)
    windows = cut_windows(width, height, grid).copy()
    windows[which % len(windows), 2] += shift
    assert uncovered_px(width, height, windows) == count_uncovered(width, height, windows)


def test_uncovered_px__independent_of_the_order():
    windows = cut_windows(4000, 2250, GRID)[:-1]
    uncovered = uncovered_px(4000, 2250, windows)
    assert uncovered > 0
    shuffled = np.random.default_rng(0).permutation(windows)
    assert uncovered_px(4000, 2250, shuffled) == uncovered


def test_uncovered_px__more_pixels_than_fit_int32():
    windows = np.array([[0, 0, 10, 10]], np.int32)
    assert uncovered_px(99_999, 99_999, windows) == 99_999**2 - 100
    assert uncovered_px(99_999, 99_999, windows[:0]) == 99_999**2


@MANY_EXAMPLES
@given(
    width=st.integers(1, 150),
    height=st.integers(1, 150),
    windows=st.lists(st.tuples(*[st.integers(0, 140)] * 2, *[st.integers(1, 90)] * 2), max_size=6),
    seed=st.integers(0, 99),
)
def test_uncovered_px__valid_cells_equal_counting_pixels(
    width: int, height: int, windows: list[tuple[int, int, int, int]], seed: int
):
    rows, columns = -(-height // CELL_PX), -(-width // CELL_PX)
    valid = np.random.default_rng(seed).random((rows, columns)) < 0.5
    is_uncovered = np.kron(valid, np.ones((CELL_PX, CELL_PX), bool))[:height, :width].copy()
    for x, y, w, h in windows:
        is_uncovered[y : y + h, x : x + w] = False
    array = np.array(windows, np.int32).reshape(-1, 4)
    assert uncovered_px(width, height, array, valid=valid) == is_uncovered.sum()


# --- tiles by metres of ground --------------------------------------------------------------


def test_fit_grid__small_example():
    grid = make_grid(518, side_m=20)
    # At 30 m a pixel may be 1 cm, at 120 m 4 cm: 20 m of ground are 2000 and 500 px.
    assert fit_grid(grid, 4000, 3000, gsd_m=0.01) == TileGrid(2000, 0.5, 0, GROUND_VERSION)
    assert fit_grid(grid, 4000, 3000, gsd_m=0.04) == TileGrid(500, 0.5, 0, GROUND_VERSION)


def test_fit_grid__flights_at_30_and_120_m_show_the_same_ground():
    grid = make_grid(512, side_m=15)
    for gsd_m in (0.0082, 0.0328):
        fitted_grid = fit_grid(grid, 5472, 3648, gsd_m=gsd_m)
        windows = cut_windows(5472, 3648, fitted_grid)
        assert np.allclose(windows[:, 2:] * gsd_m, 15, atol=gsd_m)
        assert np.allclose(step_px(fitted_grid) * gsd_m, 7.5, atol=gsd_m)


@pytest.mark.parametrize("gsd_m", [None, float("nan"), 0.0, -1.0])
def test_fit_grid__unknown_scale_is_cut_in_pixels(gsd_m: float | None):
    assert fit_grid(make_grid(518, side_m=20), 4000, 3000, gsd_m=gsd_m) == make_grid(518)


def test_fit_grid__scale_is_ignored_without_metres():
    assert fit_grid(GRID, 4000, 3000, gsd_m=0.01) == GRID


def test_fit_grid__image_smaller_than_a_tile_is_one_square():
    fitted_grid = fit_grid(make_grid(518, side_m=100), 4000, 3000, gsd_m=0.001)
    assert fitted_grid.side_px == 4000
    assert cut_windows(4000, 3000, fitted_grid).tolist() == [[0, 0, 4000, 3000]]
    assert is_padded(cut_windows(4000, 3000, fitted_grid), fitted_grid, whole=False).all()


def test_fit_grid__refuses_tiles_of_a_few_pixels():
    grid = make_grid(518, side_m=1)
    with pytest.raises(ConfigError, match=r"tile_m=1 is only 20 px.*Use at least 1\.6 m"):
        fit_grid(grid, 4000, 3000, gsd_m=0.05)
    assert fit_grid(make_grid(518, side_m=1.6), 4000, 3000, gsd_m=0.05).side_px == MIN_SPAN_PX


@pytest.mark.parametrize("side_m", [0, -3, 10_001, float("nan"), float("inf")])
def test_make_grid__impossible_metres(side_m: float):
    with pytest.raises(ConfigError) as caught:
        make_grid(518, side_m=side_m)
    assert (caught.value.setting, caught.value.value) == ("tile_m", side_m)


@MANY_EXAMPLES
@given(
    width=large,
    height=large,
    side_m=st.floats(1, 300),
    gsd_m=st.floats(0.003, 0.5),
    overlap=st.sampled_from([0, 0.5]),
)
def test_fit_grid__covers_stays_inside_and_matches_the_formula(
    width: int, height: int, side_m: float, gsd_m: float, overlap: float
):
    assume(side_m / gsd_m > MIN_SPAN_PX)
    grid = fit_grid(make_grid(518, overlap=overlap, side_m=side_m), width, height, gsd_m=gsd_m)
    assume(is_small_enough(width, height, grid))
    windows = cut_windows(width, height, grid)
    assert uncovered_px(width, height, windows) == 0
    assert len(windows) == count_windows(width, height, grid)
    assert len(np.unique(windows, axis=0)) == len(windows)
    assert (windows.min(), *(windows[:, :2] + windows[:, 2:]).max(axis=0)) == (0, width, height)


def test_name_tiles__padded_tile_and_whole_image_differ():
    by_px = cut_windows(800, 600, GRID)
    fitted_grid = fit_grid(make_grid(518, side_m=100), 800, 600, gsd_m=0.01)
    by_m = cut_windows(800, 600, fitted_grid)
    assert by_px.tolist() == by_m.tolist()
    assert name_tiles("a" * 64, by_px, GRID) != name_tiles("a" * 64, by_m, fitted_grid)


# --- cut_tiles ------------------------------------------------------------------------------

COUNTING = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


def test_cut_tiles__exact_pixels():
    tiles = cut_tiles(COUNTING, np.array([[0, 0, 4, 4], [4, 2, 4, 4]]), 4, span_px=4)
    assert (tiles[0] == COUNTING[:4, :4]).all()
    assert (tiles[1] == COUNTING[2:, 4:]).all()


def test_cut_tiles__pads_a_short_window_by_reflection():
    (tile,) = cut_tiles(COUNTING[:3], np.array([[2, 0, 4, 3]]), 4, span_px=4)
    assert (tile[:3] == COUNTING[:3, 2:6]).all()
    assert (tile[3] == COUNTING[1, 2:6]).all()


def test_cut_tiles__scales_a_whole_image_to_the_square():
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, 2:] = 200
    (tile,) = cut_tiles(pixels, np.array([[0, 0, 4, 2]]), 4, span_px=0)
    assert tile.shape == (4, 4, 3)
    assert (tile[:, 0] == 0).all()
    assert (tile[:, 3] == 200).all()


def test_cut_tiles__pads_before_scaling():
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :4] = 100
    tiles = cut_tiles(pixels, np.array([[0, 0, 8, 4]]), 4, span_px=8)
    assert tiles.shape == (1, 4, 4, 3)
    assert (tiles[0, :, 0] == 100).all()  # not distorted: both halves still have four rows
    assert (tiles[0, :, 3] == 0).all()


# --- make_grid ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side_px", "patch_px", "advice"),
    [
        (515, 14, "use 504 or 518"),
        (520, 16, "use 512 or 528"),
        (5, 14, "use 14 or 28"),
        (0, 14, "use 14 or 28"),
        (-5, 14, "use 14 or 28"),
        (0, 1, "use 1 or 2"),
    ],
)
def test_make_grid__names_the_nearest_valid_sides(side_px: int, patch_px: int, advice: str):
    with pytest.raises(
        ConfigError, match=f"tile_px={side_px} is not a positive multiple.*{patch_px} px.*{advice}$"
    ):
        make_grid(side_px, patch_px=patch_px)
    for side in map(int, re.findall(r"\d+", advice)):
        assert make_grid(side, patch_px=patch_px).side_px == side


def test_make_grid__side_larger_than_any_image():
    with pytest.raises(ConfigError) as caught:
        make_grid(112_000, patch_px=14)
    assert (caught.value.setting, caught.value.value) == ("tile_px", 112_000)


@pytest.mark.parametrize("overlap", [-0.1, 0.91, 1.0, 50, float("nan")])
def test_make_grid__impossible_overlap(overlap: float):
    with pytest.raises(ConfigError) as caught:
        make_grid(518, overlap=overlap)
    assert (caught.value.setting, caught.value.value) == ("overlap", overlap)


def test_make_grid__documented_defaults():
    assert make_grid(518) == TileGrid(518, 0.5, 1024, 1)
    assert step_px(make_grid(518)) == 259
    assert step_px(make_grid(1, overlap=0.9)) == 1
