"""Pixels of recorded images: the very bytes that were hashed, or an error."""

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from dino_assets.drops.sources.folders import FolderSource
from dino_assets.errors import MissingExtraError, SourceError, UnusableImageError
from dino_assets.images import pixels as stage
from dino_assets.images.pixels import hash_file, open_pixels
from dino_assets_tests.conftest import photo_bytes


def folder(path: Path) -> FolderSource:
    return FolderSource(path, shown="drop")


@pytest.fixture(autouse=True)
def nothing_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_verified", {})
    monkeypatch.setattr(stage, "_REMEMBERED_BYTES", 0)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which files were hashed."""
    paths: list[str] = []
    original = stage.hash_file

    def count(path: Path) -> str:
        paths.append(str(path))
        return original(path)

    monkeypatch.setattr(stage, "hash_file", count)
    return paths


def write_mosaic(path: Path, *, value: int = 7, dtype: str = "uint8", size: int = 64) -> str:
    options = {"crs": "EPSG:32632", "transform": Affine(1, 0, 500_000, 0, -1, 5_300_000)}
    values = np.full((3, size, size), value, dtype)
    with rasterio.open(
        path, "w", driver="GTiff", width=size, height=size, count=3, dtype=dtype, **options
    ) as file:
        file.write(values)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_open_pixels__a_photograph_is_decoded_whole(tmp_path):
    data = photo_bytes(40, 30)
    (tmp_path / "a.jpg").write_bytes(data)
    source = folder(tmp_path)
    image_id = hashlib.sha256(data).hexdigest()
    with open_pixels(source, "a.jpg", image_id, is_mosaic=False) as pixels:
        assert pixels[5:20, 10:40].shape == (15, 30, 3)
    with (
        pytest.raises(SourceError, match="is not the photograph that was tiled"),
        open_pixels(source, "a.jpg", "0" * 64, is_mosaic=False),
    ):
        pytest.fail("another photograph")


def test_open_pixels__a_mosaic_is_cut_by_windows(tmp_path):
    image_id = write_mosaic(tmp_path / "a.tif")
    source = folder(tmp_path)
    with open_pixels(source, "a.tif", image_id, is_mosaic=True) as pixels:
        assert pixels[10:20, 10:30].shape == (10, 20, 3)
        assert pixels[0:1, 0:1].tolist() == [[[7, 7, 7]]]


def test_open_pixels__heights_are_scaled_as_recorded(tmp_path):
    image_id = write_mosaic(tmp_path / "a.tif", dtype="float32", value=15)
    source = folder(tmp_path)
    with open_pixels(source, "a.tif", image_id, is_mosaic=True, low=10, high=20) as pixels:
        assert pixels[0:1, 0:1].tolist() == [[[128, 128, 128]]]


def test_open_pixels__another_mosaic(tmp_path):
    write_mosaic(tmp_path / "a.tif")
    with (
        pytest.raises(SourceError, match=r"'a.tif' is not the mosaic .* Materialise"),
        open_pixels(folder(tmp_path), "a.tif", "0" * 64, is_mosaic=True),
    ):
        pytest.fail("another mosaic")


def test_open_pixels__the_same_file_is_hashed_once(tmp_path, counted):
    image_id = write_mosaic(tmp_path / "a.tif")
    other_id = write_mosaic(tmp_path / "b.tif", value=8)
    for _ in range(3):
        for name, expected in [("a.tif", image_id), ("b.tif", other_id)]:
            with open_pixels(folder(tmp_path), name, expected, is_mosaic=True):
                pass
    assert len(counted) == 2


def test_open_pixels__a_small_file_is_hashed_each_time(tmp_path, counted, monkeypatch):
    image_id = write_mosaic(tmp_path / "a.tif")
    monkeypatch.setattr(stage, "_REMEMBERED_BYTES", (tmp_path / "a.tif").stat().st_size + 1)
    for _ in range(2):
        with open_pixels(folder(tmp_path), "a.tif", image_id, is_mosaic=True):
            pass
    assert len(counted) == 2


def test_open_pixels__a_time_stamp_set_back_hides_no_change(tmp_path, counted):
    path = tmp_path / "a.tif"
    image_id = write_mosaic(path)
    old_stat = path.stat()
    with open_pixels(folder(tmp_path), "a.tif", image_id, is_mosaic=True):
        pass
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(old_stat.st_atime_ns, old_stat.st_mtime_ns))
    new_stat = path.stat()
    assert (new_stat.st_size, new_stat.st_mtime_ns, new_stat.st_ino) == (
        old_stat.st_size, old_stat.st_mtime_ns, old_stat.st_ino,
    )  # fmt: skip
    with (
        pytest.raises(SourceError, match="its bytes changed"),
        open_pixels(folder(tmp_path), "a.tif", image_id, is_mosaic=True),
    ):
        pytest.fail("other bytes")
    assert len(counted) == 2


def change(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def test_open_pixels__changed_while_it_was_hashed(tmp_path, monkeypatch):
    image_id = write_mosaic(tmp_path / "a.tif")
    original = stage.hash_file

    def hash_and_change(path: Path) -> str:
        digest = original(path)
        change(tmp_path / "a.tif")
        return digest

    monkeypatch.setattr(stage, "hash_file", hash_and_change)
    with (
        pytest.raises(SourceError, match="its bytes changed") as caught,
        open_pixels(folder(tmp_path), "a.tif", image_id, is_mosaic=True),
    ):
        pytest.fail("it changed")
    assert caught.value.__context__ is None


def test_open_pixels__changed_while_it_was_open(tmp_path):
    image_id = write_mosaic(tmp_path / "a.tif")
    with (
        pytest.raises(SourceError, match="its bytes changed"),
        open_pixels(folder(tmp_path), "a.tif", image_id, is_mosaic=True),
    ):
        change(tmp_path / "a.tif")


def test_open_pixels__error_after_a_change_reports_the_change(tmp_path):
    image_id = write_mosaic(tmp_path / "a.tif")
    opening = open_pixels(folder(tmp_path), "a.tif", image_id, is_mosaic=True)
    pixels = opening.__enter__()
    os.truncate(tmp_path / "a.tif", 4000)
    with pytest.raises(UnusableImageError) as cause:
        pixels[60:64, 60:64]
    with pytest.raises(SourceError, match="its bytes changed") as caught:
        opening.__exit__(cause.type, cause.value, None)
    assert caught.value.__context__ is cause.value


def test_open_pixels__other_errors_are_unchanged(tmp_path):
    image_id = write_mosaic(tmp_path / "a.tif")
    with (
        pytest.raises(ZeroDivisionError, match="mine"),
        open_pixels(folder(tmp_path), "a.tif", image_id, is_mosaic=True),
    ):
        raise ZeroDivisionError("mine")


def test_open_pixels__replaced_path_has_no_effect(tmp_path):
    """The descriptor stays with what was hashed. Only the old file's count of names changes."""
    image_id = write_mosaic(tmp_path / "a.tif")
    write_mosaic(tmp_path / "b.tif", value=9)
    opening = open_pixels(folder(tmp_path), "a.tif", image_id, is_mosaic=True)
    with opening as pixels:
        (tmp_path / "b.tif").replace(tmp_path / "a.tif")
        assert pixels[0:1, 0:1].tolist() == [[[7, 7, 7]]]


def test_open_pixels__without_rasterio(tmp_path, monkeypatch):
    image_id = write_mosaic(tmp_path / "a.tif")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with (
        pytest.raises(MissingExtraError, match=r"dino-assets\[geo\]"),
        open_pixels(folder(tmp_path), "a.tif", image_id, is_mosaic=True),
    ):
        pytest.fail("no rasterio")


@pytest.mark.parametrize("size", [0, 1, 4 * 2**20, 4 * 2**20 + 1])
def test_hash_file__equals_hashing_all_bytes(tmp_path, size):
    data = np.random.default_rng(0).bytes(size)
    (tmp_path / "a").write_bytes(data)
    assert hash_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()
