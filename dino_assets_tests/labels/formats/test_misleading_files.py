"""Files that would give a wrong label, or lose one: each such row is listed with its reason."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dino_assets.errors import InvalidLabelsError
from dino_assets.labels.formats import unpacking
from dino_assets.labels.formats.reading import read_label_file
from dino_assets.labels.formats.records import LabelFile
from dino_assets_tests.worlds.raising import raising

CHOICE = {"type": "choices", "value": {"choices": ["fog"]}}


def read(path: Path, data: object) -> LabelFile:
    path.write_bytes(data if isinstance(data, bytes) else str(data).encode())
    return read_label_file(path)


def reasons(file: LabelFile) -> list[str]:
    return [row.reason for row in file.rejected]


def read_result(tmp_path: Path, *results: object, image: str = "a.jpg") -> LabelFile:
    task = {"data": {"image": image}, "annotations": [{"result": list(results)}]}
    return read(tmp_path / "a.json", json.dumps([task]))


def read_coco(tmp_path: Path, **lists: list) -> LabelFile:
    body = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 1, "name": "fog"}],
    }
    return read(tmp_path / "a.json", json.dumps(body | lists))


def test_coco__id_of_several_pictures_or_classes_is_none(tmp_path: Path):
    images = [{"id": 1, "file_name": name} for name in ("a.jpg", "b.jpg")]
    file = read_coco(tmp_path, images=images)
    assert (file.rows, reasons(file)) == ((), ["unknown-picture"])
    classes = [{"id": 1, "name": name} for name in ("fog", "smoke")]
    file = read_coco(tmp_path, categories=classes)
    assert (file.rows, reasons(file)) == ((), ["unknown-category"])
    assert len(read_coco(tmp_path, images=images[:1] * 2, categories=classes[:1] * 2).rows) == 1


def test_coco__ids_with_a_point_are_whole_numbers(tmp_path: Path):
    annotation = {"image_id": 1.0, "category_id": "1", "bbox": [1, 2, 3, 4]}
    (row,) = read_coco(tmp_path, annotations=[annotation]).rows
    assert (row.picture, row.class_name) == ("a.jpg", "fog")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("names: [no, 007, ~]", ["no", "007", "~"]),
        ("names: {0: yes, 2: 1_000}", ["yes", None, "1_000"]),
        ("a: &a [x]\nnames: [*a, fog, {b: c}]", [None, "fog", None]),
    ],
)
def test_yolo__names_in_yaml_are_texts(tmp_path: Path, names: str, expected: list[str | None]):
    (tmp_path / "labels").mkdir()
    (tmp_path / "data.yaml").write_text(names)
    lines = "".join(f"{number} 0.5 0.5 0.1 0.{number + 1}\n" for number in range(3))
    (tmp_path / "labels" / "a.txt").write_text(lines)
    file = read_label_file(tmp_path)
    assert [row.class_name for row in file.rows] == [name for name in expected if name]
    assert reasons(file) == ["unknown-category"] * expected.count(None)


def test_yolo__number_of_a_class_is_that_of_its_line(tmp_path: Path):
    (tmp_path / "classes.txt").write_text("fog\n\nsmoke\nfire\n")
    (tmp_path / "a.txt").write_text("2 0.5 0.5 0.1 0.1\n1 0.2 0.2 0.1 0.1\n")
    file = read_label_file(tmp_path)
    assert [row.class_name for row in file.rows] == ["smoke"]
    assert reasons(file) == ["unknown-category"]


def test_cvat__shape_of_another_version_is_listed(tmp_path: Path):
    shapes = "<rectangle label='fog' xtl='1'/><tag label='fog'/>"
    image = f"<image name='a.jpg' width='9' height='9'>{shapes}</image>"
    file = read(tmp_path / "a.xml", f"<annotations><version>2.0</version>{image}</annotations>")
    assert (len(file.rows), reasons(file)) == (1, ["other-shape"])


def test_cvat__unknown_encoding(tmp_path: Path):
    with raising(InvalidLabelsError, reason="not-xml"):
        read(tmp_path / "a.xml", '<?xml version="1.0" encoding="foo"?><annotations/>')


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (5, "not-text"),
        ({"a": 1}, "not-a-box"),
        ({"type": "choices", "value": {"choices": [{"a": 1}]}}, "class-name"),
        ({"type": "choices", "value": {"choices": [None]}}, "class-name"),
        ({"type": "rectanglelabels", "value": {"x": 1, "rectanglelabels": []}}, "class-name"),
    ],
)
def test_label_studio__result_that_is_no_label(tmp_path: Path, result: object, reason: str):
    file = read_result(tmp_path, CHOICE, result)
    assert (len(file.rows), reasons(file)) == (1, [reason])


@pytest.mark.parametrize("results", [5, {"a": 1}, "fog"])
def test_label_studio__results_that_are_no_list(tmp_path: Path, results: object):
    task = {"data": {"image": "a.jpg"}, "annotations": [{"result": results}]}
    assert len(read(tmp_path / "a.json", json.dumps([task])).rejected) == 1


def test_label_studio__address_that_is_none(tmp_path: Path):
    (row,) = read_result(tmp_path, CHOICE, image="http://[x/a.jpg").rows
    assert row.picture.endswith("a.jpg")


def test_csv__row_with_more_fields_than_the_header(tmp_path: Path):
    file = read(tmp_path / "a.csv", "file,class\na.jpg,smoke, thin\nb.jpg,fog,\n")
    assert [row.picture for row in file.rows] == ["b.jpg"]
    assert [(row.where, row.picture, row.reason) for row in file.rejected] == [
        ("line 2", "a.jpg", "not-text")
    ]


def test_csv__column_of_classes_twice(tmp_path: Path):
    with raising(InvalidLabelsError, reason="not-csv"):
        read(tmp_path / "a.csv", "file,class,Class\na.jpg,fog,smoke\n")


def test_csv__box_in_shares_of_the_picture(tmp_path: Path):
    text = "file,class,xmin,ymin,xmax,ymax\na.jpg,fog,0.1,0.1,0.5,1\nb.jpg,fog,0,0,1,1\n"
    file = read(tmp_path / "a.csv", text)
    assert [row.box for row in file.rows] == [(0, 0, 1, 1)]
    assert reasons(file) == ["not-a-box"]


def test_geojson__classes_that_are_no_text(tmp_path: Path):
    rows = ['{"class": NaN}', '{"class": {"a": 1}}', '{"class": 7.0}']
    features = ",".join(f'{{"properties": {row[:-1]}, "file": "a.jpg"}}}}' for row in rows)
    text = f'{{"type": "FeatureCollection", "features": [{features}]}}'
    file = read(tmp_path / "a.geojson", text)
    assert [row.class_name for row in file.rows] == ["7"]
    assert (file.unlabelled, reasons(file)) == (1, ["class-name"])


def test_geopackage__whole_numbers_beside_empty_fields(tmp_path: Path):
    from pyogrio.raw import write

    classes = np.array([1, 2], np.int64)
    masks = [np.array([False, True]), np.zeros(2, bool)]
    fields = [classes, np.array(["a.jpg", "b.jpg"], object)]
    write(
        tmp_path / "a.gpkg",
        None,
        fields,
        ["class", "file"],
        field_mask=masks,
        driver="GPKG",
        geometry_type=None,
        crs=None,
    )
    file = read_label_file(tmp_path / "a.gpkg")
    assert ([row.class_name for row in file.rows], file.unlabelled) == (["1"], 1)


def test_geopackage__description_of_other_files_is_not_followed(tmp_path: Path):
    (tmp_path / "other.csv").write_text("file,class\na.jpg,fog\n")
    source = f"<SrcDataSource>{tmp_path}/other.csv</SrcDataSource>"
    layer = f'<OGRVRTLayer name="other">{source}</OGRVRTLayer>'
    with raising(InvalidLabelsError, reason="other-format"):
        read(tmp_path / "a.gpkg", f"<OGRVRTDataSource>{layer}</OGRVRTDataSource>")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip__damaged_stream(tmp_path: Path, compression: int):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.csv", "file,class\n" + "".join(f"{n}.jpg,{n}\n" for n in range(500)))
    data = bytearray(path.read_bytes())
    data[60:80] = bytes(255 - byte for byte in data[60:80])
    path.write_bytes(data)
    with raising(InvalidLabelsError, path=str(path)):
        read_label_file(path)


def test_zip__of_macos(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("export/a.csv", "file,class\na.jpg,fog\n")
        archive.writestr("__MACOSX/export/._a.csv", b"\0\5\26\7")
    assert len(read_label_file(tmp_path / "a.zip").rows) == 1
    (tmp_path / "unpacked" / "__MACOSX").mkdir(parents=True)
    (tmp_path / "unpacked" / ".git").mkdir()
    (tmp_path / "unpacked" / "export").mkdir()
    (tmp_path / "unpacked" / "export" / "a.csv").write_text("file,class\na.jpg,fog\n")
    assert len(read_label_file(tmp_path / "unpacked").rows) == 1


def test_zip__only_labels_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unpacking, "MAX_ZIP_BYTES", 100)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("film.bin", bytes(10_000))
        archive.writestr("a.jpg", bytes(10_000))
        archive.writestr("a.csv", "file,class\na.jpg,fog\n")
    assert len(read_label_file(tmp_path / "a.zip").rows) == 1
    with zipfile.ZipFile(tmp_path / "a.zip", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.txt", bytes(10_000))
    with raising(InvalidLabelsError, reason="too-large"):
        read_label_file(tmp_path / "a.zip")
