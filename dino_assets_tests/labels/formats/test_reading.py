"""Recognition of formats, and files that cannot be used: the error names the file, and the row if there is one."""

import json
import tempfile
import zipfile
from pathlib import Path

import pytest

from dino_assets.errors import InvalidLabelsError
from dino_assets.labels.formats import reading, unpacking
from dino_assets.labels.formats.reading import read_label_file
from dino_assets_tests.worlds.raising import raising

COCO = {
    "images": [{"id": 1, "file_name": "a.jpg"}],
    "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    "categories": [{"id": 1, "name": "fog"}],
}


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.json", b"{", "not-json"),
        ("a.json", b'{"images": []}', "other-format"),
        ("a.json", b"[1, 2]", "other-format"),
        ("a.json", b"[" * 100_000, "not-json"),
        ("a.xml", b"<annotations>", "not-xml"),
        ("a.xml", b"<html/>", "not-xml"),
        ("a.xml", b"<annotations><track id='0'/></annotations>", "not-xml"),
        ("a.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "not-xml"),
        ("a.csv", b"file,colour\na.jpg,red\n", "not-csv"),
        ("a.csv", b"class,colour\nfog,red\n", "not-csv"),
        ("a.csv", "file,class\na.jpg,Süd".encode("latin-1"), "not-csv"),
        ("a.csv", b"file,class\na.jpg,\n", "no-label"),
        ("a.geojson", b'{"type": "FeatureCollection", "features": 1}', "columns"),
        ("a.gpkg", b"no database", "other-format"),
        ("a.zip", b"no archive", "not-zip"),
        ("a.doc", b"", "other-format"),
    ],
)
def test_read__file_that_cannot_be_used(tmp_path: Path, name: str, data: bytes, reason: str):
    (tmp_path / name).write_bytes(data)
    with raising(InvalidLabelsError, path=str(tmp_path / name), reason=reason, match=name):
        read_label_file(tmp_path / name)


def test_read__names_the_line(tmp_path: Path):
    (tmp_path / "a.json").write_text('{\n"images": [,]}')
    with raising(InvalidLabelsError, where="line 2"):
        read_label_file(tmp_path / "a.json")
    (tmp_path / "a.csv").write_text("file,class\na.jpg,fog\nb.jpg," + "x" * 200_000)
    with raising(InvalidLabelsError, where="line 3", reason="not-csv"):
        read_label_file(tmp_path / "a.csv")


def test_read__nothing_is_there(tmp_path: Path):
    with raising(InvalidLabelsError, reason="missing"):
        read_label_file(tmp_path / "a.json")
    with raising(InvalidLabelsError, reason="other-format"):
        read_label_file(tmp_path)


def test_read__too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.json").write_text(json.dumps(COCO))
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 10)
    with raising(InvalidLabelsError, reason="too-large"):
        read_label_file(tmp_path / "a.json")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("annotations.xml", "x" * 100)
    monkeypatch.setattr(unpacking, "MAX_ZIP_BYTES", 10)
    with raising(InvalidLabelsError, reason="too-large"):
        read_label_file(tmp_path / "a.zip")


def test_read__folder_with_several_formats(tmp_path: Path):
    (tmp_path / "a.json").write_text(json.dumps(COCO))
    (tmp_path / "a.csv").write_text("file,class\na.jpg,smoke\n")
    with raising(InvalidLabelsError, reason="several"):
        read_label_file(tmp_path)
    assert [row.class_name for row in read_label_file(tmp_path, format="csv").rows] == ["smoke"]
    assert [row.class_name for row in read_label_file(tmp_path, format="coco").rows] == ["fog"]
    with raising(InvalidLabelsError, reason="other-format"):
        read_label_file(tmp_path, format="yolo")


def test_read__only_folder_with_pictures_beside_a_label_file(tmp_path: Path):
    images = tmp_path / "out" / "round-0001" / "images"
    images.mkdir(parents=True)
    (images / "a.jpg").touch()
    (images.parent / "labels.csv").write_text("file,class\nimages/a.jpg,smoke\n")
    file = read_label_file(tmp_path / "out")
    assert (file.format, [row.class_name for row in file.rows]) == ("csv", ["smoke"])
    (images.parent / "labels.csv").unlink()
    assert read_label_file(tmp_path / "out").format == "folders"


def test_read__broken_file_in_a_zip_is_named_by_the_zip(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("annotations.xml", "<annotations>")
    path = str(tmp_path / "a.zip")
    with raising(InvalidLabelsError, path=path, reason="not-xml", match="a.zip/annotations.xml"):
        read_label_file(tmp_path / "a.zip")


def test_read__zip_of_a_folder_and_paths_that_lead_out(tmp_path: Path, monkeypatch):
    (tmp_path / "temporary" / "files").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary" / "files"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("export/annotations/instances_default.json", json.dumps(COCO))
        archive.writestr("../../out.jpg", "x")
        archive.writestr("../../out.md", "x")
    assert read_label_file(tmp_path / "a.zip").format == "coco"
    assert list((tmp_path / "temporary").rglob("*")) == [tmp_path / "temporary" / "files"]
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("sorted/smoke/a.jpg", "x")
        archive.writestr("sorted/fog/b.jpg", "x")
    rows = read_label_file(tmp_path / "b.zip").rows
    assert {(row.picture, row.class_name) for row in rows} == {("a.jpg", "smoke"), ("b.jpg", "fog")}
