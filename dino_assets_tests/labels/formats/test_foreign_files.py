"""Files as other programs write them: exports of CVAT and Label Studio, COCO, YOLO, CSV, class folders."""

import json
import zipfile
from pathlib import Path

import pytest

from dino_assets.labels.formats.reading import read_label_file
from dino_assets.labels.formats.records import FileRow, LabelFile
from dino_assets.labels.records import Window

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><job><id>7</id><labels><label><name>Rauch</name></label></labels></job></meta>
  <image id="0" name="batch/a.jpg" width="640" height="480" task_id="3">
    <box label="Rauch" source="manual" occluded="0" xtl="10.50" ytl="20.00" xbr="50.50" ybr="80.00" z_order="0">
      <attribute name="dense">true</attribute>
    </box>
    <tag label="Süd" source="manual"></tag>
    <polygon label="Rauch" points="1.0,2.0;3.0,4.0;5.0,1.0" z_order="0"></polygon>
    <box label="Rauch" xtl="x" ytl="20.00" xbr="50.50" ybr="80.00"/>
    <box label="Rauch" xtl="9" ytl="20.00" xbr="9" ybr="80.00"/>
    <box label="Rauch" xtl="100" ytl="100" xbr="140" ybr="120" rotation="90.0"/>
  </image>
  <image id="1" name="b.jpg" width="640" height="480"/>
</annotations>
"""


def read(path: Path, data: str | bytes) -> LabelFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_label_file(path)


def reasons(file: LabelFile) -> list[tuple[str, str]]:
    return [(row.picture, row.reason) for row in file.rejected]


def test_cvat__boxes_tags_and_what_is_no_box(tmp_path: Path):
    file = read(tmp_path / "annotations.xml", CVAT)
    box, tag, turned = file.rows
    assert (box.picture, box.class_name, box.box) == ("batch/a.jpg", "Rauch", (10.5, 20, 40, 60))
    assert box.frame == (640, 480)
    assert (tag.class_name, tag.box) == ("Süd", None)
    assert turned.box == pytest.approx((110, 90, 20, 40))
    assert reasons(file) == [
        ("batch/a.jpg", "other-shape"),
        ("batch/a.jpg", "not-a-box"),
        ("batch/a.jpg", "no-area"),
    ]
    assert file.unlabelled == 1


def test_cvat__zip_with_the_pictures(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "job.zip", "w") as archive:
        archive.writestr("annotations.xml", CVAT)
        archive.writestr("images/batch/a.jpg", b"pixels")
    assert read_label_file(tmp_path / "job.zip").format == "cvat"


def test_coco__numbers_with_fractions_and_faults(tmp_path: Path):
    body = {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 640, "height": 480},
            {"id": 2, "file_name": "b.jpg"},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1.25, 2.5, 3.75, 4.125]},
            {"id": 2, "image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4]},
            {"id": 3, "image_id": 1, "category_id": 8, "bbox": [1, 2, 3, 4]},
            {"id": 4, "image_id": 1, "category_id": 1, "bbox": []},
        ],
        "categories": [{"id": 1, "name": "煙"}],
    }
    file = read(tmp_path / "result.json", b"\xef\xbb\xbf" + json.dumps(body).encode())
    (row,) = file.rows
    assert (row.picture, row.class_name, row.box) == ("a.jpg", "煙", (1.25, 2.5, 3.75, 4.125))
    assert [each.reason for each in file.rejected] == [
        "unknown-picture",
        "unknown-category",
        "not-a-box",
    ]
    assert file.rejected[1].where == "annotations[2] of a.jpg"
    assert file.unlabelled == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.yaml", "names: [fog, smoke]\n"),
        ("data.yaml", "path: ../x\nnames:\n  0: fog\n  1: smoke\n"),
        ("classes.txt", "fog\r\nsmoke\r\n"),
        ("labels/classes.txt", "fog\nsmoke\n"),
    ],
)
def test_yolo__names_of_classes(tmp_path: Path, name: str, text: str):
    (tmp_path / "labels").mkdir()
    (tmp_path / name).write_bytes(text.encode())
    (tmp_path / "labels" / "a.txt").write_bytes(b"1 0.5 0.5 0.25 0.5\r\n7 0.5 0.5 0.1 0.1\r\n")
    (tmp_path / "labels" / "b.txt").write_text("")
    (tmp_path / "labels" / "c.txt").write_text("0 0.1 0.1 0.2 0.1 0.2 0.2\n")
    file = read_label_file(tmp_path)
    (row,) = file.rows
    assert (row.picture, row.class_name, row.is_stem) == ("a", "smoke", True)
    assert row.box == (0.375, 0.25, 0.25, 0.5)
    assert [each.reason for each in file.rejected] == ["unknown-category", "not-a-box"]
    assert file.unlabelled == 1


def test_label_studio__annotations_of_several_people(tmp_path: Path):
    box = {
        "type": "rectanglelabels",
        "from_name": "box",
        "value": {
            "x": 25,
            "y": 50,
            "width": 10,
            "height": 20,
            "rotation": 0,
            "rectanglelabels": ["smoke"],
        },
    }
    choice = {"type": "choices", "value": {"choices": ["fog"]}}
    polygon = {"type": "polygonlabels", "value": {"points": [], "polygonlabels": ["smoke"]}}
    turned = {**box, "value": {**box["value"], "rotation": 30}}
    tasks = [
        {
            "id": 4,
            "data": {"image": "/data/upload/1/3f2a1b0c-DJI_0001.JPG"},
            "annotations": [
                {"completed_by": 1, "result": [box, choice, polygon, turned]},
                {"completed_by": 2, "was_cancelled": True, "result": [choice]},
            ],
        },
        {"id": 5, "data": {"image": "s3://bucket/ridge/DJI_0002.JPG"}, "annotations": []},
        {"id": 6, "data": {}, "annotations": [{"result": [choice]}]},
    ]
    file = read(tmp_path / "project-1.json", json.dumps(tasks))
    smoke, fog = file.rows
    assert (smoke.picture, smoke.box, smoke.is_relative) == (
        "DJI_0001.JPG",
        (0.25, 0.5, 0.1, 0.2),
        True,
    )
    assert (fog.class_name, fog.box) == ("fog", None)
    assert reasons(file) == [
        ("DJI_0001.JPG", "other-shape"),
        ("DJI_0001.JPG", "other-shape"),
        ("", "no-file-name"),
    ]
    assert file.unlabelled == 1


@pytest.mark.parametrize(
    ("address", "picture"),
    [
        ("/data/local-files/?d=round-1/images/a%20b.jpg", "round-1/images/a b.jpg"),
        ("https://example.org/x/S%C3%BCd.jpg?token=1", "/x/Süd.jpg"),
        ("s3://bucket/images/a.jpg", "/images/a.jpg"),
        ("images/a.jpg", "images/a.jpg"),
    ],
)
def test_label_studio__addresses_of_pictures(tmp_path: Path, address: str, picture: str):
    choice = {"type": "choices", "value": {"choices": ["fog"]}}
    task = {"data": {"image": address}, "annotations": [{"result": [choice]}]}
    (row,) = read(tmp_path / "a.json", json.dumps([task])).rows
    assert row.picture == picture


def test_label_studio__short_json(tmp_path: Path):
    box = {"x": 10, "y": 20, "width": 30, "height": 40, "rectanglelabels": ["smoke"]}
    tasks = [{"image": "/x/a.jpg", "id": 1, "class": "fog", "box": [box]}]
    file = read(tmp_path / "a.json", json.dumps(tasks))
    assert [(row.class_name, row.box) for row in file.rows] == [
        ("fog", None),
        ("smoke", (0.1, 0.2, 0.3, 0.4)),
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_csv__separators_endings_and_byte_order_mark(tmp_path: Path, separator: str, ending: str):
    rows = [("Filename", "Label"), ("a.jpg", "Süd"), ("b.jpg", ""), ("", "x")]
    text = ending.join(separator.join(row) for row in rows)
    file = read(tmp_path / "a.csv", b"\xef\xbb\xbf" + text.encode())
    assert [(row.picture, row.class_name, row.where) for row in file.rows] == [
        ("a.jpg", "Süd", "line 2")
    ]
    assert (file.unlabelled, reasons(file)) == (1, [("", "no-file-name")])


def test_csv__boxes_by_edges_or_sides(tmp_path: Path):
    text = "image,class,xmin,ymin,xmax,ymax\na.jpg,fog,1,2,11,22\nb.jpg,fog,,,,\nc.jpg,fog,1,x,2,3\nd.jpg,fog,5,5,5,9\n"
    file = read(tmp_path / "edges.csv", text)
    assert [row.box for row in file.rows] == [(1, 2, 10, 20), None]
    assert reasons(file) == [("c.jpg", "not-a-box"), ("d.jpg", "no-area")]
    (row,) = read(tmp_path / "sides.csv", "file,class,x,y,w,h\na.jpg,fog,1,2,3,4\n").rows
    assert row == FileRow("line 2", "a.jpg", "fog", (1, 2, 3, 4))


def test_csv__boxes_of_label_studio_are_listed(tmp_path: Path):
    text = 'image,class,box\na.jpg,,"[{""x"": 1, ""rectanglelabels"": [""deer""]}]"\nb.jpg,fog,\n'
    file = read(tmp_path / "a.csv", text)
    assert len(file.rows) == 1
    assert reasons(file) == [("a.jpg", "other-shape")]


def test_csv__own_table_names_rectangles_of_the_photograph(tmp_path: Path):
    text = "level,class,image_id,photograph,x,y,w,h\nbox,fog,ab,a.jpg,1,2,3,4\npixel,fog,ab,a.jpg,1,2,3,4\nbox,fog,ab,a.jpg,,,,\n"
    file = read(tmp_path / "a.csv", text)
    (row,) = file.rows
    assert (row.window, row.level, row.box) == (Window(1, 2, 3, 4), "box", None)
    assert [each.reason for each in file.rejected] == ["not-a-box", "not-a-box"]


def test_folders__class_is_the_innermost_folder(tmp_path: Path):
    for name in (
        "train/smoke/a.jpg",
        "train/Süd/b.PNG",
        "val/smoke/c.jpg",
        "d.jpg",
        "smoke/.x.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "train" / "smoke" / "notes.md").touch()
    file = read_label_file(tmp_path)
    assert {(row.picture, row.class_name) for row in file.rows} == {
        ("a.jpg", "smoke"),
        ("b.PNG", "Süd"),
        ("c.jpg", "smoke"),
    }
    assert (file.format, file.unlabelled) == ("folders", 1)


def test_folders__links_count_and_do_not_go_around(tmp_path: Path):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "sorted"
    elsewhere.mkdir()
    (elsewhere / "a.jpg").touch()
    (folder / "fog").mkdir(parents=True)
    (folder / "smoke").symlink_to(elsewhere)
    (folder / "fog" / "b.jpg").symlink_to("/nowhere/b.jpg")
    (folder / "fog" / "round").symlink_to(folder)
    rows = read_label_file(folder).rows
    assert {(row.picture, row.class_name) for row in rows} == {("a.jpg", "smoke"), ("b.jpg", "fog")}
