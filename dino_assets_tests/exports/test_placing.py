"""An export's folder is whole under its name, or as it was."""

import json
from pathlib import Path

import pytest

from dino_assets.errors import TargetError
from dino_assets.exports.papers import write_manifest
from dino_assets.exports.placing import fill_folder


def fill_with(text: str):
    def fill(new: Path) -> int:
        (new / "1").mkdir()
        (new / "1" / "model.onnx").write_text(text)
        write_manifest(new, {"of": text})
        return len(text)

    return fill


def read(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_fill_folder__replaces_an_earlier_export_as_a_whole(tmp_path: Path):
    folder = tmp_path / "some" / "model"
    assert fill_folder(folder, fill_with("one")) == 3
    assert fill_folder(folder, fill_with("three")) == 5
    assert read(folder)["1/model.onnx"] == "three"
    assert json.loads(read(folder)["manifest.json"])["files"]["1/model.onnx"]["bytes"] == 5
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("has_export", [False, True])
def test_fill_folder__refuses_folders_with_other_files(tmp_path: Path, has_export: bool):
    folder = tmp_path / "model"
    if has_export:
        fill_folder(folder, fill_with("one"))
    folder.mkdir(exist_ok=True)
    (folder / "notes.txt").write_text("mine")
    before = read(folder)
    with pytest.raises(TargetError) as caught:
        fill_folder(folder, fill_with("two"))
    assert (caught.value.reason, caught.value.path) == ("occupied", str(folder))
    assert read(folder) == before


def test_fill_folder__keeps_files_that_appear_meanwhile(tmp_path: Path):
    folder = tmp_path / "model"
    fill_folder(folder, fill_with("one"))

    def fill(new: Path) -> int:
        (folder / "notes.txt").write_text("mine")
        return fill_with("two")(new)

    with pytest.raises(TargetError):
        fill_folder(folder, fill)
    assert read(folder)["notes.txt"] == "mine"
    assert read(folder)["1/model.onnx"] == "one"


def test_fill_folder__a_failure_keeps_the_older_export(tmp_path: Path):
    folder = tmp_path / "model"
    fill_folder(folder, fill_with("one"))

    def fill(new: Path) -> int:
        (new / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_folder(folder, fill)
    assert read(folder)["1/model.onnx"] == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("kind", ["file", "link", "below-a-file"])
def test_fill_folder__refuses_a_file_or_link(tmp_path: Path, kind: str):
    folder = tmp_path / "model"
    if kind == "link":
        (tmp_path / "other").mkdir()
        folder.symlink_to(tmp_path / "other")
    else:
        folder.write_text("x")
    with pytest.raises(TargetError) as caught:
        fill_folder(folder / "deeper" if kind == "below-a-file" else folder, fill_with("one"))
    assert caught.value.reason == "no-folder"
