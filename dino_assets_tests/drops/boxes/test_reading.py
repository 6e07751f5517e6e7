"""Boxes of the three formats: what is read, and what becomes of each kind of broken input."""

import json
from pathlib import Path

import pytest

from dino_assets.drops.boxes import reading
from dino_assets.drops.boxes.reading import parse_boxes, read_boxes
from dino_assets.drops.boxes.records import BoxFile, DetectedBox
from dino_assets.errors import InvalidBoxesError
from dino_assets_tests.worlds.raising import raising

COCO = {
    "images": [
        {"id": 1, "file_name": "cam1/a.jpg", "width": 640, "height": 480},
        {"id": 2, "file_name": "cam1/b.jpg", "width": 640, "height": 480},
    ],
    "annotations": [
        {"image_id": 1, "category_id": 7, "bbox": [10, 20, 30, 40], "score": 0.5},
        {"image_id": 2, "category_id": 8, "bbox": [1.5, 2, 3, 4]},
    ],
    "categories": [{"id": 7, "name": "smoke"}, {"id": 8, "name": "fire"}],
}
MEGADETECTOR = {
    "detection_categories": {"1": "animal", "2": "person"},
    "images": [
        {
            "file": "cam1/a.jpg",
            "detections": [{"category": "1", "conf": 0.9, "bbox": [0.1, 0.2, 0.3, 0.4]}],
        },
        {"file": "cam1/b.jpg", "detections": []},
        {"file": "cam1/c.jpg", "failure": "image access failure"},
    ],
}


def parse(body: object) -> BoxFile:
    return parse_boxes(json.dumps(body).encode(), name="boxes.json")


def with_annotation(**values: object) -> dict[str, object]:
    """The COCO file with one more annotation, changed."""
    extra = {"image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5} | values
    return COCO | {"annotations": [*COCO["annotations"], extra]}


def with_detection(**values: object) -> dict[str, object]:
    """The MegaDetector file with one more detection in its second picture, changed."""
    extra = {"category": "1", "conf": 0.9, "bbox": [0.1, 0.1, 0.1, 0.1]} | values
    first, second, third = MEGADETECTOR["images"]
    return MEGADETECTOR | {"images": [first, second | {"detections": [extra]}, third]}


def test_parse_boxes__coco():
    file = parse(COCO)
    assert (file.format, file.pictures, file.faults.counts) == ("coco", 2, {})
    assert file.boxes == (
        DetectedBox("cam1/a.jpg", 10, 20, 30, 40, False, "smoke", 0.5, 640, 480),
        DetectedBox("cam1/b.jpg", 1.5, 2, 3, 4, False, "fire", None, 640, 480),
    )


def test_parse_boxes__megadetector():
    file = parse(MEGADETECTOR)
    assert (file.format, file.pictures) == ("megadetector", 3)
    assert file.boxes == (DetectedBox("cam1/a.jpg", 0.1, 0.2, 0.3, 0.4, True, "animal", 0.9),)
    assert file.faults.counts == {"detector-failed": 1}
    assert file.faults.examples == {"detector-failed": ["cam1/c.jpg: image access failure"]}


def test_parse_boxes__another_order_is_the_same_file():
    turned = COCO | {name: COCO[name][::-1] for name in ("images", "annotations", "categories")}
    assert parse(turned).boxes == parse(COCO).boxes


def test_parse_boxes__ids_as_texts():
    """Some programs write an id as a number in one list, and as a text in another."""
    as_texts = [each | {"image_id": str(each["image_id"])} for each in COCO["annotations"]]
    assert parse(COCO | {"annotations": as_texts}).boxes == parse(COCO).boxes


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"bbox": [1, 2, float("nan"), 4]}, "not-finite"),
        ({"bbox": [1, 2, float("inf"), 4]}, "not-finite"),
        ({"bbox": [1, 2, 10**400, 4]}, "not-finite"),
        ({"bbox": [1, 2, 0, 4]}, "no-area"),
        ({"bbox": [1, 2, 3, -4]}, "no-area"),
        ({"bbox": [1, 2, 3]}, "not-a-box"),
        ({"bbox": [1, 2, 3, "4"]}, "not-a-box"),
        ({"bbox": [1, 2, 3, True]}, "not-a-box"),
        ({"bbox": None}, "not-a-box"),
        ({"score": 1.01}, "score-out-of-range"),
        ({"score": -0.1}, "score-out-of-range"),
        ({"score": float("nan")}, "score-out-of-range"),
        ({"score": "high"}, "score-out-of-range"),
        ({"image_id": 99}, "unknown-picture"),
    ],
)
def test_parse_boxes__a_faulty_box_is_left_out_and_named(values: dict, fault: str):
    file = parse(with_annotation(**values))
    assert file.boxes == parse(COCO).boxes
    assert file.faults.counts == {fault: 1}
    assert len(file.faults.examples[fault]) == 1


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"bbox": [0.1, 0.1, 0, 0.1]}, "no-area"),
        ({"bbox": [0.1, 0.1, float("nan"), 0.1]}, "not-finite"),
        ({"conf": 90}, "score-out-of-range"),
        ({"bbox": "0.1"}, "not-a-box"),
    ],
)
def test_parse_boxes__a_faulty_detection_is_left_out_and_named(values: dict, fault: str):
    file = parse(with_detection(**values))
    assert file.boxes == parse(MEGADETECTOR).boxes
    assert file.faults.counts == {"detector-failed": 1, fault: 1}


def test_parse_boxes__unknown_category_is_used_by_its_id():
    file = parse(with_annotation(category_id=99, image_id=2, bbox=[9, 9, 9, 9]))
    assert file.boxes[-1].box_class == "99"
    assert file.faults.counts == {"unknown-category": 1}
    detected = parse(with_detection(category="5"))
    assert detected.boxes[-1].box_class == "5"
    assert detected.faults.counts["unknown-category"] == 1


def test_parse_boxes__without_a_category():
    file = parse(with_annotation(category_id=None, image_id=2, bbox=[9, 9, 9, 9]))
    assert file.boxes[-1].box_class is None
    assert file.faults.counts == {"unknown-category": 1}


def test_parse_boxes__half_a_character_and_huge_sizes():
    image = {"id": 3, "file_name": "\ud800\n.jpg", "width": 10**12, "height": 1}
    file = parse(with_annotation(image_id=3) | {"images": [*COCO["images"], image]})
    (box,) = [box for box in file.boxes if box.frame_width is None]
    assert box.file == "\\ud800\n.jpg"
    faults = parse(
        with_annotation(image_id=3, bbox=0) | {"images": [*COCO["images"], image]}
    ).faults
    assert faults.examples["not-a-box"][0].isprintable()


def test_parse_boxes__entries_without_a_file_name():
    file = parse(COCO | {"images": [*COCO["images"], {"id": 3}, {"id": 4, "file_name": " "}]})
    assert file.faults.counts == {"no-file-name": 2}
    images = [*MEGADETECTOR["images"], {"detections": []}, 3]
    assert parse(MEGADETECTOR | {"images": images}).faults.counts["no-file-name"] == 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not-json"),
        (b'{"images": [', "not-json"),
        (b"\xff\xfe\x00", "not-json"),
        (b"[" * 100_000, "not-json"),
        (b'{"images": [], "x": ' + b"9" * 10_000 + b"}", "not-json"),
        (b"[]", "other-format"),
        (b"3", "other-format"),
        (b'{"images": 3, "annotations": []}', "other-format"),
        (b'{"images": [{"id": 1}]}', "other-format"),
        (b'[{"image_id": 1, "bbox": [1, 2, 3, 4]}]', "other-format"),
        (b'{"images": [], "annotations": []}', "no-box"),
        (json.dumps(MEGADETECTOR | {"images": []}).encode(), "no-box"),
    ],
)
def test_parse_boxes__refuses(data: bytes, reason: str):
    with raising(InvalidBoxesError, reason=reason, path="x.json"):
        parse_boxes(data, name="x.json")


def test_parse_boxes__byte_order_mark():
    data = b"\xef\xbb\xbf" + json.dumps(COCO).encode()
    assert parse_boxes(data, name="x").boxes == parse(COCO).boxes


def test_read_boxes__limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(COCO))
    monkeypatch.setattr(reading, "MAX_BOXES", 1)
    with raising(InvalidBoxesError, reason="too-large"):
        read_boxes(path)
    monkeypatch.setattr(reading, "MAX_BOXES_BYTES", 10)
    with raising(InvalidBoxesError, reason="too-large", path=str(path)):
        read_boxes(path)
    with raising(InvalidBoxesError, reason="too-large"):
        parse_boxes(path.read_bytes(), name="x")
    with raising(InvalidBoxesError, reason="missing"):
        read_boxes(tmp_path / "none.json")


def write_labels(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_read_boxes__yolo(tmp_path: Path):
    folder = write_labels(
        tmp_path,
        {
            "data.yaml": "names:\n  0: smoke\n  1: fire\n",
            "labels/cam1/a.txt": "0 0.5 0.5 0.2 0.4 0.75\n\n1 0.25 0.25 0.5 0.5\n",
            "labels/cam1/empty.txt": "",
        },
    )
    file = read_boxes(folder)
    assert (file.format, file.pictures, file.faults.counts) == ("yolo", 2, {})
    fire, smoke = file.boxes
    assert (smoke.file, smoke.box_class, smoke.score) == ("cam1/a", "smoke", 0.75)
    assert (smoke.x, smoke.y, smoke.w, smoke.h) == pytest.approx((0.4, 0.3, 0.2, 0.4))
    assert (fire.x, fire.y, fire.box_class, fire.score) == (0, 0, "fire", None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.yaml", "names: [smoke, fire]"),
        ("data.yml", "names: {0: smoke, 1: fire}"),
        ("classes.txt", "smoke\nfire\n"),
        ("labels/classes.txt", "smoke\nfire\n"),
    ],
)
@pytest.mark.parametrize("given", ["", "labels"])
def test_read_boxes__names_of_yolo_classes(tmp_path: Path, name: str, text: str, given: str):
    write_labels(tmp_path, {name: text, "labels/a.txt": "1 0.5 0.5 0.2 0.4"})
    (box,) = read_boxes(tmp_path / given).boxes
    assert box.box_class == "fire"


def test_read_boxes__faults_of_yolo_lines(tmp_path: Path):
    lines = [
        "0 0.5 0.5 0.2 0.4",
        "0 0.5 0.5 nan 0.4",
        "0 0.5 0.5 0 0.4",
        "0 0.1 0.1 0.2 0.2 0.3 0.3",  # the outline of a segment
        "0 0.5 0.5",
        "smoke at 5 o'clock",
        "0 0.5 0.5 0.2 0.4 7",
        "9 0.5 0.5 0.3 0.4",
    ]
    write_labels(tmp_path, {"labels/a.txt": "\n".join(lines), "classes.txt": "smoke"})
    (tmp_path / "labels" / "b.txt").write_bytes(b"\xff\xfe0\x00")
    file = read_boxes(tmp_path)
    assert [box.box_class for box in file.boxes] == ["9", "smoke"]
    assert file.faults.counts == {
        "not-finite": 1, "no-area": 1, "not-a-box": 3, "score-out-of-range": 1, "unknown-category": 1,
        "not-text": 1,
    }  # fmt: skip
    assert file.faults.examples["no-area"] == ["a.txt:3"]


def test_read_boxes__refuses_folders(tmp_path: Path):
    with raising(InvalidBoxesError, reason="no-box"):
        read_boxes(tmp_path)
    write_labels(tmp_path, {"data.yaml": "names: [", "labels/a.txt": "0 0.5 0.5 0.2 0.4"})
    with raising(InvalidBoxesError, reason="unreadable", path=str(tmp_path / "data.yaml")):
        read_boxes(tmp_path)
