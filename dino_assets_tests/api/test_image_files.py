"""Lists of image files: patterns, lists, tables, and messages if nothing matches."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dino_assets import DINOv2Extractor
from dino_assets.api.image_files import (
    ALL_IMAGES,
    find_images,
    find_in_directory,
    name_paths,
    read_image_list,
    take_column,
)
from dino_assets.errors import ConfigError, SourceError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return touch(
        tmp_path / "images", "b.JPG", "a.jpg", "c.jpeg", "sub/a.jpg", "sub/deep/d.Png", "sub/notes.txt"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "ids"),
    [
        ("*.jpg", ["a.jpg", "b.JPG", "sub/a.jpg"]),
        ("*.JPG", ["a.jpg", "b.JPG", "sub/a.jpg"]),
        ("A.*", ["a.jpg", "sub/a.jpg"]),
        ("[bc].jp*", ["b.JPG", "c.jpeg"]),
        ("sub/*.jpg", ["sub/a.jpg"]),
        ("./sub/*", ["sub/a.jpg", "sub/notes.txt"]),
        ("*/a.jpg", ["sub/a.jpg"]),
        ("**/a.jpg", ["a.jpg", "sub/a.jpg"]),
        ("sub/**/*.png", ["sub/deep/d.Png"]),
        ("SUB/**/deep/*", ["sub/deep/d.Png"]),
    ],
)
def test_find_in_directory__patterns(folder, pattern, ids):
    files = find_in_directory(folder, [pattern])
    assert files.ids == ids
    assert files.paths == [f"{folder}/{each}" for each in ids]


def test_find_in_directory__all_images(folder):
    assert find_in_directory(f"{folder}/", ALL_IMAGES).ids == [
        "a.jpg", "b.JPG", "c.jpeg", "sub/a.jpg", "sub/deep/d.Png",
    ]  # fmt: skip


def test_find_in_directory__nothing_matches(folder, tmp_path):
    with pytest.raises(ConfigError) as caught:
        find_in_directory(folder, ["*.bmp"])
    assert (caught.value.setting, caught.value.reason) == ("pattern", "no-match")
    for word in ("'*.bmp'", "3 .jpg", "1 .jpeg", "1 .txt", str(folder)):
        assert word in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        find_in_directory(
            touch(tmp_path / "many", *(f"a.{n}" for n in range(9)), "none"), ["*.jpg"]
        )
    assert "and 5 other endings" in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError) as caught:
        find_in_directory(tmp_path / "empty", ["*.jpg"])
    assert str(caught.value).endswith("the folder is empty")


def test_find_in_directory__missing_folder(folder):
    for path, reason in ((folder / "absent", "missing"), (folder / "a.jpg", "not-a-folder")):
        with pytest.raises(SourceError) as caught:
            find_in_directory(path, ["*.jpg"])
        assert caught.value.reason == reason


def test_find_in_directory__links_litter_and_odd_names(tmp_path):
    folder = touch(tmp_path / "images", "._a.jpg", "@eaDir/a.jpg", ".hidden/a.jpg", "a.jpg")
    touch(tmp_path / "elsewhere", "e.jpg")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "linked.jpg").symlink_to(tmp_path / "elsewhere" / "e.jpg")
    (tmp_path / "elsewhere" / "round").symlink_to(folder)
    odd_path = os.fsencode(folder) + b"/\xe9.jpg"
    Path(os.fsdecode(odd_path)).touch()
    files = find_in_directory(folder, ["*.jpg"])
    assert files.ids == ["a.jpg", "linked.jpg", "linked/e.jpg", "\\xe9.jpg"]
    assert os.fsencode(files.paths[-1]) == odd_path
    assert all(Path(each).exists() for each in files.paths)


def test_read_image_list__base_of_relative_paths(tmp_path, monkeypatch):
    touch(tmp_path / "lists", "near.jpg", "both.jpg")
    touch(tmp_path / "here", "far.jpg", "both.jpg")
    monkeypatch.chdir(tmp_path / "here")
    names = ["near.jpg", "far.jpg", "both.jpg", "absent.jpg", str(tmp_path / "abs.jpg")]
    (tmp_path / "lists" / "a.txt").write_text("\n".join(names) + "\n\n")
    files = read_image_list(tmp_path / "lists" / "a.txt")
    assert files.ids == names
    home = str(tmp_path / "lists")
    assert files.paths == [
        f"{home}/near.jpg", "far.jpg", f"{home}/both.jpg", f"{home}/absent.jpg", names[-1],
    ]  # fmt: skip


def test_read_image_list__path_below_the_home_folder(tiny, tmp_path, monkeypatch, write_photo):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    write_photo(tmp_path / "me" / "a.jpg")
    (tmp_path / "a.csv").write_text("image_path\n~/a.jpg\n")
    extractor = DINOv2Extractor(str(tiny.folder), device="cpu", precision="fp32")
    for _, ids in (extractor.extract_from_csv("a.csv"), extractor.extract_from_list(["~/a.jpg"])):
        assert ids == ["~/a.jpg"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("file,label\na.jpg,x\n", "column-missing"),
        ("", "column-missing"),
        ('image_path\n"a.jpg\n', "row"),
        ("image_path\na.jpg\n".encode("utf-16"), "encoding"),
    ],
)
def test_read_image_list__unreadable_list(tmp_path, text, reason):
    (tmp_path / "a.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SourceError) as caught:
        read_image_list(tmp_path / "a.csv")
    assert caught.value.reason == reason


def test_read_image_list__missing_file(tmp_path):
    with pytest.raises(SourceError) as caught:
        read_image_list(tmp_path / "absent.csv")
    assert caught.value.reason == "missing"


def test_take_column__paths_of_a_table(tmp_path):
    table = pd.DataFrame({"image_path": ["b.jpg", None, "a.jpg"], "label": [1, 2, 3]})
    assert take_column(table, "image_path").ids == ["b.jpg", "a.jpg"]
    with pytest.raises(ConfigError) as caught:
        take_column(table, "path")
    assert "image_path, label" in str(caught.value)


def test_find_images__every_kind_of_source(folder, tmp_path):
    (tmp_path / "a.CSV").write_text("image_path\nimages/a.jpg\n")
    assert len(find_images(folder)) == 5
    assert find_images(str(tmp_path / "a.CSV")).ids == ["images/a.jpg"]
    assert find_images(str(folder / "a.jpg")).ids == [str(folder / "a.jpg")]
    assert find_images(["x.jpg", Path("y.jpg")]).ids == ["x.jpg", "y.jpg"]
    assert find_images(pd.DataFrame({"image_path": ["x.jpg"]})).ids == ["x.jpg"]


def test_split__pieces_in_order():
    pieces = list(name_paths(map(str, range(7))).split(3))
    assert [each.ids for each in pieces] == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    assert list(name_paths([]).split(3)) == []


def test_name_paths__ids_are_plain_strings():
    files = name_paths(np.array(["a.jpg", "b.jpg"]))
    assert {type(each) for each in (*files.ids, *files.paths)} == {str}


@pytest.mark.parametrize("path", ["a.jpg", Path("a.jpg"), b"a.jpg"])
def test_name_paths__refuses_a_single_path(path):
    with pytest.raises(ConfigError) as caught:
        name_paths(path)
    assert caught.value.setting == "image_paths"
