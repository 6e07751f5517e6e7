"""An exported round as other programs read it: with labels, and without any."""

import hashlib
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import geopandas
import pandas
import pytest
import yaml
from PIL import ExifTags, Image
from shapely.geometry import box as shapely_box

from dino_assets.errors import CorruptObjectError, NotCommittedError
from dino_assets.images.capture.exif import read_exif_position
from dino_assets.labels.export_settings import LabelExportSettings
from dino_assets.labels.formats.boxes import COCO
from dino_assets.labels.formats.records import Suggestion, Suggestions
from dino_assets.labels.records import Window
from dino_assets.labels.stage.exporting import Suggest, export_labels
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.reading import open_table
from dino_assets_tests.worlds.labelling import DROP, ROUND, SIDE, SPACE, LabelWorld, commit_chosen


def export(
    world: LabelWorld,
    folder: Path,
    settings: LabelExportSettings | None = None,
    suggest: Suggest | None = None,
) -> set[str]:
    paths = export_labels(
        world.store, ROUND, folder=folder, settings=settings, suggest=suggest, say=print
    )
    return {path.relative_to(folder).as_posix() for path in paths}


def label_all(world: LabelWorld) -> None:
    """A tile's class, a photograph's, a box in a tile and one that a tile's edge cuts."""
    world.answer(0, "smoke")
    world.answer(4, "rock", level="image", window=Window(0, 0, 640, 480), second=1)
    inside, cut = world.chosen[1], world.chosen[3]
    for second, tile, window in (
        (2, 1, Window(inside.x + 20, inside.y + 30, 50, 60)),
        (3, 3, Window(cut.x - 30, cut.y + 10, 100, 40)),
    ):
        world.answer(tile, "deer", level="box", window=window, second=second)


def test_export__round_without_labels(world: LabelWorld, tmp_path: Path):
    names = export(world, tmp_path / "out", LabelExportSettings(classes=("smoke", "fog")))
    stems = {name[7:-4] for name in names if name.startswith("images/")}
    assert len(stems) == 5
    assert names >= {
        COCO, "data.yaml", "annotations.xml", "manifest.jsonl", "label-studio.json", "label-studio.xml",
        "labels.csv", "labels.geojson", "labels.gpkg", "labels.qml", "README.txt",
    }  # fmt: skip
    assert names >= {f"labels/{stem}.txt" for stem in stems}
    coco = json.loads((tmp_path / "out" / COCO).read_text())
    assert [each["name"] for each in coco["categories"]] == ["fog", "smoke"]
    assert (len(coco["images"]), coco["annotations"]) == (5, [])
    assert {each["file_name"] for each in coco["images"]} == {f"{stem}.jpg" for stem in stems}
    data = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert data["names"] == {0: "fog", 1: "smoke"}
    table = pandas.read_csv(tmp_path / "out" / "labels.csv")
    assert table["class"].isna().all()


def test_export__crops_have_the_rounds_pixels_and_the_photographs_position(
    world: LabelWorld, tmp_path: Path
):
    export(world, tmp_path / "out")
    rounds = open_table(world.store, "selections", space=SPACE).manifest(ROUND)
    stored = {part.name: part for part in rounds.parts}
    for tile in world.chosen:
        path = tmp_path / "out" / "images" / Path(tile.picture).name
        own = read_part(world.store, stored[tile.picture])
        with Image.open(path) as crop, Image.open(io.BytesIO(own)) as picture:
            assert crop.tobytes() == picture.tobytes()
            gps = crop.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        if "Süd" in tile.path:
            assert read_exif_position(gps) == pytest.approx((47, 11), abs=1e-4)
        else:
            assert not gps


def test_export__labels_in_each_format(world: LabelWorld, tmp_path: Path):
    label_all(world)
    out = tmp_path / "out"
    export(world, out)
    coco = json.loads((out / COCO).read_text())
    number_of = {each["file_name"][:4]: each["id"] for each in coco["images"]}
    boxes = {(each["image_id"], tuple(each["bbox"])) for each in coco["annotations"]}
    assert boxes == {
        (number_of["0001"], (0, 0, SIDE, SIDE)),
        (number_of["0002"], (20, 30, 50, 60)),
        (number_of["0004"], (0, 10, 70, 40)),
        (number_of["0005"], (0, 0, SIDE, SIDE)),
    }
    (first, *_) = (out / "labels").glob("0002*")
    assert first.read_text().split() == ["0", "0.17578125", "0.234375", "0.1953125", "0.234375"]
    images = ElementTree.parse(out / "annotations.xml").getroot().findall("image")
    assert [[shape.tag for shape in image] for image in images] == [
        ["tag"], ["box"], [], ["box"], ["tag"],
    ]  # fmt: skip
    tasks = json.loads((out / "label-studio.json").read_text())
    assert [len(task.get("annotations", ())) for task in tasks] == [1, 1, 0, 1, 1]
    table = pandas.read_csv(out / "labels.csv")
    assert table.groupby("level")["class"].count().to_dict() == {"box": 2, "image": 1, "tile": 1}
    (cut,) = table[table["level"].eq("box") & table["file"].str.contains("/0004")].to_dict(
        "records"
    )
    tile = world.chosen[3]
    assert [cut[side] for side in "xywh"] == [tile.x - 30, tile.y + 10, 100, 40]


def test_export__boxes_that_a_tile_shows_by_half_or_that_fill_it_by_half(
    world: LabelWorld, tmp_path: Path
):
    tile = world.chosen[1]
    windows = {
        "mostly outside": Window(tile.x - 60, tile.y, 100, 40),
        "mostly inside": Window(tile.x - 40, tile.y, 100, 40),
        "larger than the tile": Window(0, 0, 1200, 900),
    }
    for second, (name, window) in enumerate(windows.items()):
        world.answer(1, name, level="box", window=window, second=second)
    export(world, tmp_path / "out", LabelExportSettings(formats=("csv",)))
    table = pandas.read_csv(tmp_path / "out" / "labels.csv")
    of_tile = table[table["rank"].eq(2) & table["level"].eq("box")]
    assert set(of_tile["class"]) == {"mostly inside", "larger than the tile"}


def test_export__outlines_of_tiles_and_boxes_on_the_ground(world: LabelWorld, tmp_path: Path):
    label_all(world)
    export(world, tmp_path / "out")
    for name in ("labels.geojson", "labels.gpkg"):
        table = geopandas.read_file(tmp_path / "out" / name)
        assert table.crs.to_epsg() == 4326
        assert len(table) == 7
        has_place = table["photograph"].str.contains("Süd")
        assert table.geometry.notna().tolist() == has_place.tolist()
        tile = table[table["rank"].eq(2) & table["level"].eq("tile")].geometry.iloc[0]
        box = table[table["rank"].eq(2) & table["level"].eq("box")].geometry.iloc[0]
        assert tile.contains(box)
        assert box.area / tile.area == pytest.approx(50 * 60 / SIDE**2, rel=0.02)
        assert shapely_box(*box.bounds).area > 0


def test_export__manifest_of_cvat_has_sizes_and_checksums(world: LabelWorld, tmp_path: Path):
    out = tmp_path / "out"
    export(world, out)
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert lines[:2] == [{"version": "1.1"}, {"type": "images"}]
    for line in lines[2:]:
        data = (out / f"{line['name']}{line['extension']}").read_bytes()
        assert hashlib.md5(data, usedforsecurity=False).hexdigest() == line["checksum"]
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == (line["width"], line["height"])


def test_export__tasks_name_urls_and_suggestions(world: LabelWorld, tmp_path: Path):
    tile_id, other_id = (tile.tile_id for tile in world.chosen[:2])
    settings = LabelExportSettings(
        formats=("label-studio",), image_url="s3://bucket/round 1/images/"
    )
    suggestions = Suggestions({tile_id: Suggestion("smoke", 0.75), other_id: Suggestion("fog")})
    names = export(world, tmp_path / "out", settings, lambda store, space, tiles: suggestions)
    assert COCO not in names
    tasks = json.loads((tmp_path / "out" / "label-studio.json").read_text())
    assert tasks[0]["data"]["image"] == f"s3://bucket/round 1/images/0001_{tile_id}.jpg"
    (prediction,) = tasks[0]["predictions"]
    assert prediction["score"] == 0.75
    assert prediction["result"][0]["value"] == {"choices": ["smoke"]}
    (prediction,) = tasks[1]["predictions"]  # of a prototype, which gives no probability
    assert "score" not in prediction
    assert "predictions" not in tasks[2]
    config = ElementTree.parse(tmp_path / "out" / "label-studio.xml").getroot()
    assert [each.get("value") for each in config.iter("Choice")] == ["fog", "smoke"]
    export(world, tmp_path / "my round", LabelExportSettings(formats=("label-studio",)))
    tasks = json.loads((tmp_path / "my round" / "label-studio.json").read_text())
    assert tasks[0]["data"]["image"].startswith("/data/local-files/?d=my%20round/images/0001_")


def test_export__style_has_a_colour_for_each_class(world: LabelWorld, tmp_path: Path):
    label_all(world)
    export(world, tmp_path / "out")
    root = ElementTree.fromstring((tmp_path / "out" / "labels.qml").read_bytes())
    categories = {each.get("value"): each.get("symbol") for each in root.iter("category")}
    colours = {
        symbol.get("name"): option.get("value")
        for symbol in root.iter("symbol")
        for option in symbol.iter("Option")
        if option.get("name") == "outline_color"
    }
    assert set(categories) == {"deer", "rock", "smoke", ""}
    assert len({colours[symbol] for symbol in categories.values()}) == 4


def test_export__twice_is_the_same(world: LabelWorld, tmp_path: Path):
    label_all(world)
    names = export(world, tmp_path / "a" / "out")
    assert export(world, tmp_path / "b" / "out") == names
    for name in names - {"labels.gpkg"}:  # SQLite writes the time of the change
        assert (tmp_path / "a/out" / name).read_bytes() == (tmp_path / "b/out" / name).read_bytes()


def test_export__spaces_stay_apart(world: LabelWorld, tmp_path: Path):
    commit_chosen(world.store, world.chosen[:1], {world.chosen[0].picture: b"\xff\xd8x"}, space="t")
    names = export(world, tmp_path / "out")
    assert {name.partition("/")[0] for name in names} == {SPACE, "t"}


def test_export__absent_round_or_lost_picture(world: LabelWorld, tmp_path: Path):
    with pytest.raises(NotCommittedError):
        list(export_labels(world.store, "round-0002", folder=tmp_path / "out", say=print))
    rounds = open_table(world.store, "selections", space=SPACE).manifest(ROUND)
    lost = next(part for part in rounds.parts if part.name == world.chosen[2].picture)
    world.store.delete(lost.key)
    with pytest.raises(CorruptObjectError):
        export(world, tmp_path / "out")


def test_export__tile_that_is_no_longer_in_tiles(world: LabelWorld, tmp_path: Path):
    world.store.delete(f"manifests/tiles/_/{DROP}.json")
    export(world, tmp_path / "out")
    assert len(json.loads((tmp_path / "out" / COCO).read_text())["images"]) == 5
