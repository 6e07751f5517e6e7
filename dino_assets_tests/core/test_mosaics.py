"""Mosaics: told apart by their header, checked block by block, read by windows by one rule."""

import os
import shutil
import struct
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from dino_assets.core import mosaics
from dino_assets.core.mosaics import (
    MosaicFacts,
    MosaicPixels,
    find_valid_windows,
    inspect_mosaic,
    inspection,
    is_mosaic,
    place_mosaic_windows,
    unpack_valid,
)
from dino_assets.core.tiling import cut_tiles, cut_windows, make_grid
from dino_assets.errors import ConfigError, MissingExtraError, UnusableImageError
from dino_assets.records import Georeference

UTM = "EPSG:32632"
PLACE = Affine(0.05, 0, 500_000, 0, -0.05, 5_300_000)  # on the central meridian, 47.9 north
RNG = np.random.default_rng(0)


def write(
    path: Path,
    values: Any,
    *,
    colors: list[ColorInterp] | None = None,
    mask: Any = None,
    transform: Affine | None = PLACE,
    crs: Any = UTM,
    **options: Any,
) -> Path:
    """A GeoTIFF of values (bands, h, w)."""
    values = np.asarray(values)
    values = values[None] if values.ndim == 2 else values
    count, height, width = values.shape
    options = {"driver": "GTiff", "dtype": values.dtype.name, "crs": crs} | options
    if transform is not None:
        options["transform"] = transform
    palette = options.pop("palette", None)
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", width=width, height=height, count=count, **options) as file,
    ):
        if colors:
            file.colorinterp = colors
        if palette:
            file.write_colormap(1, palette)
        file.write(values)
        if mask is not None:
            file.write_mask(mask)
    return path


def noise(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype, endpoint=True)


def inspect(path: Path) -> MosaicFacts:
    return inspect_mosaic(path, image_id="a" * 64)


def read_all(path: Path) -> np.ndarray:
    """Everything, by the range that the inspection found."""
    found = inspect(path)
    with MosaicPixels(path, low=found.low, high=found.high) as pixels:
        return pixels[:, :]


def cells(found: MosaicFacts) -> np.ndarray:
    return unpack_valid(found.valid, width=found.facts.width, height=found.facts.height)


# --- is_mosaic ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}])
def test_is_mosaic__georeferenced(tmp_path, options):
    path = write(tmp_path / "a.tif", noise(3, 8, 8), **options)
    assert is_mosaic(path)
    assert is_mosaic(path.read_bytes())
    assert is_mosaic(str(path))


def test_is_mosaic__a_plain_tiff_is_a_photograph(tmp_path):
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "a.tif")
    assert not is_mosaic(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("width", "height", "expected"), [(13_377, 13_377, False), (13_378, 13_378, True)]
)
@pytest.mark.parametrize("bigtiff", ["YES", "NO"])
def test_is_mosaic__more_pixels_than_are_decoded_at_once(
    tmp_path, width, height, expected, bigtiff
):
    path = tmp_path / "a.tif"
    options = {"SPARSE_OK": True, "tiled": True, "BIGTIFF": bigtiff}
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(
            path, "w", driver="GTiff", width=width, height=height, count=1, dtype="uint8", **options
        ),
    ):
        pass
    assert is_mosaic(path) is expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"II*\0",
        b"\xff\xd8\xff\xe0 a photograph, not a TIFF",
        b"II*\0" + struct.pack("<I", 8),
        b"II*\0" + struct.pack("<IH", 8, 3) + b"\0" * 10,
        b"II*\0" + struct.pack("<I", 2**32 - 1) + bytes(100),
        b"II+\0" + struct.pack("<HHQ", 8, 0, 2**64 - 1) + bytes(100),
        b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2**64 - 1) + bytes(100),
        b"MM\0\x63" + bytes(100),
    ],
)
def test_is_mosaic__what_is_no_whole_header_is_none(data, tmp_path):
    (tmp_path / "a.tif").write_bytes(data)
    assert not is_mosaic(data)
    assert not is_mosaic(tmp_path / "a.tif")


@given(st.binary(max_size=200), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]))
def test_is_mosaic__bytes_of_any_kind_are_no_error(data, magic):
    assert is_mosaic(magic + data) in (True, False)


def test_is_mosaic__needs_no_rasterio(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", noise(3, 8, 8))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert is_mosaic(path)
    with pytest.raises(MissingExtraError, match=r"dino-assets\[geo\]") as caught:
        inspect(path)
    assert caught.value.extra == "geo"


# --- the pixel rule -------------------------------------------------------------------------


def test_pixels__rgb_is_itself(tmp_path):
    values = noise(3, 40, 50)
    path = write(tmp_path / "a.tif", values)
    found = inspect(path)
    assert (found.facts.format, found.facts.mode) == ("GeoTIFF", "3xuint8")
    assert (found.facts.width, found.facts.height, found.bands, found.dtype) == (50, 40, 3, "uint8")
    assert found.facts.note is None
    assert (found.low, found.high) == (None, None)
    assert cells(found).all()
    np.testing.assert_array_equal(read_all(path), values.transpose(1, 2, 0))


def test_pixels__gray_is_repeated(tmp_path):
    values = noise(40, 50)
    pixels = read_all(write(tmp_path / "a.tif", values))
    for band in range(3):
        np.testing.assert_array_equal(pixels[..., band], values)


def test_pixels__bands_are_found_by_their_colours(tmp_path):
    values = noise(4, 8, 8)
    colors = [ColorInterp.blue, ColorInterp.green, ColorInterp.undefined, ColorInterp.red]
    path = write(tmp_path / "a.tif", values, colors=colors, photometric="MINISBLACK")
    assert inspect(path).facts.note == "red, green and blue of 4 bands"
    np.testing.assert_array_equal(read_all(path), values[[3, 1, 0]].transpose(1, 2, 0))


def test_pixels__fully_transparent_is_black_and_invalid(tmp_path):
    values = np.full((4, 40, 70), 200, np.uint8)
    values[3] = 0
    values[3, 35, 66] = 1  # hardly to be seen, yet it is there
    path = write(tmp_path / "a.tif", values, photometric="RGB", alpha="yes")
    np.testing.assert_array_equal(cells(inspect(path)), [[0, 0, 0], [0, 0, 1]])
    pixels = read_all(path)
    assert pixels[35, 66].tolist() == [200, 200, 200]
    assert pixels.sum() == 600


def test_pixels__gray_and_alpha(tmp_path):
    values = np.array([[[10, 20]], [[255, 0]]], np.uint8)
    colors = [ColorInterp.gray, ColorInterp.alpha]
    path = write(tmp_path / "a.tif", values, colors=colors)
    assert read_all(path).tolist() == [[[10] * 3, [0] * 3]]
    assert inspect(path).facts.note is None


def test_pixels__infrared_is_left_out(tmp_path):
    values = noise(4, 8, 8)
    values[3] = 0  # were it alpha, nothing would be seen
    path = write(tmp_path / "a.tif", values, photometric="RGB", alpha="no")
    assert inspect(path).facts.note == "red, green and blue of 4 bands"
    np.testing.assert_array_equal(read_all(path), values[:3].transpose(1, 2, 0))


def test_pixels__multispectral_says_which_bands_are_shown(tmp_path):
    values = noise(5, 8, 8)
    path = write(tmp_path / "a.tif", values, photometric="MINISBLACK")
    assert "bands 1 to 3 as red, green and blue, of 5" in inspect(path).facts.note
    np.testing.assert_array_equal(read_all(path), values[:3].transpose(1, 2, 0))


def test_pixels__16_bit_keeps_the_high_byte(tmp_path):
    values = np.array([[[0, 255, 256, 0x1234, 65535]]] * 3, np.uint16)
    path = write(tmp_path / "a.tif", values, photometric="RGB")
    assert read_all(path)[0, :, 0].tolist() == [0, 0, 1, 0x12, 255]
    assert inspect(path).facts.note is None


def test_pixels__12_bit_keeps_its_own_high_bits(tmp_path):
    values = np.array([[0, 15, 16, 4095]], np.uint16)
    path = write(tmp_path / "a.tif", values, nbits=12)
    assert read_all(path)[0, :, 0].tolist() == [0, 0, 1, 255]


def test_pixels__one_bit_is_black_and_white(tmp_path):
    path = write(tmp_path / "a.tif", np.array([[0, 1]], np.uint8), nbits=1)
    assert read_all(path)[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels__white_may_be_zero(tmp_path, dtype):
    steps = 257 if dtype == np.uint16 else 1
    values = np.array([[0, 55, 255]], dtype) * dtype(steps)
    path = write(tmp_path / "a.tif", values, photometric="MINISWHITE")
    assert read_all(path)[0, :, 0].tolist() == [255, 200, 0]


def test_pixels__a_palette_is_its_colours(tmp_path):
    palette = {0: (1, 2, 3, 255), 7: (250, 100, 50, 255)}
    path = write(tmp_path / "a.tif", np.array([[0, 7]], np.uint8), palette=palette)
    assert read_all(path).tolist() == [[[1, 2, 3], [250, 100, 50]]]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int32", "uint32"])
def test_pixels__heights_go_from_the_lowest_to_the_highest(tmp_path, dtype):
    path = write(tmp_path / "a.tif", np.array([[100, 110, 200, 9999]], dtype), nodata=9999)
    found = inspect(path)
    assert (found.low, found.high) == (100, 200)
    assert found.facts.note == (
        f"{dtype} values (heights or temperatures?); scaled from 100 … 200 to 0 … 255"
    )
    assert read_all(path)[0, :, 0].tolist() == [0, 26, 255, 0]


def test_pixels__what_is_not_finite_is_nodata(tmp_path):
    values = np.array([[np.nan, np.inf, -np.inf, 1, 3]], np.float32)
    path = write(tmp_path / "a.tif", values)
    found = inspect(path)
    assert (found.low, found.high) == (1, 3)
    assert read_all(path)[0, :, 0].tolist() == [0, 0, 0, 0, 255]


def test_pixels__one_value_only_is_black(tmp_path):
    assert read_all(write(tmp_path / "a.tif", np.full((2, 2), 5.0, np.float32))).max() == 0


def test_pixels__one_band_without_a_value_does_not_stretch_the_others(tmp_path):
    values = np.array([[[-9999, 1]], [[2, 3]], [[np.nan, -9999]]], np.float32)
    path = write(tmp_path / "a.tif", values, nodata=-9999, photometric="RGB")
    found = inspect(path)
    assert (found.low, found.high) == (1, 3)
    assert read_all(path).tolist() == [[[0, 128, 0], [0, 255, 0]]]


def test_pixels__transparent_heights_are_not_counted(tmp_path):
    values = np.array([[[-9999, 5, 6]], [[0, 1, 1]]], np.float32)
    path = write(tmp_path / "a.tif", values, colors=[ColorInterp.gray, ColorInterp.alpha])
    assert (inspect(path).low, inspect(path).high) == (5, 6)
    assert read_all(path)[0, :, 0].tolist() == [0, 0, 255]


def test_pixels__the_largest_numbers_do_not_overflow(tmp_path):
    values = np.array([[-1.7e308, 0, 1.7e308]])
    assert read_all(write(tmp_path / "a.tif", values))[0, :, 0].tolist() == [0, 128, 255]


def test_pixels__nodata_is_where_all_colours_are(tmp_path):
    values = np.zeros((3, 1, 3), np.uint8)
    values[:, 0, 1] = 0, 7, 0  # a dark green pixel is no hole
    path = write(tmp_path / "a.tif", values, nodata=0)
    assert read_all(path)[0].tolist() == [[0, 0, 0], [0, 7, 0], [0, 0, 0]]
    assert cells(inspect(path)).tolist() == [[True]]


def test_pixels__white_nodata_becomes_black(tmp_path):
    values = np.full((3, 1, 2), 255, np.uint8)
    values[:, 0, 1] = 9
    assert read_all(write(tmp_path / "a.tif", values, nodata=255)).tolist() == [
        [[0, 0, 0], [9, 9, 9]]
    ]


def test_pixels__nodata_and_alpha_both_hide(tmp_path):
    values = np.array([[[0, 5, 5]], [[0, 5, 5]], [[0, 5, 5]], [[255, 0, 255]]], np.uint8)
    path = write(tmp_path / "a.tif", values, photometric="RGB", alpha="yes", nodata=0)
    assert read_all(path)[0, :, 0].tolist() == [0, 0, 5]


def test_pixels__a_jpeg_cog_with_mask_and_overviews_is_read_at_full_resolution(tmp_path):
    y, x = np.mgrid[:600, :700]
    values = np.stack([x // 3, y // 3, (x + y) // 6]).astype(np.uint8)
    mask = np.where(x < 300, 255, 0).astype(np.uint8)
    plain = write(
        tmp_path / "a.tif", values, mask=mask, photometric="RGB", tiled=True, blockxsize=256,
        blockysize=256,
    )  # fmt: skip
    path = tmp_path / "cog.tif"
    rasterio.shutil.copy(plain, path, driver="COG", compress="JPEG", quality=95, blocksize=256)
    with rasterio.open(path) as file:
        assert file.overviews(1)
        assert file.photometric.name == "ycbcr"
    found = inspect(path)
    assert found.facts.note is None  # neither the mask nor the overviews are pages
    assert cells(found)[:, :10].all()
    assert not cells(found)[:, 10:].any()
    pixels = read_all(path)
    assert np.abs(pixels[:, :290].astype(int) - values.transpose(1, 2, 0)[:, :290]).max() < 16
    assert pixels[:, 300:].max() == 0


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (np.ones((1, 4, 4), np.complex64), {}),
        (np.ones((4, 4, 4), np.uint16), {"photometric": "CMYK"}),
    ],
)
def test_inspect_mosaic__bands_that_are_no_picture(tmp_path, values, options):
    path = write(tmp_path / "a.tif", values, **options)
    with pytest.raises(UnusableImageError, match=r"unsupported-mode: bands are .*export"):
        inspect(path)


def test_inspect_mosaic__further_pages_are_left_out(tmp_path):
    first, second = (Image.fromarray(noise(8, 8, 3)) for _ in range(2))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    assert inspect(tmp_path / "a.tif").facts.note.startswith("first of 2 pages; not placed")
    np.testing.assert_array_equal(read_all(tmp_path / "a.tif"), np.asarray(first))


# --- windows --------------------------------------------------------------------------------


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
def test_inspect_mosaic__the_range_does_not_depend_on_the_layout(
    tmp_path, monkeypatch, layout, chunk_px
):
    monkeypatch.setattr(inspection, "_CHUNK_PX", chunk_px)
    values = noise(300, 203, dtype=np.int16) // 2
    values[299, 0], values[0, 202], values[100, 100] = -20_000, 20_000, -32_768
    layout = {key: value for key, value in layout.items() if key != "interleave"}
    path = write(tmp_path / "a.tif", values, nodata=-32_768, **layout)
    assert (inspect(path).low, inspect(path).high) == (-20_000, 20_000)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("chunk_px", [1, 3000, 4 * 2**20])
def test_inspect_mosaic__cells_do_not_depend_on_the_layout(tmp_path, monkeypatch, layout, chunk_px):
    monkeypatch.setattr(inspection, "_CHUNK_PX", chunk_px)
    values = np.zeros((3, 300, 203), np.uint8)
    for y, x in [(0, 0), (31, 31), (32, 63), (45, 150), (250, 202), (299, 100), (128, 128)]:
        values[1, y, x] = 1
    expected = np.zeros((10, 7), np.bool_)
    for y, x in [(0, 0), (1, 1), (1, 4), (7, 6), (9, 3), (4, 4)]:
        expected[y, x] = True
    path = write(tmp_path / "a.tif", values, nodata=0, **layout)
    np.testing.assert_array_equal(cells(inspect(path)), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pixels__windows_are_cut_as_from_an_array(tmp_path, layout):
    values = noise(3, 300, 203)
    path = write(tmp_path / "a.tif", values, **layout)
    whole = values.transpose(1, 2, 0)
    with MosaicPixels(path) as pixels:
        assert pixels.shape == (300, 203, 3)
        for y, x in [(slice(0, 1), slice(0, 1)), (slice(290, 400), slice(100, None))]:
            np.testing.assert_array_equal(pixels[y, x], whole[y, x])
        assert pixels[5:5, 3:9].shape == (0, 6, 3)
        with pytest.raises(IndexError, match="without steps"):
            pixels[::2, :]
        windows = cut_windows(2000, 300, make_grid(64))[:0]
        assert len(windows) == 0


def test_pixels__tiles_are_those_of_the_array(tmp_path):
    values = noise(3, 1100, 90)
    path = write(tmp_path / "a.tif", values, tiled=True, blockxsize=64, blockysize=64)
    windows = cut_windows(90, 1100, make_grid(128))
    with MosaicPixels(path) as pixels:
        cut = cut_tiles(pixels, windows, 128, span_px=128)
    np.testing.assert_array_equal(
        cut, cut_tiles(values.transpose(1, 2, 0), windows, 128, span_px=128)
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
    whole, wrong = values.transpose(1, 2, 0), []
    with MosaicPixels(path) as pixels:

        def cut(seed: int) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(50):
                y, x = rng.integers(0, 200, 2)
                if not np.array_equal(
                    pixels[y : y + 50, x : x + 50], whole[y : y + 50, x : x + 50]
                ):
                    wrong.append((y, x))

        threads = [threading.Thread(target=cut, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_pixels__heights_without_their_range_are_refused(tmp_path):
    path = write(tmp_path / "a.tif", np.ones((4, 4), np.float32))
    before = open_handles()
    with pytest.raises(ConfigError, match="give low and high"):
        MosaicPixels(path)
    assert open_handles() == before


def open_handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_pixels__closing_lets_go_of_the_file(tmp_path):
    path = write(tmp_path / "a.tif", noise(3, 8, 8))
    before = open_handles()
    pixels = MosaicPixels(path)
    assert open_handles() > before
    pixels.close()
    pixels.close()
    inspect(path)
    assert open_handles() == before


# --- damage ---------------------------------------------------------------------------------


def damage(path: Path, *, block: tuple[int, int], fill: bytes = b"\xff") -> None:
    """Overwrite one block (for uncompressed data: move it beyond the end)."""
    with rasterio.open(path) as file:
        column, row = block[1] % 4, block[1] // 4
        where = f"{column}_{row}"
        offset = int(file.get_tag_item(f"BLOCK_OFFSET_{where}", "TIFF", bidx=1))
        size = int(file.get_tag_item(f"BLOCK_SIZE_{where}", "TIFF", bidx=1))
        compressed = file.compression is not None
    data = bytearray(path.read_bytes())
    if compressed:
        data[offset : offset + size] = (fill * size)[:size]
    else:
        at = data.index(struct.pack("<I", offset))
        data[at : at + 4] = struct.pack("<I", len(data) + 1000)
    path.write_bytes(data)


@pytest.mark.parametrize("compress", ["deflate", "lzw", "zstd", "jpeg", "webp", None])
@pytest.mark.parametrize(
    "layout", [{"blockysize": 16}, {"tiled": True, "blockxsize": 64, "blockysize": 64}]
)
def test_inspect_mosaic__cut_off(tmp_path, compress, layout):
    path = write(
        tmp_path / "a.tif", noise(3, 256, 256), compress=compress, photometric="RGB", **layout
    )
    inspect(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(
        UnusableImageError, match=r"a block within .* at x 0, y 0 cannot be read: TIFF.*got"
    ) as err:
        inspect(path)
    assert err.value.reason == "truncated"
    again = shutil.copy(path, tmp_path / "b.tif")
    with Path(again).open("rb"), pytest.raises(UnusableImageError) as other:
        inspect(again)  # under another descriptor
    assert other.value.detail == err.value.detail


@pytest.mark.parametrize("compress", ["deflate", "lzw", "zstd", "jpeg", "webp"])
@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"\x55"])
def test_inspect_mosaic__a_block_overwritten(tmp_path, compress, fill):
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    values = noise(3, 256, 256)
    path = write(tmp_path / "a.tif", values, compress=compress, photometric="RGB", **layout)
    damage(path, block=(0, 9), fill=fill)
    with pytest.raises(UnusableImageError, match="undecodable: a block within") as err:
        inspect(path)
    assert err.value.reason == "undecodable"


def test_inspect_mosaic__a_jpeg_block_that_ends_early(tmp_path):
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    path = write(
        tmp_path / "a.tif", noise(3, 256, 256), compress="jpeg", photometric="YCBCR", **layout
    )
    data = bytearray(path.read_bytes())
    data[-1500:-1498] = b"\xff\xd9"
    path.write_bytes(data)
    with pytest.raises(UnusableImageError, match="undecodable"):
        inspect(path)


@pytest.mark.parametrize("size", [0, 8, 100, 300])
def test_inspect_mosaic__header_cut_off(tmp_path, size):
    path = write(tmp_path / "a.tif", noise(3, 64, 64))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UnusableImageError) as err:
        inspect(path)
    assert err.value.reason in ("truncated", "undecodable")
    assert "fd/" not in str(err.value)


def test_inspect_mosaic__nothing_to_see(tmp_path):
    path = write(tmp_path / "a.tif", np.zeros((3, 64, 64), np.uint8), nodata=0)
    with pytest.raises(UnusableImageError, match="blank: no pixel is valid"):
        inspect(path)


def test_inspect_mosaic__a_side_too_long(tmp_path):
    path = write(tmp_path / "a.tif", np.ones((1, 100_000), np.uint8))
    with pytest.raises(UnusableImageError, match="too-large: 100000×1 px, a side may have 99,999"):
        inspect(path)


def test_inspect_mosaic__a_block_too_large(tmp_path):
    path = tmp_path / "a.tif"
    shape = {"width": 30_000, "height": 30_000, "count": 1, "dtype": "uint8"}
    tiled = {"tiled": True, "blockxsize": 16_384, "blockysize": 16_384, "SPARSE_OK": True}
    with rasterio.open(
        path, "w", driver="GTiff", **shape, **tiled, compress="jpeg", crs=UTM, transform=PLACE
    ):
        pass
    with pytest.raises(UnusableImageError, match=r"blocks of 16384×16384 px are .* TILED=YES"):
        inspect(path)
    with pytest.raises(UnusableImageError, match="too-large"):
        MosaicPixels(path)


# --- nothing but the file -------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["PNG", "VRT"])
def test_inspect_mosaic__other_drivers_are_never_asked(tmp_path, driver):
    inner = write(tmp_path / "inner.tif", noise(3, 64, 64))
    path = tmp_path / "a.tif"
    rasterio.shutil.copy(inner, path, driver=driver)
    with pytest.raises(UnusableImageError, match="undecodable: the header cannot be read"):
        inspect(path)


@pytest.mark.parametrize("name", ["/vsicurl/http:", "s3:", "GTIFF_DIR:1:a.tif", "a#b?c%.tif"])
def test_inspect_mosaic__a_name_means_nothing_to_gdal(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name.lstrip("/") / "a.tif"
    path.parent.mkdir(parents=True)
    write(tmp_path / "plain.tif", noise(3, 8, 8)).rename(path)
    assert inspect(Path(os.path.relpath(path))).facts.width == 8
    with pytest.raises(FileNotFoundError):
        inspect(Path("/vsimem/a.tif"))


def test_inspect_mosaic__side_files_are_neither_read_nor_written(tmp_path):
    values = noise(3, 64, 64)
    path = write(tmp_path / "a.tif", values, transform=None, crs=None)
    (tmp_path / "a.tfw").write_text("1\n0\n0\n-1\n500000\n5300000\n")
    (tmp_path / "a.prj").write_text("nonsense")
    (tmp_path / "a.tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:32632</SRS><GeoTransform>5,1,0,5,0,-1</GeoTransform></PAMDataset>"
    )
    mask = noise(1, 64, 64)
    shutil.copy(write(tmp_path / "mask.tif", mask), tmp_path / "a.tif.msk")
    before = {each: each.stat().st_mtime_ns for each in tmp_path.iterdir()}
    assert inspect(path).georeference is None
    assert cells(inspect(path)).all()
    np.testing.assert_array_equal(read_all(path), values.transpose(1, 2, 0))
    assert {each: each.stat().st_mtime_ns for each in tmp_path.iterdir()} == before


def test_inspect_mosaic__a_descriptor_is_enough(tmp_path):
    path = write(tmp_path / "a.tif", noise(3, 8, 8))
    with path.open("rb") as file:
        path.unlink()
        local = Path(f"/dev/fd/{file.fileno()}")
        assert is_mosaic(local)
        assert inspect(local).facts.width == 8
        assert read_all(local).shape == (8, 8, 3)


def test_inspect_mosaic__gdal_keeps_to_its_cache(tmp_path):
    path = write(tmp_path / "a.tif", noise(3, 8, 8))
    inspect(path)
    from rasterio._env import get_gdal_config

    with mosaics.opening.enter_gdal():
        assert get_gdal_config("GDAL_CACHEMAX") == 128 * 2**20
        assert get_gdal_config("GDAL_DISABLE_READDIR_ON_OPEN") == "EMPTY_DIR"
    assert get_gdal_config("GDAL_DISABLE_READDIR_ON_OPEN") is None


# --- which windows show anything ------------------------------------------------------------


def test_find_valid_windows__touching_one_pixel_of_a_cell_is_enough():
    valid = np.zeros((3, 3), np.bool_)
    valid[1, 1] = True  # px 32..63
    windows = [[0, 0, 32, 32], [0, 0, 33, 33], [0, 0, 33, 32], [63, 63, 5, 5], [64, 32, 9, 9]]
    found = find_valid_windows(valid, np.array(windows))
    assert found.tolist() == [False, True, False, True, False]
    assert find_valid_windows(valid, np.empty((0, 4), np.int32)).tolist() == []


@given(st.data())
def test_find_valid_windows__as_by_looking_at_each_cell(data):
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
def test_unpack_valid__gives_back_what_was_packed(width, height, seed):
    shape = -(-height // 32), -(-width // 32)
    valid = np.random.default_rng(seed).random(shape) < 0.5
    packed = np.packbits(valid).tobytes()
    np.testing.assert_array_equal(unpack_valid(packed, width=width, height=height), valid)


# --- where on Earth -------------------------------------------------------------------------


def geodesic_gsd(corners: np.ndarray, pixels: int) -> float:
    from pyproj import Geod

    area, _ = Geod(ellps="WGS84").polygon_area_perimeter(*corners.T)
    return (abs(area) / pixels) ** 0.5


WINDOWS = np.array([[0, 0, 518, 518], [39_482, 0, 518, 518], [20_000, 30_000, 518, 300]])


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (UTM, (0.05, 0, 500_000, 0, -0.05, 5_300_000)),
        (UTM, (0.03, 0.04, 500_000, 0.04, -0.03, 5_300_000)),  # turned
        (UTM, (0.05, 0.01, 500_000, -0.02, -0.05, 5_300_000)),  # and sheared
        (UTM, (0.05, 0, 500_000, 0, 0.05, 5_300_000)),  # south up
        ("EPSG:3857", (0.05, 0, 1_000_000, 0, -0.05, 6_000_000)),
        ("EPSG:4326", (5e-7, 0, 9, 0, -5e-7, 48)),
        ("EPSG:32760", (0.05, 0, 830_000, 0, -0.05, 6_000_000)),  # to the antimeridian
        ("EPSG:2193", (0.1, 0, 1_570_000, 0, -0.1, 5_180_000)),  # northing is named first there
        ("EPSG:2227", (0.2, 0, 6_000_000, 0, -0.2, 2_100_000)),  # in feet
    ],
)
def test_place_mosaic_windows__as_pyproj_has_it(crs, transform):
    from pyproj import Transformer

    places = place_mosaic_windows(Georeference(crs, transform), WINDOWS)
    to_wgs84 = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    a, b, c, d, e, f = transform
    for window, corners, center, gsd in zip(WINDOWS.tolist(), *places_of(places), strict=True):
        x, y, w, h = window
        around = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]  # from the upper left, clockwise
        for (column, row), corner in zip(
            [*around, (x + w / 2, y + h / 2)], [*corners, center], strict=True
        ):
            expected = to_wgs84.transform(a * column + b * row + c, d * column + e * row + f)
            np.testing.assert_allclose(corner, expected, rtol=0, atol=1e-8)  # a millimetre
        assert gsd == pytest.approx(geodesic_gsd(corners, w * h), rel=1e-5)


def places_of(places: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return places.corners, places.centers, places.gsd_m


def test_place_mosaic_windows__web_metres_are_not_metres():
    """At 60 degrees a metre of EPSG:3857 is half a metre of ground."""
    north = 8_399_737.9  # of 60 degrees
    georeference = Georeference("EPSG:3857", (1, 0, 0, 0, -1, north))
    places = place_mosaic_windows(georeference, np.array([[0, 0, 10, 10]]))
    assert places.gsd_m[0] == pytest.approx(0.5, rel=0.005)
    assert places.corners[0, 0].tolist() == pytest.approx([0, 60], abs=1e-6)


def test_place_mosaic_windows__over_the_antimeridian():
    georeference = Georeference("EPSG:3857", (1, 0, 20_037_500, 0, -1, 0))
    places = place_mosaic_windows(georeference, np.array([[0, 0, 20, 20]]))
    assert places.gsd_m[0] == pytest.approx(1, rel=0.01)


def test_inspect_mosaic__says_where_it_lies(tmp_path):
    found = inspect(write(tmp_path / "a.tif", noise(3, 8, 8)))
    assert found.georeference == Georeference(UTM, (0.05, 0, 500_000, 0, -0.05, 5_300_000))


def test_inspect_mosaic__a_system_without_a_number_is_written_out(tmp_path):
    crs = "+proj=tmerc +lat_0=48 +lon_0=9.5 +k=1 +x_0=0 +y_0=0 +ellps=GRS80 +units=m"
    transform = Affine(0.1, 0, 0, 0, -0.1, 0)
    found = inspect(write(tmp_path / "a.tif", noise(3, 8, 8), crs=crs, transform=transform))
    assert found.georeference.crs.startswith("PROJCS[")
    places = place_mosaic_windows(found.georeference, np.array([[0, 0, 8, 8]]))
    assert places.corners[0, 0].tolist() == pytest.approx([9.5, 48])
    assert places.gsd_m[0] == pytest.approx(0.1, rel=1e-4)


def test_inspect_mosaic__heights_above_the_geoid_do_not_matter(tmp_path):
    found = inspect(write(tmp_path / "a.tif", noise(3, 8, 8), crs="EPSG:25832+7837"))
    assert found.georeference is not None
    plain = place_mosaic_windows(Georeference("EPSG:25832", found.georeference.transform), WINDOWS)
    here = place_mosaic_windows(found.georeference, WINDOWS)
    np.testing.assert_allclose(here.corners, plain.corners, rtol=0, atol=1e-9)


LOCAL = 'LOCAL_CS["Local",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"transform": None, "crs": None}, "not placed: no georeference"),
        ({"crs": None}, "not placed: its coordinate system is not named"),
        ({"crs": LOCAL}, "not placed: its coordinate system does not lead to WGS 84"),
        (
            {"transform": Affine(0.05, 0, 1e9, 0, -0.05, 1e9)},
            "not placed: its coordinate system does not",
        ),
        ({"crs": "EPSG:4326"}, "not placed: its corners are outside"),
        ({"transform": Affine(1, 1, 0, 1, 1, 5)}, "not placed: its pixels have no area"),
        (
            {
                "transform": None,
                "crs": UTM,
                "gcps": [
                    GroundControlPoint(row, column, 500_000 + column + row / 9, 5_300_000 - row)
                    for row, column in [(0, 0), (0, 7), (7, 0), (7, 6)]
                ],
            },
            "not placed: no georeference but for 4 ground control points",
        ),
    ],
)
def test_inspect_mosaic__no_place(tmp_path, options, note):
    path = write(tmp_path / "a.tif", noise(3, 8, 8), **options)
    found = inspect(path)
    assert found.georeference is None
    assert found.facts.note.startswith(note)


def test_place_mosaic_windows__a_system_that_is_none():
    with pytest.raises(ConfigError, match="does not lead to WGS 84"):
        place_mosaic_windows(Georeference(LOCAL, (1, 0, 0, 0, -1, 0)), WINDOWS)
