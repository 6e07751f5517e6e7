"""What becomes of single files: labels, twins, thermal pictures, places, mosaics, missing extras."""

import json
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dino_assets.drops.records import MAX_FILE_BYTES
from dino_assets.drops.sources.opening import open_source
from dino_assets.errors import ConfigError
from dino_assets.images import rows as stage
from dino_assets.images.rows import ReadingOptions, name_readers
from dino_assets.images.stage.drafting import draft_images, sort_files
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.inboxes import (
    CountingSource,
    commit_images,
    drone_photo,
    fill,
    fill_bytes,
    make_drop,
    write_mosaic,
)


@pytest.fixture
def memory() -> ObjectStore:
    return ObjectStore.in_memory()


def rows_of(store: ObjectStore, folder: Path, **options: object) -> dict[str, dict]:
    return {
        row["path"]: row
        for row in commit_images(store, "d", folder, **options).read("d").to_pylist()
    }


# --- what a camera wrote --------------------------------------------------------------------


def test_images__a_drone_photograph(memory: ObjectStore, tmp_path: Path):
    folder = fill_bytes(tmp_path / "f", {"DJI_0001.JPG": drone_photo(altitude_m=50)})
    (row,) = rows_of(memory, folder).values()
    assert row["taken"] == datetime(2024, 6, 14, 10, 5, 12)  # noqa: DTZ001
    assert (row["make"], row["model"]) == ("DJI", "FC300S")
    assert (row["latitude"], row["longitude"]) == (pytest.approx(47), pytest.approx(11))
    assert (row["relative_altitude_m"], row["altitude_m"]) == (50, 600)
    assert (row["gimbal_yaw_deg"], row["gimbal_pitch_deg"]) == (30, -90)
    assert row["place_quality"] == "gps-nadir"
    # 50 m up, 3.61 mm of focal length, 6.17 mm of sensor on 400 px
    assert row["gsd_m"] == pytest.approx(50 * 6.17 / 3.61 / 400, rel=0.02)
    assert (row["center_latitude"], row["center_longitude"]) == (
        pytest.approx(47, abs=1e-5), pytest.approx(11, abs=1e-5),
    )  # fmt: skip
    assert row["sharpness"] > 0
    assert row["thumb"][:4] == b"RIFF"


def test_images__a_fixed_ground_height(memory: ObjectStore, tmp_path: Path):
    folder = fill_bytes(tmp_path / "f", {"a.jpg": drone_photo(altitude_m=50)})
    by_takeoff = rows_of(memory, folder)["a.jpg"]
    drop, source = make_drop("d", folder), open_source(str(folder), root=folder)
    draft = draft_images(drop, source, threads=1, reading=ReadingOptions(ground_m=500))
    assert not commit(memory, draft).was_reused  # part of the recipe
    (by_ground,) = open_table(memory, "images").read("d").to_pylist()
    assert (by_takeoff["height_m"], by_ground["height_m"]) == (50, 100)
    assert by_ground["gsd_m"] == pytest.approx(2 * by_takeoff["gsd_m"])


def test_images__without_a_height_there_is_no_place(memory: ObjectStore, tmp_path: Path):
    photo = drone_photo(xmp=('drone-dji:RelativeAltitude="+50.00"', ""))
    (row,) = rows_of(memory, fill_bytes(tmp_path / "f", {"a.jpg": photo})).values()
    assert row["is_usable"]
    assert (row["place_quality"], row["geometry"], row["gsd_m"]) == ("none", None, None)
    assert row["latitude"] == pytest.approx(47)


def test_images__thermal_pictures_are_tagged(memory: ObjectStore, tmp_path: Path):
    source = 'drone-dji:AbsoluteAltitude="+600.00"'
    infrared = drone_photo(xmp=(source, f'drone-dji:ImageSource="InfraredCamera" {source}'))
    wide = drone_photo(xmp=(source, f'drone-dji:ImageSource="WideCamera" {source}'))
    folder = fill_bytes(
        tmp_path / "f",
        {
            "DJI_20240614100512_0001_V.JPG": infrared,
            "DJI_20240614100512_0001_T.JPG": wide,
            "DJI_20240614100513_0002_T.JPG": drone_photo(seed=3),
            "PLOT_T.JPG": photo_bytes(),
        },
    )
    rows = rows_of(memory, folder)
    assert [path for path, row in rows.items() if row["thermal"]] == [
        "DJI_20240614100512_0001_V.JPG", "DJI_20240614100513_0002_T.JPG",
    ]  # fmt: skip
    assert open_table(memory, "images").manifest("d").facts["thermal"] == 2


# --- labels, twins, two provenances ---------------------------------------------------------


def test_images__class_folders_are_labels(memory: ObjectStore, tmp_path: Path):
    sizes = dict.fromkeys(("smoke/a.jpg", "clear/b/c.jpg", "d.jpg", "100MEDIA/e.jpg"), (8, 8))
    rows = rows_of(memory, fill(tmp_path / "f", sizes))
    assert {path: row["label"] for path, row in rows.items()} == {
        "100MEDIA/e.jpg": None, "clear/b/c.jpg": "clear", "d.jpg": None, "smoke/a.jpg": "smoke",
    }  # fmt: skip


def test_images__label_and_metadata_of_a_list(memory: ObjectStore, tmp_path: Path):
    folder = fill(tmp_path / "f", {"a.jpg": (8, 8), "b.jpg": (9, 9)})
    table = folder / "l.csv"
    table.write_text("image_path,label,site,observer\na.jpg,lemur,north,Rabe\nb.jpg,,south,\n")
    rows = rows_of(memory, table)
    assert (rows["a.jpg"]["label"], rows["b.jpg"]["label"]) == ("lemur", None)
    assert json.loads(rows["a.jpg"]["metadata"]) == {"site": "north", "observer": "Rabe"}
    assert json.loads(rows["b.jpg"]["metadata"]) == {"site": "south"}
    recipe = open_table(memory, "images").manifest("d").recipe
    table.write_text("image_path,label,site,observer\na.jpg,macaque,north,Rabe\nb.jpg,,south,\n")
    assert rows_of(memory, table)["a.jpg"]["label"] == "macaque"
    assert open_table(memory, "images").manifest("d").recipe != recipe


def test_images__a_raw_twin_counts_once(memory: ObjectStore, tmp_path: Path):
    folder = fill(
        tmp_path / "f", {"100MEDIA/DJI_0001.JPG": (8, 8), "101MEDIA/DJI_0001.JPG": (9, 9)}
    )
    (folder / "100MEDIA" / "DJI_0001.DNG").write_bytes(b"raw")
    rows = rows_of(memory, folder)
    assert {path: row["raw_path"] for path, row in rows.items()} == {
        "100MEDIA/DJI_0001.JPG": "100MEDIA/DJI_0001.DNG", "101MEDIA/DJI_0001.JPG": None,
    }  # fmt: skip
    facts = open_table(memory, "images").manifest("d").facts
    assert (facts["usable"], facts["quarantined"], facts["raw_twins"]) == (2, 0, 1)


def test_images__same_bytes_in_two_drops_are_one_image(memory: ObjectStore, tmp_path: Path):
    for name, path in (("d1", "a/x.jpg"), ("d2", "b/y.jpg")):
        commit_images(memory, name, fill_bytes(tmp_path / name, {path: photo_bytes()}))
    table = open_table(memory, "images")
    (first_row,), (second_row,) = (table.read(name).to_pylist() for name in ("d1", "d2"))
    assert first_row["image_id"] == second_row["image_id"]
    assert (first_row["drop"], first_row["path"], second_row["drop"], second_row["path"]) == (
        "d1",
        "a/x.jpg",
        "d2",
        "b/y.jpg",
    )


def test_sort_files__loses_no_entry(tmp_path: Path):
    names = ("a.jpg", "a.dng", "b.dng", "._a.jpg", "c.SRT", "x/__MACOSX/d.jpg", "e")
    folder = fill_bytes(tmp_path / "f", dict.fromkeys(names, b"x"))
    entries = open_source(str(folder), root=folder).entries()
    card = sort_files(entries, is_list=False)
    assert [e.path for e in card.wanted] == ["a.jpg", "b.dng"]
    assert card.raw_of == {"a.jpg": "a.dng"}
    assert len(card.wanted) + len(card.raw_of) + len(card.others) == len(entries)


# --- extras ---------------------------------------------------------------------------------


def test_name_readers__installed_ones(monkeypatch: pytest.MonkeyPatch):
    assert name_readers() == ["pillow_heif", "rasterio", "rawpy"]
    monkeypatch.setattr(stage, "find_spec", lambda name: name == "rawpy" or None)
    assert name_readers() == ["rawpy"]


@pytest.mark.parametrize("name", ["b.heic", "IMG_0001.JPG"])  # phones name them so, too
def test_images__an_extra_that_is_installed_later_is_noticed(
    memory: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    folder = fill(tmp_path / "f", {"a.jpg": (8, 8)})
    (folder / name).write_bytes(heic_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(stage, "find_spec", lambda name: None)
        patch.setitem(__import__("sys").modules, "pillow_heif", None)
        rows = rows_of(memory, folder)
        assert rows[name]["reason"] == "missing-extra"
        assert "pip install 'dino-assets[heic]'" in rows[name]["detail"]
    assert find_spec("pillow_heif")
    rows = rows_of(memory, folder)
    assert (rows[name]["format"], rows[name]["width"]) == ("HEIC", 64)


def heic_bytes() -> bytes:
    import io

    import pillow_heif

    sink = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), (90, 120, 40))).save(sink, format="HEIF")
    return sink.getvalue()


def test_images__pixels_that_are_not_what_the_header_says(
    memory: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stage, "decode_image", lambda data: np.zeros((8, 9, 3), np.uint8))
    (row,) = rows_of(memory, fill(tmp_path / "f", {"a.jpg": (8, 9)})).values()
    assert (row["reason"], row["detail"]) == (
        "undecodable", "its header says 8×9 px, but it has 9×8 px",
    )  # fmt: skip


def test_sort_files__two_raw_files_of_one_shot(tmp_path: Path):
    folder = fill_bytes(tmp_path / "f", dict.fromkeys(("a.jpg", "a.dng", "a.DNG"), b"x"))
    card = sort_files(open_source(str(folder), root=folder).entries(), is_list=False)
    assert (len(card.wanted), card.raw_of, len(card.others)) == (1, {"a.jpg": "a.DNG"}, 0)


def test_images__every_file_is_counted_once(memory: ObjectStore, tmp_path: Path):
    folder = fill(tmp_path / "f", {"a.jpg": (8, 8), "b.jpg": (9, 9)})
    fill_bytes(folder, dict.fromkeys(("a.dng", "a.DNG", "c.SRT", "bad.jpg", "._b.jpg"), b"x"))
    rows_of(memory, folder)
    facts = open_table(memory, "images").manifest("d").facts
    counts = [facts[name] for name in ("usable", "quarantined", "raw_twins", "other_files")]
    assert counts == [2, 1, 2, 2]


def test_images__a_list_that_labels_the_raw_file_wants_it(memory: ObjectStore, tmp_path: Path):
    folder = fill(tmp_path / "f", {"a.jpg": (8, 8), "b.jpg": (9, 9)})
    fill_bytes(folder, {"a.dng": b"x", "b.dng": b"x"})
    (folder / "l.csv").write_text("image_path,label\na.jpg,\na.dng,weed\nb.jpg,crop\nb.dng,\n")
    rows = rows_of(memory, folder / "l.csv")
    assert {path: row["label"] for path, row in rows.items()} == {
        "a.dng": "weed", "a.jpg": None, "b.jpg": "crop",
    }  # fmt: skip


@pytest.mark.parametrize("ground_m", [float("nan"), float("inf"), 1e9])
def test_images__invalid_ground_height(tmp_path: Path, ground_m: float):
    folder = fill(tmp_path / "f", {"a.jpg": (8, 8)})
    with pytest.raises(ConfigError, match=r"ground_m=.*: expected metres above the sea"):
        draft_images(
            make_drop("d", folder), open_source(str(folder), root=folder),
            threads=1, reading=ReadingOptions(ground_m=ground_m),
        )  # fmt: skip


# --- mosaics --------------------------------------------------------------------------------


def test_images__a_mosaic_is_an_image_with_a_place(memory: ObjectStore, tmp_path: Path):
    write_mosaic(tmp_path / "f" / "ortho.TIF")
    (row,) = rows_of(memory, tmp_path / "f").values()
    assert (row["is_usable"], row["is_mosaic"], row["place_quality"]) == (True, True, "ortho")
    assert row["gsd_m"] == pytest.approx(0.05, rel=1e-3)
    assert row["crs"] == "EPSG:32633"
    assert row["thumb"][:4] == b"RIFF"
    assert row["center_longitude"] == pytest.approx(15.0, abs=0.01)
    assert len(row["image_id"]) == 64


def test_images__a_mosaic_without_rasterio(
    memory: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_mosaic(tmp_path / "f" / "ortho.tif")
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    (row,) = rows_of(memory, tmp_path / "f").values()
    assert row["reason"] == "missing-extra"
    assert "dino-assets[geo]" in row["detail"]


@pytest.mark.parametrize("name", ["ortho.jpg", "ortho.TIFF"])
def test_images__a_mosaic_by_any_name_and_size(
    memory: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setattr(stage, "WINDOWED_FROM_BYTES", 1000)
    write_mosaic(tmp_path / "f" / "ortho.tif").rename(tmp_path / "f" / name)
    source = CountingSource(tmp_path / "f")
    (row,) = rows_of(memory, tmp_path / "f", source=source).values()
    assert (row["is_usable"], row["is_mosaic"]) == (True, True)
    assert row["bytes"] == (tmp_path / "f" / name).stat().st_size


def test_images__a_huge_file_that_is_no_mosaic_is_not_read(memory: ObjectStore, tmp_path: Path):
    folder = fill(tmp_path / "f", {"a.jpg": (8, 8)})
    for name in ("huge.tif", "huge.jpg"):
        with (folder / name).open("wb") as file:
            file.truncate(MAX_FILE_BYTES + 1)
    source = CountingSource(folder)
    rows = rows_of(memory, folder, source=source)
    assert {name: rows[name]["reason"] for name in ("huge.tif", "huge.jpg")} == {
        "huge.tif": "too-large", "huge.jpg": "too-large",
    }  # fmt: skip
    assert "huge.jpg" not in source.was_read
