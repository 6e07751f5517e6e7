"""Damaged and hostile mosaics: refused with a reason, and nothing is touched but the file."""

import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from dino_assets.errors import UnusableImageError
from dino_assets.images import mosaics
from dino_assets.images.mosaics import MosaicPixels, is_mosaic
from dino_assets_tests.worlds.mosaic_files import (
    PLACE,
    UTM,
    cells,
    damage,
    inspect,
    noise,
    read_all,
    write,
)
from dino_assets_tests.worlds.tiff_files import GRAY_TAGS, tiff_of

# --- damage --------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", ["deflate", "lzw", "zstd", "jpeg", "webp", None])
@pytest.mark.parametrize(
    "layout", [{"blockysize": 16}, {"tiled": True, "blockxsize": 64, "blockysize": 64}]
)
def test_inspect_mosaic__truncated(tmp_path, compress, layout):
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
    other_path = shutil.copy(path, tmp_path / "b.tif")
    with Path(other_path).open("rb"), pytest.raises(UnusableImageError) as other_err:
        inspect(other_path)  # under another descriptor
    assert other_err.value.detail == err.value.detail


@pytest.mark.parametrize("compress", ["deflate", "lzw", "zstd", "jpeg", "webp"])
@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"\x55"])
def test_inspect_mosaic__a_block_overwritten(tmp_path, compress, fill):
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    values = noise(3, 256, 256)
    path = write(tmp_path / "a.tif", values, compress=compress, photometric="RGB", **layout)
    damage(path, block=(0, 9), fill=fill)
    with pytest.raises(UnusableImageError) as err:
        inspect(path)
    assert err.value.reason == "undecodable"
    assert err.value.detail.startswith("a block within")


def test_inspect_mosaic__a_jpeg_block_that_ends_early(tmp_path):
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    path = write(
        tmp_path / "a.tif", noise(3, 256, 256), compress="jpeg", photometric="YCBCR", **layout
    )
    data = bytearray(path.read_bytes())
    data[-1500:-1498] = b"\xff\xd9"
    path.write_bytes(data)
    with pytest.raises(UnusableImageError) as err:
        inspect(path)
    assert err.value.reason == "undecodable"


@pytest.mark.parametrize("size", [0, 8, 100, 300])
def test_inspect_mosaic__truncated_header(tmp_path, size):
    path = write(tmp_path / "a.tif", noise(3, 64, 64))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UnusableImageError) as err:
        inspect(path)
    assert err.value.reason in ("truncated", "undecodable")
    assert "fd/" not in err.value.detail


def test_inspect_mosaic__no_valid_pixel(tmp_path):
    path = write(tmp_path / "a.tif", np.zeros((3, 64, 64), np.uint8), nodata=0)
    with pytest.raises(UnusableImageError) as err:
        inspect(path)
    assert err.value.reason == "blank"


def test_inspect_mosaic__a_side_too_long(tmp_path):
    path = write(tmp_path / "a.tif", np.ones((1, 100_000), np.uint8))
    with pytest.raises(UnusableImageError) as err:
        inspect(path)
    assert err.value.reason == "too-large"


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
    with pytest.raises(UnusableImageError) as err:
        MosaicPixels(path)
    assert err.value.reason == "too-large"


# --- nothing but the file ------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["PNG", "VRT"])
def test_inspect_mosaic__other_drivers_are_not_used(tmp_path, driver):
    source = write(tmp_path / "inner.tif", noise(3, 64, 64))
    path = tmp_path / "a.tif"
    rasterio.shutil.copy(source, path, driver=driver)
    with pytest.raises(UnusableImageError) as err:
        inspect(path)
    assert err.value.reason == "undecodable"
    assert err.value.detail.startswith("the header")


@pytest.mark.parametrize("name", ["/vsicurl/http:", "s3:", "GTIFF_DIR:1:a.tif", "a#b?c%.tif"])
def test_inspect_mosaic__gdal_ignores_the_files_name(tmp_path, monkeypatch, name):
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
    times = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert inspect(path).georeference is None
    assert cells(inspect(path)).all()
    np.testing.assert_array_equal(read_all(path), values.transpose(1, 2, 0))
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == times


def test_inspect_mosaic__a_descriptor_is_enough(tmp_path):
    path = write(tmp_path / "a.tif", noise(3, 8, 8))
    with path.open("rb") as file:
        path.unlink()
        local = Path(f"/dev/fd/{file.fileno()}")
        assert is_mosaic(local)
        assert inspect(local).facts.width == 8
        assert read_all(local).shape == (8, 8, 3)


def test_inspect_mosaic__gdals_cache_is_limited(tmp_path):
    path = write(tmp_path / "a.tif", noise(3, 8, 8))
    inspect(path)
    from rasterio._env import get_gdal_config

    with mosaics.opening.enter_gdal():
        assert get_gdal_config("GDAL_CACHEMAX") == 128 * 2**20
        assert get_gdal_config("GDAL_DISABLE_READDIR_ON_OPEN") == "EMPTY_DIR"
    assert get_gdal_config("GDAL_DISABLE_READDIR_ON_OPEN") is None


# --- tags that share their data -------------------------------------------------------------


def test_open_mosaic__tags_that_all_point_at_the_same_megabyte(tmp_path):
    path = tmp_path / "a.tif"
    tags = [(33550, 12, 3, 8), *((40_000 + number, 1, 10**6, 8) for number in range(100))]
    path.write_bytes(tiff_of(GRAY_TAGS + tags, body=bytes(10**6)))
    assert is_mosaic(path)
    for reader in (inspect, MosaicPixels):
        with pytest.raises(UnusableImageError) as err:
            reader(path)
        assert err.value.reason == "undecodable"
        assert err.value.detail.startswith("tags declare 100,000,024 bytes")


def test_is_mosaic__reads_a_long_directory_up_to_a_limit(tmp_path):
    entries = struct.pack("<HHQQ", 33550, 12, 3, 8) * 70_000
    data = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2**60) + entries
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    assert is_mosaic(path)
    with pytest.raises(UnusableImageError):
        inspect(path)
