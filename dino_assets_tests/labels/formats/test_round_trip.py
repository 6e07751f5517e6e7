"""Labels that leave in a format and come back: ids, windows and classes stay the same."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dino_assets.images.stage.footprint_files import write_geopackage
from dino_assets.labels.formats.boxes import COCO, encode_coco, encode_yolo
from dino_assets.labels.formats.cvat import encode_cvat
from dino_assets.labels.formats.label_studio import encode_tasks
from dino_assets.labels.formats.reading import read_label_file
from dino_assets.labels.formats.records import LabelFile, TileCrop, list_classes
from dino_assets.labels.formats.tables import encode_csv, encode_label_geojson, list_rows
from dino_assets.labels.matching import Matchable, StoredPhotograph, StoredTile, match_rows
from dino_assets.labels.records import MAX_CLASS_CHARS, Window
from dino_assets.labels.stage.round_files import make_table
from dino_assets_tests.worlds.labelling import make_crop

WIDTH, HEIGHT = 4000, 3000
CLASSES = st.text(min_size=1, max_size=MAX_CLASS_CHARS).filter(
    lambda name: name.isprintable() and name == name.strip()
)


@st.composite
def crops(draw: st.DrawFn) -> list[TileCrop]:
    """Tiles of photographs, whole and scaled, some with a class and some with boxes."""
    built: list[TileCrop] = []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        side = draw(st.sampled_from([200, 256, 777]))
        window = Window(draw(st.integers(0, 3000)), draw(st.integers(0, 2000)), side, side)
        windows: dict[Window, str] = {}
        for name in draw(st.lists(CLASSES, max_size=3)):
            x = draw(st.just(0) | st.integers(0, side - 10))
            y = draw(st.integers(0, side - 10))
            w, h = draw(st.integers(1, side - x - 2)), draw(st.integers(1, side - y))
            # One that the left edge cuts: at least half of it is visible.
            cut = draw(st.integers(0, min(w, window.x, 50))) if x == 0 else 0
            windows[Window(window.x + x - cut, window.y + y, w + cut, h)] = name
        by_class = {name: each for each, name in windows.items()}
        built.append(
            make_crop(
                number,
                window=window,
                class_name=draw(st.none() | CLASSES),
                boxes=by_class,
                shown=draw(st.sampled_from([None, (side + 100, side + 100)])),
                side=draw(st.sampled_from([224, 256])),
            )
        )
    return built


def write_coco(folder: Path, crops: Sequence[TileCrop], classes: list[str]) -> Path:
    (folder / COCO).parent.mkdir()
    (folder / COCO).write_bytes(encode_coco(crops, classes))
    return folder


def write_yolo(folder: Path, crops: Sequence[TileCrop], classes: list[str]) -> Path:
    (folder / "labels").mkdir()
    for name, data in encode_yolo(crops, classes).items():
        (folder / name).write_bytes(data)
    return folder


def write_cvat(folder: Path, crops: Sequence[TileCrop], classes: list[str]) -> Path:
    (folder / "annotations.xml").write_bytes(encode_cvat(crops, classes))
    return folder / "annotations.xml"


def write_tasks(folder: Path, crops: Sequence[TileCrop], classes: list[str]) -> Path:
    (folder / "tasks.json").write_bytes(encode_tasks(crops))
    return folder / "tasks.json"


def write_csv(folder: Path, crops: Sequence[TileCrop], classes: list[str]) -> Path:
    (folder / "labels.csv").write_bytes(encode_csv(list_rows(crops)))
    return folder


def write_geojson(folder: Path, crops: Sequence[TileCrop], classes: list[str]) -> Path:
    rows = list_rows(crops)
    (folder / "a.geojson").write_bytes(encode_label_geojson(rows, [None] * len(rows)))
    return folder / "a.geojson"


def write_gpkg(folder: Path, crops: Sequence[TileCrop], classes: list[str]) -> Path:
    rows = list_rows(crops)
    write_geopackage(folder / "a.gpkg", {"labels": make_table(rows, [None] * len(rows))})
    return folder / "a.gpkg"


WRITERS = [write_coco, write_yolo, write_cvat, write_tasks, write_csv, write_geojson, write_gpkg]


def store_of(crops: Sequence[TileCrop]) -> Matchable:
    tiles = {c.tile_id: StoredTile(c.tile_id, c.image_id, c.drop, c.path, c.frame) for c in crops}
    photographs = [StoredPhotograph(c.image_id, c.drop, c.path, WIDTH, HEIGHT) for c in crops]
    boxes = {crop.image_id: [each.window for each in crop.boxes] for crop in crops}
    return Matchable(tiles, {}, photographs, boxes)


def is_clear(crop: TileCrop) -> bool:
    """No two boxes have one visible part, and none is as large as the crop."""
    visible = {frame_box for each in crop.boxes if (frame_box := crop.frame.to_crop(each.window))}
    rounded = {tuple(round(number / 2) for number in box) for box in visible}
    whole = any(crop.frame.is_whole(box) for box in visible)
    return len(rounded) == len(crop.boxes) and not whole


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
@given(crops=crops().filter(lambda each: all(map(is_clear, each))))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_round_trip__keeps_ids_windows_and_classes(
    write: Callable[..., Path], crops: list[TileCrop]
):
    labelled = [crop for crop in crops if crop.list_boxes()]
    if not labelled:
        return
    file = send(write, crops)
    assert file.rejected == ()
    matched = match_rows(file.rows, store_of(crops))
    assert matched.rejected == ()
    came_back = sorted((each.target.key, each.row.class_name) for each in matched.rows)
    sent = [(f"tile/{c.tile_id}", c.class_name) for c in crops if c.class_name is not None]
    for crop in crops:
        for each in crop.boxes:
            box = each.window
            place = f"box/{crop.image_id}/{box.x},{box.y},{box.w},{box.h}"
            sent.append((place, each.class_name))
    assert came_back == sorted(sent)
    assert {each.target.image_id for each in matched.rows} == {c.image_id for c in labelled}


def send(write: Callable[..., Path], crops: list[TileCrop]) -> LabelFile:
    with tempfile.TemporaryDirectory() as place:
        return read_label_file(write(Path(place), crops, list_classes(tuple(crops))))


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_round_trip__counts_what_has_no_class(write: Callable[..., Path]):
    file = send(write, [make_crop(1, class_name="smoke"), make_crop(2), make_crop(3)])
    assert (len(file.rows), file.unlabelled) == (1, 2)
