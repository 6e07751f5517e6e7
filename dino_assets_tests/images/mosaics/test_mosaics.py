"""Mosaics: told apart by their header, and made to pixels by one rule."""

import struct
import sys

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.enums import ColorInterp

from dino_assets.errors import MissingExtraError, UnusableImageError
from dino_assets.images.mosaics import is_mosaic
from dino_assets_tests.worlds.mosaic_files import cells, inspect, noise, read_all, write

# --- is_mosaic -----------------------------------------------------------------------------


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
def test_is_mosaic__incomplete_header(data, tmp_path):
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
    with pytest.raises(MissingExtraError) as caught:
        inspect(path)
    assert caught.value.extra == "geo"


# --- the pixel rule ------------------------------------------------------------------------


def test_pixels__rgb_is_unchanged(tmp_path):
    values = noise(3, 40, 50)
    path = write(tmp_path / "a.tif", values)
    mosaic = inspect(path)
    assert (mosaic.facts.format, mosaic.facts.mode) == ("GeoTIFF", "3xuint8")
    assert (mosaic.facts.width, mosaic.facts.height) == (50, 40)
    assert mosaic.facts.note is None
    assert (mosaic.low, mosaic.high) == (None, None)
    assert cells(mosaic).all()
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


def test_pixels__12_bit_keeps_its_high_bits(tmp_path):
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
    mosaic = inspect(path)
    assert (mosaic.low, mosaic.high) == (100, 200)
    assert mosaic.facts.note == (
        f"{dtype} values (heights or temperatures?); scaled from 100 … 200 to 0 … 255"
    )
    assert read_all(path)[0, :, 0].tolist() == [0, 26, 255, 0]


def test_pixels__not_finite_is_nodata(tmp_path):
    values = np.array([[np.nan, np.inf, -np.inf, 1, 3]], np.float32)
    path = write(tmp_path / "a.tif", values)
    mosaic = inspect(path)
    assert (mosaic.low, mosaic.high) == (1, 3)
    assert read_all(path)[0, :, 0].tolist() == [0, 0, 0, 0, 255]


def test_pixels__one_value_only_is_black(tmp_path):
    assert read_all(write(tmp_path / "a.tif", np.full((2, 2), 5.0, np.float32))).max() == 0


def test_pixels__one_band_without_a_value_does_not_stretch_the_others(tmp_path):
    values = np.array([[[-9999, 1]], [[2, 3]], [[np.nan, -9999]]], np.float32)
    path = write(tmp_path / "a.tif", values, nodata=-9999, photometric="RGB")
    mosaic = inspect(path)
    assert (mosaic.low, mosaic.high) == (1, 3)
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
    source = write(
        tmp_path / "a.tif", values, mask=mask, photometric="RGB", tiled=True, blockxsize=256,
        blockysize=256,
    )  # fmt: skip
    path = tmp_path / "cog.tif"
    rasterio.shutil.copy(source, path, driver="COG", compress="JPEG", quality=95, blocksize=256)
    with rasterio.open(path) as file:
        assert file.overviews(1)
        assert file.photometric.name == "ycbcr"
    mosaic = inspect(path)
    assert mosaic.facts.note is None  # neither the mask nor the overviews are pages
    assert cells(mosaic)[:, :10].all()
    assert not cells(mosaic)[:, 10:].any()
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
def test_inspect_mosaic__unsupported_bands(tmp_path, values, options):
    path = write(tmp_path / "a.tif", values, **options)
    with pytest.raises(UnusableImageError) as caught:
        inspect(path)
    assert caught.value.reason == "unsupported-mode"
    assert caught.value.detail.startswith("bands are ")


def test_inspect_mosaic__further_pages_are_left_out(tmp_path):
    first, second = (Image.fromarray(noise(8, 8, 3)) for _ in range(2))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    assert inspect(tmp_path / "a.tif").facts.note.startswith("first of 2 pages; not placed")
    np.testing.assert_array_equal(read_all(tmp_path / "a.tif"), np.asarray(first))
