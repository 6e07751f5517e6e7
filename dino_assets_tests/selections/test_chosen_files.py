"""A round as it leaves: pictures, CSV and files for QGIS, read back by other programs."""

import json
from dataclasses import replace
from pathlib import Path

import geopandas
import pandas
import pyogrio
import pytest

from dino_assets.errors import ConfigError, DiskFullError, NotCommittedError
from dino_assets.selections.records import ChosenTile
from dino_assets.selections.stage.chosen_files import (
    export_round,
    name_picture,
    write_chosen_footprints,
)
from dino_assets.selections.stage.drafting import SCHEMA, SHEET
from dino_assets.store.commits.columns import make_batch
from dino_assets.store.commits.protocol import Draft, NamedBytes, OutputId, Recipe
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.grid import make_grid
from dino_assets.tiles.stage import draft_tiles
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.inboxes import commit_images, drone_photo, fill_bytes
from dino_assets_tests.worlds.outputs import pushing
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.targets import mounted
from dino_assets_tests.worlds.turned_flights import turn_in_viewer

TILE = ChosenTile(1, 1, "d", "t", "i", "a.jpg", 0, 0, 512, 512, "first", None, None, None, None)


@pytest.fixture
def memory() -> ObjectStore:
    return ObjectStore.in_memory()


def commit_round(store: ObjectStore, chosen: list[ChosenTile], *, space: str = "s") -> None:
    def produce():
        yield make_batch(chosen, SCHEMA)
        yield NamedBytes(SHEET, b"sheet")
        for tile in chosen:
            yield NamedBytes(tile.picture, f"picture {tile.rank}".encode())

    recipe = Recipe(OutputId("selections", "round-0001", space), "1", {"tiles": len(chosen)})
    commit(store, Draft(recipe, pushing(produce), SCHEMA))


def choose(rank: int, row: dict, drop: str = "d") -> ChosenTile:
    names = ("tile_id", "image_id", "path", "x", "y", "w", "h")
    return ChosenTile(
        round=1,
        rank=rank,
        drop=drop,
        **{name: row[name] for name in names},
        reason="central" if rank == 1 else "farthest",
        cluster=7 if rank == 1 else None,
        distance=None if rank == 1 else 0.5,
        latitude=row["center_latitude"],
        longitude=row["center_longitude"],
    )


@pytest.fixture
def chosen(memory: ObjectStore, tmp_path: Path) -> list[ChosenTile]:
    """A round of three: a tile with a place, one without, one that `tiles` has no more."""
    photos = {
        "100MEDIA/Süd 1.JPG": drone_photo(size=(1200, 900)),
        "lost.jpg": photo_bytes(1200, 900),
    }
    images = commit_images(memory, "d", fill_bytes(tmp_path / "f", photos))
    commit(memory, draft_tiles(images, "d", make_grid(512)))
    tile_rows = open_table(memory, "tiles").read("d").to_pylist()
    placed_row = [row for row in tile_rows if row["path"] != "lost.jpg"][-1]
    lost_row = next(row for row in tile_rows if row["path"] == "lost.jpg")

    rows = [choose(1, placed_row), choose(2, lost_row), choose(3, placed_row, "gone")]
    commit_round(memory, rows)
    return rows


def test_export_round__reports_a_doubtful_place(memory: ObjectStore, tmp_path: Path):
    """A viewer wrote the file anew, and no neighbour shows whether it turned it."""
    photo = turn_in_viewer(drone_photo(size=(1200, 900)), 180)
    images = commit_images(memory, "d", fill_bytes(tmp_path / "f", {"a.jpg": photo}))
    commit(memory, draft_tiles(images, "d", make_grid(512)))
    commit_round(memory, [choose(1, open_table(memory, "tiles").read("d").to_pylist()[0])])
    folder = tmp_path / "out"
    list(export_round(memory, "round-0001", folder=folder, say=print))
    tables = [pandas.read_csv(folder / "chosen.csv")]
    tables += [
        geopandas.read_file(folder / "chosen.gpkg", layer=layer)
        for layer in ("footprints", "centres")
    ]
    assert [table["place_quality"].tolist() for table in tables] == [["edited-nadir"]] * 3


def test_export_round__csv_and_geopackage(memory, chosen, tmp_path):
    folder, messages = tmp_path / "out", []
    paths = list(export_round(memory, "round-0001", folder=folder, say=messages.append))
    names = {str(path.relative_to(folder)) for path in paths}
    pictures = {name for name in names if name.startswith("tiles/")}
    assert names - pictures == {SHEET, "selections-0.parquet", "chosen.csv", "chosen.gpkg"}
    assert all(path.is_file() for path in paths)

    table = pandas.read_csv(folder / "chosen.csv")
    assert table["rank"].tolist() == [1, 2, 3]
    assert table["reason"].tolist() == ["central", "farthest", "farthest"]
    assert table["drop"].tolist() == ["d", "d", "gone"]
    assert table["photograph"].tolist() == [tile.path for tile in chosen]
    assert table["place_quality"].fillna("").tolist() == ["gps-nadir", "none", ""]
    assert table["latitude"][0] == chosen[0].latitude
    assert table["latitude"].isna().tolist() == [False, True, False]
    assert set(table["file"]) == pictures
    for rank, name in zip(table["rank"], table["file"], strict=True):
        assert (folder / name).read_text() == f"picture {rank}"

    geopackage = folder / "chosen.gpkg"
    kinds = dict(pyogrio.list_layers(geopackage))
    assert kinds == {"footprints": "Polygon", "centres": "Point"}
    footprints = geopandas.read_file(geopackage, layer="footprints")
    assert footprints.crs.to_epsg() == 4326
    assert footprints["rank"].tolist() == [1]
    assert footprints["cluster"].tolist() == [7]
    centres = geopandas.read_file(geopackage, layer="centres")
    assert centres["rank"].tolist() == [1, 3]
    assert centres["photograph"].tolist() == [chosen[0].path, chosen[2].path]
    assert centres["reason"].tolist() == ["central", "farthest"]
    (tile,) = footprints.to_crs(32632).geometry
    assert tile.contains(centres.to_crs(32632).geometry[0])
    (message,) = messages
    assert message.startswith("1 of 3 tiles without a known place: chosen.csv has all")


def test_export_round__nothing_has_a_place(memory, chosen, tmp_path):
    lost_tiles = [replace(tile, rank=1) for tile in chosen if tile.latitude is None]
    commit_round(memory, lost_tiles)
    messages: list[str] = []
    paths = list(export_round(memory, "round-0001", folder=tmp_path / "out", say=messages.append))
    assert "chosen.gpkg" not in {path.name for path in paths}
    assert messages[0].endswith("chosen.gpkg is not written")


def test_export_round__writes_the_other_files_without_pyogrio(
    memory, chosen, tmp_path, monkeypatch
):
    monkeypatch.setitem(__import__("sys").modules, "pyogrio.raw", None)
    messages: list[str] = []
    paths = list(export_round(memory, "round-0001", folder=tmp_path / "out", say=messages.append))
    assert (tmp_path / "out" / "chosen.csv") in paths
    assert not list((tmp_path / "out").glob("*.gpkg"))
    assert "dino-assets[geo]" in messages[-1]


def test_export_round__spaces_stay_apart(memory, chosen, tmp_path):
    commit_round(memory, chosen[:1], space="t")
    list(export_round(memory, "round-0001", folder=tmp_path / "out", say=print))
    for space, rows in (("s", 3), ("t", 1)):
        assert len(pandas.read_csv(tmp_path / "out" / space / "chosen.csv")) == rows
    with raising(ConfigError, setting="space", reason="several"):
        write_chosen_footprints(memory, "round-0001", path=tmp_path / "c.gpkg")
    counts = write_chosen_footprints(memory, "round-0001", path=tmp_path / "c.gpkg", space="t")
    assert counts == (1, 0)


def test_export_round__a_full_disk_leaves_nothing_half_written(memory, chosen, tmp_path):
    with mounted(tmp_path / "disk", "size=96k") as disk:
        with pytest.raises(DiskFullError):
            list(export_round(memory, "round-0001", folder=disk, say=print))
        assert not list(disk.rglob("*.gpkg"))
        assert not list(disk.rglob(".*"))
        assert len(pandas.read_csv(disk / "chosen.csv")) == 3


def test_write_chosen_footprints__geojson_has_each_tile_once(memory, chosen, tmp_path):
    target = tmp_path / "chosen.geojson"
    assert write_chosen_footprints(memory, "round-0001", path=target) == (2, 1)
    features = json.loads(target.read_text())["features"]
    kinds = [(f["properties"]["rank"], f["geometry"]["type"]) for f in features]
    assert kinds == [(1, "Polygon"), (3, "Point")]
    longitude, latitude = features[1]["geometry"]["coordinates"]
    assert (longitude, latitude) == pytest.approx((chosen[2].longitude, chosen[2].latitude))
    with pytest.raises(NotCommittedError):
        write_chosen_footprints(memory, "round-0002", path=target)
    with raising(ConfigError, setting="path", reason="format"):
        write_chosen_footprints(memory, "round-0001", path=tmp_path / "chosen.shp")


def test_name_picture__rank_drop_photograph_corner():
    tile = replace(TILE, drop="ridge-north", path="100MEDIA/DJI_0018.JPG", x=259, y=0)
    assert name_picture(tile, of=20) == "tiles/001_ridge-north_DJI_0018_x0259y0000.jpg"
    assert name_picture(tile, of=20_000).startswith("tiles/00001_")


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("a/Süd 1.JPG", "Sued-1"),
        ('a:b*c?"<>|.jpg', "a-b-c"),
        ("…/.jpg", "jpg"),
        ("🙂\\udce9.jpg", None),
        ("x" * 300 + ".jpg", "x" * 60),
    ],
)
def test_name_picture__uses_portable_letters(path: str, stem: str | None):
    name = name_picture(replace(TILE, path=path), of=3)
    assert name.isascii()
    assert not set(name.removeprefix("tiles/")) & set('\\/:*?"<>| ')
    if stem:
        assert name == f"tiles/001_d_{stem}_x0000y0000.jpg"
