"""Photographs that a viewer turned: what becomes of their place in every output."""

import json
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.compute as pc
import pytest

from dino_assets.demo.flights.draw import draw_flights
from dino_assets.errors import CommitRefusedError
from dino_assets.images.ground.geoparquet import decode_wkb
from dino_assets.images.stage.drafting import draft_images
from dino_assets.images.stage.footprint_files import write_footprints
from dino_assets.images.stage.judging import judge_findings, read_findings
from dino_assets.store.commits.protocol import Draft, OutputWriter
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.grid import TileGrid, make_grid
from dino_assets.tiles.stage import draft_tiles, judge_tiles
from dino_assets_tests.conftest import REPOSITORY, photo_bytes
from dino_assets_tests.worlds.inboxes import (
    CountingSource,
    commit_images,
    drone_photo,
    fill_bytes,
    make_drop,
)
from dino_assets_tests.worlds.turned_flights import (
    VIEWER,
    draw_ground,
    photograph,
    turn_in_viewer,
)

GROUND = draw_ground()
REAL = REPOSITORY.parent / "shared" / "flight"
M_PER_DEG = 111_195.0


@pytest.fixture
def memory() -> ObjectStore:
    return ObjectStore.in_memory()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw_flights(folder, scale=0.125)
    return folder


def fly(
    turned: dict[int, int], *, count: int = 5, ground=GROUND, step_m: float = 20.0
) -> dict[str, bytes]:
    """Draw pictures of one flight line with 70 % overlap."""
    return {
        f"DJI_{n:04d}.JPG": photograph(
            ground, n, at=(0.0, step_m * (n - count / 2)), turned_deg=turned.get(n)
        )
        for n in range(1, count + 1)
    }


def rows_of(store: ObjectStore, folder: Path, files: dict[str, bytes]) -> dict[str, dict]:
    table = commit_images(store, "d", fill_bytes(folder, files)).read("d")
    return {row["path"][4:8]: row for row in table.to_pylist()}


def tile_centers(store: ObjectStore) -> dict[str, np.ndarray]:
    """Longitude and latitude (4 × 3 tiles of 100 px) by picture, metres each, as the picture shows them."""
    images = open_table(store, "images")
    commit(store, draft_tiles(images, "d", TileGrid(100, 0.0, 0, 1)))
    centers = {}
    for row in open_table(store, "tiles").read("d").to_pylist():
        grid = centers.setdefault(row["path"][4:8], np.zeros((3, 4, 2)))
        position = row["center_longitude"] - 11, row["center_latitude"] - 47
        grid[row["y"] // 100, row["x"] // 100] = np.array(position) * M_PER_DEG
    return centers


def test_images__turned_picture_is_placed_by_its_neighbours(memory: ObjectStore, tmp_path: Path):
    straight_store, turned_store = ObjectStore.in_memory(), memory
    straight_rows = rows_of(straight_store, tmp_path / "a", fly({}))
    rows = rows_of(turned_store, tmp_path / "b", fly({3: 180}))
    assert {name: row["turned_deg"] for name, row in rows.items()} == {
        "0001": None, "0002": None, "0003": 180, "0004": None, "0005": None,
    }  # fmt: skip
    assert {row["place_quality"] for row in rows.values()} == {"gps-nadir"}
    # What the file says stays what the file says.
    for column in ("gimbal_yaw_deg", "gimbal_roll_deg", "latitude", "longitude", "orientation"):
        assert rows["0003"][column] == straight_rows["0003"][column]
    centers, turned_centers = tile_centers(straight_store), tile_centers(turned_store)
    assert np.abs(centers["0003"][::-1, ::-1] - turned_centers["0003"]).max() < 0.01
    assert np.abs(centers["0003"] - turned_centers["0003"]).max() > 40  # what was stored before
    assert np.abs(centers["0002"] - turned_centers["0002"]).max() == 0


@pytest.mark.parametrize("turned_deg", [90, 270])
def test_images__a_quarter_of_a_turn(memory: ObjectStore, tmp_path: Path, turned_deg: int):
    straight_row = rows_of(ObjectStore.in_memory(), tmp_path / "a", fly({}))["0003"]
    row = rows_of(memory, tmp_path / "b", fly({3: turned_deg}))["0003"]
    assert (row["width"], row["height"], row["turned_deg"]) == (300, 400, turned_deg)
    rings = [np.array(decode_wkb(each["geometry"])[0][:4]) for each in (straight_row, row)]
    straight_ring, turned_ring = (ring[np.lexsort(ring.T)] for ring in rings)
    assert np.abs(straight_ring - turned_ring).max() * M_PER_DEG < 0.01
    assert row["gsd_m"] == pytest.approx(straight_row["gsd_m"])


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_images__turned_by_its_orientation_alone(
    memory: ObjectStore, tmp_path: Path, orientation: int
):
    """The pixels are stored as the camera wrote them, so they lie where its angles say."""
    files = fly({})
    straight_row = rows_of(ObjectStore.in_memory(), tmp_path / "a", files)["0003"]
    files["DJI_0003.JPG"] = turn_in_viewer(files["DJI_0003.JPG"], 0, orientation=orientation)
    row = rows_of(memory, tmp_path / "b", files)["0003"]
    assert (row["orientation"], row["turned_deg"]) == (orientation, 0)
    rings = [np.array(decode_wkb(each["geometry"])[0][:4]) for each in (straight_row, row)]
    straight_ring, turned_ring = (ring[np.lexsort(ring.T)] for ring in rings)
    assert np.abs(straight_ring - turned_ring).max() * M_PER_DEG < 0.01


def test_images__edited_and_not_turned(memory: ObjectStore, tmp_path: Path):
    """An exporter writes whole flights anew, and turns nothing."""
    rows = rows_of(memory, tmp_path / "f", fly(dict.fromkeys(range(1, 6), 0)))
    assert {(row["turned_deg"], row["place_quality"]) for row in rows.values()} == {
        (0, "gps-nadir")
    }
    assert {row["edited_by"] for row in rows.values()} == {VIEWER}


def test_images__a_whole_flight_turned(memory: ObjectStore, tmp_path: Path):
    rows = rows_of(memory, tmp_path / "f", fly(dict.fromkeys(range(1, 6), 180)))
    assert {(row["turned_deg"], row["place_quality"]) for row in rows.values()} == {
        (180, "gps-nadir")
    }


@pytest.mark.parametrize("turned_deg", [0, 180])
def test_outputs__edited_picture_has_its_own_place_quality(
    local_store: ObjectStore, tmp_path: Path, turned_deg: int
):
    """Even ground proves nothing, so a filter for gps-nadir excludes these pictures."""
    files = fly({3: turned_deg}, ground=draw_ground(contrast=0.0))
    row = rows_of(local_store, tmp_path / "f", files)["0003"]
    assert (row["turned_deg"], row["place_quality"]) == (None, "edited-nadir")
    assert row["gsd_m"] is not None
    commit(local_store, draft_tiles(open_table(local_store, "images"), "d", make_grid(512)))
    for asset in ("images", "tiles"):
        table = open_table(local_store, asset)
        rows = table.read("d").to_pylist()
        edited_paths = [row["path"] for row in rows if row["place_quality"] == "edited-nadir"]
        assert set(edited_paths) == {"DJI_0003.JPG"}
        assert sum(row["place_quality"] == "gps-nadir" for row in rows) == 4
        for name in ("out.geojson", "out.gpkg"):
            write_footprints(table, "d", path=tmp_path / name)
            frame = geopandas.read_file(tmp_path / name)
            assert frame[frame.place_quality == "edited-nadir"].path.tolist() == edited_paths


def test_images__oblique_pictures_stay_edited(memory: ObjectStore, tmp_path: Path):
    pitch = b'drone-dji:GimbalPitchDegree="-'
    files = {
        name: data.replace(pitch + b"90", pitch + b"70") for name, data in fly({3: 180}).items()
    }
    rows = rows_of(memory, tmp_path / "f", files)
    assert {name: row["place_quality"] for name, row in rows.items()} == {
        name: "edited-oblique" if name == "0003" else "oblique" for name in rows
    }


@pytest.mark.parametrize(("pitch_deg", "cut_in_pixels"), [(90, 0), (70, 1)])
def test_draft_tiles__edited_picture_keeps_its_scale(
    memory: ObjectStore, tmp_path: Path, pitch_deg: int, cut_in_pixels: int
):
    pitch = b'drone-dji:GimbalPitchDegree="-'
    data = fly({1: 180}, count=1)["DJI_0001.JPG"]
    data = data.replace(pitch + b"90", pitch + b"%d" % pitch_deg)
    other_file = {"other.jpg": drone_photo(size=(400, 300), seed=3)}
    images = commit_images(
        memory, "d", fill_bytes(tmp_path / "f", {"DJI_0001.JPG": data} | other_file)
    )
    grid = TileGrid(64, 0.0, 0, 1, side_m=20.0)
    commit(memory, draft_tiles(images, "d", grid))
    tiles = open_table(memory, "tiles")
    assert tiles.manifest("d").facts["cut_in_pixels"] == cut_in_pixels
    sides = {row["w"] for row in tiles.read("d").to_pylist() if row["path"] == "DJI_0001.JPG"}
    # 50 m above, a pixel is 21 cm: 20 m are 94 px.
    assert sides == ({64} if cut_in_pixels else {94})


def test_images__reads_only_neighbours_of_edited_pictures_again(
    memory: ObjectStore, tmp_path: Path
):
    source = CountingSource(fill_bytes(tmp_path / "a", fly({})))
    commit_images(memory, "d", source.folder.folder, source=source)
    assert sorted(source.was_read) == [f"DJI_{n:04d}.JPG" for n in range(1, 6)]
    source = CountingSource(fill_bytes(tmp_path / "b", fly({1: 180}, count=12)))
    commit_images(memory, "e", source.folder.folder, source=source)
    repeated_paths = {path for path, count in Counter(source.was_read).items() if count == 2}
    assert set(source.was_read) - repeated_paths == {f"DJI_{n:04d}.JPG" for n in (1, *range(4, 13))}


def test_images__a_picture_that_changes_before_it_is_compared(memory: ObjectStore, tmp_path: Path):
    folder = fill_bytes(tmp_path / "f", fly({3: 180}))
    paths = []

    def change(path: str) -> None:
        paths.append(path)
        if len(paths) == 5:
            (folder / "DJI_0002.JPG").write_bytes(fly({2: 90})["DJI_0002.JPG"])

    drop, source = make_drop("d", folder), CountingSource(folder, on_read=change)
    with pytest.raises(CommitRefusedError) as caught:
        commit(memory, draft_images(drop, source, threads=1))
    assert caught.value.reason == "changed"


def test_report__names_turned_pictures_and_their_proofs(memory: ObjectStore, tmp_path: Path):
    rows_of(memory, tmp_path / "f", fly({3: 180, 5: 0}))
    images = open_table(memory, "images")
    findings = {
        finding.kind: (finding.path, finding.other)
        for finding in read_findings(images, "d")
        if VIEWER in finding.detail
    }
    assert findings == {
        "turned": ("DJI_0003.JPG", "DJI_0002.JPG"),
        "edited": ("DJI_0005.JPG", "DJI_0004.JPG"),
    }
    sentence = judge_findings(images, "d", today=date(2024, 7, 1)).sentence
    assert "1 edited" in sentence
    assert "turned" not in sentence  # its place is right: nothing to look at


def test_correct_turns__keeps_order_and_files(memory: ObjectStore, tmp_path: Path):
    """More than are held back, and pictures without a place among them."""
    files = fly({4: 180}, count=5) | {
        f"x{n:03d}.jpg": photo_bytes(16, 12, seed=n) for n in range(120)
    }
    table = commit_images(memory, "d", fill_bytes(tmp_path / "f", files)).read("d")
    assert table["path"].to_pylist() == sorted(files)
    assert table.filter(pc.field("turned_deg") == 180)["path"].to_pylist() == ["DJI_0004.JPG"]


def test_draft_tiles__images_of_an_earlier_version(memory: ObjectStore, tmp_path: Path):
    """They know of no turns; their tiles are cut all the same."""
    images = commit_images(memory, "d", fill_bytes(tmp_path / "f", fly({})))
    old_table = images.read("d").drop_columns(["turned_deg"])
    manifest = images.manifest("d")
    recipe = replace(manifest.recipe, code_version="5")

    def produce(out: OutputWriter) -> None:
        out.rows(old_table.combine_chunks().to_batches()[0])
        out.facts(dict(manifest.facts))

    commit(memory, Draft(recipe, produce, old_table.schema))
    images = open_table(memory, "images")
    commit(memory, draft_tiles(images, "d", make_grid(512)))
    rows = open_table(memory, "tiles").read("d").to_pylist()
    assert {row["place_quality"] for row in rows} == {"gps-nadir"}
    assert judge_tiles(images, open_table(memory, "tiles"), "d").passed


@pytest.mark.parametrize("turned_deg", [0, 90, 180, 270])
@pytest.mark.parametrize("drop", ["ridge-north", "river-burn"])
def test_images__turned_pictures_of_drawn_flights(
    memory: ObjectStore, drawn: Path, tmp_path: Path, drop: str, turned_deg: int
):
    """Farmland with woods, burnt ground with a river: all pictures lie where the truth says."""
    names = [f"DJI_{n:04d}.JPG" for n in (1, 2, 3)]
    files = {name: (drawn / drop / "DCIM/100MEDIA" / name).read_bytes() for name in names}
    files[names[1]] = turn_in_viewer(files[names[1]], turned_deg)
    rows = rows_of(memory, tmp_path / "f", files)
    assert [row["turned_deg"] for row in rows.values()] == [None, turned_deg, None]
    assert {row["place_quality"] for row in rows.values()} == {"gps-nadir"}
    truth = json.loads((drawn / "truth.geojson").read_text())["features"]
    for feature in truth:
        properties = feature["properties"]
        if properties["drop"] != drop or properties["class"] != "image":
            continue
        row = rows[properties["file"][-8:-4]]
        expected = np.array(feature["geometry"]["coordinates"][0][:4])
        corners = np.array(decode_wkb(row["geometry"])[0][:4])
        distances = np.abs(corners[:, None] - expected[None]).max(-1).min(1)
        assert distances.max() * M_PER_DEG < 0.1


def test_images__two_real_photographs_were_turned(memory: ObjectStore):
    """Windows Photo Viewer turned them; each overlaps the other, and one the next line a little."""
    if len(list(REAL.glob("*.JPG"))) != 6:
        pytest.skip("the six real photographs are not beside this checkout (shared/flight)")
    rows = commit_images(memory, "d", REAL).read("d").to_pylist()
    assert {row["path"][6:8]: row["turned_deg"] for row in rows} == {
        "18": None, "19": None, "20": None, "24": 180, "25": 180, "30": None,
    }  # fmt: skip
    assert {row["place_quality"] for row in rows} == {"gps-nadir"}
