"""Mosaics by windows: whatever the layout, the pixels, cells and range are the same."""

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_assets.errors import ConfigError, UnusableImageError
from dino_assets.images.mosaics import MosaicPixels, find_valid_windows, unpack_valid
from dino_assets.tiles.grid import cut_tiles, cut_windows, make_grid
from dino_assets_tests.worlds.mosaic_files import cells, damage, inspect, noise, read_all, write

# --- windows -------------------------------------------------------------------------------


LAYOUTS = [
    {"blockysize": 1},
    {"blockysize": 7},
    {"tiled": True, "blockxsize": 16, "blockysize": 48},
    {"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "band"},
    {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate", "predictor": 2},
    {"blockysize": 300, "compress": "lzw"},
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("chunk_px", [1, 3000, 4 * 2**20])
def test_inspect_mosaic__the_range_does_not_depend_on_the_layout(tmp_path, layout, chunk_px):
    values = noise(300, 203, dtype=np.int16) // 2
    values[299, 0], values[0, 202], values[100, 100] = -20_000, 20_000, -32_768
    layout = {key: value for key, value in layout.items() if key != "interleave"}
    path = write(tmp_path / "a.tif", values, nodata=-32_768, **layout)
    facts = inspect(path, chunk_px=chunk_px)
    assert (facts.low, facts.high) == (-20_000, 20_000)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("chunk_px", [1, 3000, 4 * 2**20])
def test_inspect_mosaic__cells_do_not_depend_on_the_layout(tmp_path, layout, chunk_px):
    values = np.zeros((3, 300, 203), np.uint8)
    for y, x in [(0, 0), (31, 31), (32, 63), (45, 150), (250, 202), (299, 100), (128, 128)]:
        values[1, y, x] = 1
    expected = np.zeros((10, 7), np.bool_)
    for y, x in [(0, 0), (1, 1), (1, 4), (7, 6), (9, 3), (4, 4)]:
        expected[y, x] = True
    path = write(tmp_path / "a.tif", values, nodata=0, **layout)
    np.testing.assert_array_equal(cells(inspect(path, chunk_px=chunk_px)), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pixels__windows_are_cut_as_from_an_array(tmp_path, layout):
    values = noise(3, 300, 203)
    path = write(tmp_path / "a.tif", values, **layout)
    expected = values.transpose(1, 2, 0)
    with MosaicPixels(path) as pixels:
        assert pixels.shape == (300, 203, 3)
        for y, x in [(slice(0, 1), slice(0, 1)), (slice(290, 400), slice(100, None))]:
            np.testing.assert_array_equal(pixels[y, x], expected[y, x])
        assert pixels[5:5, 3:9].shape == (0, 6, 3)
        with pytest.raises(IndexError):
            pixels[::2, :]
        windows = cut_windows(2000, 300, make_grid(64))[:0]
        assert len(windows) == 0


def test_pixels__tiles_are_those_of_the_array(tmp_path):
    values = noise(3, 1100, 90)
    path = write(tmp_path / "a.tif", values, tiled=True, blockxsize=64, blockysize=64)
    windows = cut_windows(90, 1100, make_grid(128))
    with MosaicPixels(path) as pixels:
        tiles = cut_tiles(pixels, windows, 128, span_px=128)
    np.testing.assert_array_equal(
        tiles, cut_tiles(values.transpose(1, 2, 0), windows, 128, span_px=128)
    )


def test_pixels__a_window_reads_its_own_blocks_only(tmp_path):
    path = write(tmp_path / "a.tif", noise(3, 256, 256), tiled=True, blockxsize=64, blockysize=64)
    damage(path, block=(0, 15))
    with MosaicPixels(path) as pixels:
        assert pixels[0:192, 0:256].shape == (192, 256, 3)
        with pytest.raises(UnusableImageError):
            pixels[192:256, 192:256]


def test_pixels__threads_may_share_it(tmp_path):
    values = noise(3, 256, 256)
    path = write(
        tmp_path / "a.tif", values, tiled=True, blockxsize=64, blockysize=64, compress="lzw"
    )
    expected, mismatches = values.transpose(1, 2, 0), []
    with MosaicPixels(path) as pixels:

        def cut(seed: int) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(50):
                y, x = rng.integers(0, 200, 2)
                if not np.array_equal(
                    pixels[y : y + 50, x : x + 50], expected[y : y + 50, x : x + 50]
                ):
                    mismatches.append((y, x))

        threads = [threading.Thread(target=cut, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not mismatches


def test_pixels__heights_without_their_range_are_refused(tmp_path):
    path = write(tmp_path / "a.tif", np.ones((4, 4), np.float32))
    handles = open_handles()
    for bounds, missing in (({}, "low"), ({"low": 0.0}, "high")):
        with pytest.raises(ConfigError) as caught:
            MosaicPixels(path, **bounds)
        assert caught.value.setting == missing
    assert open_handles() == handles


def open_handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_pixels__close_releases_the_file(tmp_path):
    path = write(tmp_path / "a.tif", noise(3, 8, 8))
    handles = open_handles()
    pixels = MosaicPixels(path)
    assert open_handles() > handles
    pixels.close()
    pixels.close()
    inspect(path)
    assert open_handles() == handles


# --- which windows show anything -----------------------------------------------------------


def test_find_valid_windows__touching_one_pixel_of_a_cell_is_enough():
    valid = np.zeros((3, 3), np.bool_)
    valid[1, 1] = True  # px 32..63
    windows = [[0, 0, 32, 32], [0, 0, 33, 33], [0, 0, 33, 32], [63, 63, 5, 5], [64, 32, 9, 9]]
    are_valid = find_valid_windows(valid, np.array(windows))
    assert are_valid.tolist() == [False, True, False, True, False]
    assert find_valid_windows(valid, np.empty((0, 4), np.int32)).tolist() == []


@given(st.data())
def test_find_valid_windows__equals_checking_each_cell(data):
    rows, columns = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    bits = data.draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns))
    valid = np.array(bits).reshape(rows, columns)
    x = data.draw(st.integers(0, columns * 32 - 1))
    y = data.draw(st.integers(0, rows * 32 - 1))
    w = data.draw(st.integers(1, columns * 32 - x))
    h = data.draw(st.integers(1, rows * 32 - y))
    pixels = np.kron(valid, np.ones((32, 32), np.bool_))
    window = np.array([[x, y, w, h]], np.int32)
    assert find_valid_windows(valid, window)[0] == pixels[y : y + h, x : x + w].any()


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_unpack_valid__restores_cells(width, height, seed):
    shape = -(-height // 32), -(-width // 32)
    valid = np.random.default_rng(seed).random(shape) < 0.5
    packed = np.packbits(valid).tobytes()
    np.testing.assert_array_equal(unpack_valid(packed, width=width, height=height), valid)


# --- one pixel of each cell -----------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("chunk_px", [1, 3000, 4 * 2**20])
def test_inspect_mosaic__the_sample_is_every_32nd_pixel(tmp_path, layout, chunk_px):
    path = write(tmp_path / "a.tif", noise(3, 300, 203), **layout)
    sample = inspect(path, chunk_px=chunk_px, painted_rows=3).sample
    assert (sample.shape, sample.dtype) == ((10, 7, 3), np.uint8)
    np.testing.assert_array_equal(sample, read_all(path)[::32, ::32])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_inspect_mosaic__the_sample_follows_the_pixel_rule(tmp_path, dtype):
    values = noise(1, 100, 70).astype(dtype)
    values[0, 32, 32] = 9
    values[0, 64, 0] = 250
    path = write(tmp_path / "a.tif", values, nodata=9)
    sample = inspect(path).sample
    assert sample[1, 1].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(sample, read_all(path)[::32, ::32])
    assert (sample[2, 0] > 0).all() == (dtype != np.uint16)


def test_inspect_mosaic__the_sample_of_a_palette(tmp_path):
    palette = {0: (1, 2, 3, 255), 7: (250, 100, 50, 255)}
    values = np.zeros((40, 40), np.uint8)
    values[32, 0] = 7
    mosaic = inspect(write(tmp_path / "a.tif", values, palette=palette))
    assert mosaic.sample.tolist() == [[[1, 2, 3]] * 2, [[250, 100, 50], [1, 2, 3]]]
