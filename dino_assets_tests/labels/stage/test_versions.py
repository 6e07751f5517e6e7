"""A labels version: complete, the same bytes each time, and readable by other programs."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from dino_assets.errors import NotCommittedError, TargetError
from dino_assets.images.decoding import decode_image
from dino_assets.labels.records import Window
from dino_assets.labels.stage.answers import read_answers
from dino_assets.labels.stage.reading import hash_labels
from dino_assets.labels.stage.versions import LabelsVersion, write_version
from dino_assets.labels.version_settings import VersionSettings
from dino_assets_tests.worlds.labelling import ROUND, SPACE, LabelWorld
from dino_assets_tests.worlds.raising import raising

SETTINGS = VersionSettings("Smoke over ridges", "CC-BY-4.0", "Anna", "https://example.org/smoke")


@pytest.fixture
def labelled(world: LabelWorld) -> LabelWorld:
    world.answer(0, "smoke", by="anna")
    world.answer(1, "Süd | fog", second=1)
    second = world.chosen[2]
    window = Window(second.x + 20, second.y + 30, 50, 60)
    world.answer(2, "deer", level="box", window=window, second=2)
    world.answer(4, "rock", level="image", window=Window(0, 0, 640, 480), second=3)
    for second_of, by, name in ((4, "anna", "fog"), (5, "ben", "deer")):
        world.answer(3, name, by=by, second=second_of)
    return world


def freeze(world: LabelWorld, folder: Path, messages: list[str] | None = None) -> LabelsVersion:
    say = (messages if messages is not None else []).append
    return write_version(world.store, folder, SETTINGS, open_source=world.open_source, say=say)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_version__same_bytes_each_time(labelled: LabelWorld, tmp_path: Path):
    version = freeze(labelled, tmp_path / "a")
    assert (version.labels, version.conflicts, version.without_picture) == (4, 1, 0)
    assert freeze(labelled, tmp_path / "b") == version
    files = files_of(tmp_path / "a")
    assert files == files_of(tmp_path / "b")
    assert len([name for name in files if name.startswith("crops/")]) == 4
    labelled.answer(2, "fog", second=9)
    assert freeze(labelled, tmp_path / "c").version != version.version


def test_version__table_for_hugging_face(labelled: LabelWorld, tmp_path: Path):
    freeze(labelled, tmp_path / "v")
    table = pq.read_table(tmp_path / "v" / "data" / "labels.parquet")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == sorted(table.column_names)
    assert features["image"] == {"_type": "Image"}
    names = features["label"]["names"]
    rows = table.to_pylist()
    assert [names[row["label"]] for row in rows] == [row["class_name"] for row in rows]
    for row in rows:
        assert (tmp_path / "v" / row["image"]["path"]).read_bytes() == row["image"]["bytes"]
    assert {(row["level"], row["class_name"]) for row in rows} == {
        ("tile", "smoke"),
        ("tile", "Süd | fog"),
        ("box", "deer"),
        ("image", "rock"),
    }


def test_version__pictures_show_what_is_labelled(labelled: LabelWorld, tmp_path: Path):
    """A picture that the round lacks is cut from the photograph, and is the same."""
    freeze(labelled, tmp_path / "a")
    labelled.store.delete(f"manifests/selections/{SPACE}/{ROUND}.json")
    freeze(labelled, tmp_path / "b")
    crops = {name: data for name, data in files_of(tmp_path / "a").items() if "crops" in name}
    assert crops == {name: d for name, d in files_of(tmp_path / "b").items() if "crops" in name}
    (box,) = (tmp_path / "a" / "crops").glob("*-box.jpg")
    tile = labelled.chosen[2]
    pixels = decode_image((labelled.folder / tile.path).read_bytes())
    wanted = pixels[tile.y + 30 : tile.y + 90, tile.x + 20 : tile.x + 70].astype(int)
    with Image.open(box) as picture:
        assert np.abs(np.asarray(picture).astype(int) - wanted).mean() < 30
        assert picture.size == (50, 60)


def test_version__card_croissant_and_receipt(labelled: LabelWorld, tmp_path: Path):
    version = freeze(labelled, tmp_path / "v")
    files = files_of(tmp_path / "v")
    head = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    assert head["license"] == "cc-by-4.0"
    assert head["configs"][0]["data_files"][0]["path"] == "data/labels.parquet"
    assert "| Süd \\| fog | 1 |" in files["README.md"].decode()
    croissant = json.loads(files["croissant.json"])
    (parquet,) = croissant["distribution"]
    assert parquet["sha256"] == hashlib.sha256(files["data/labels.parquet"]).hexdigest()
    assert (croissant["license"], croissant["name"]) == ("CC-BY-4.0", SETTINGS.title)
    columns = pq.read_schema(io.BytesIO(files["data/labels.parquet"])).names
    assert [each["name"] for each in croissant["recordSet"][0]["field"]] == columns
    receipt = json.loads(files["receipt.json"])
    assert receipt["labels"] == hash_labels(labelled.store)["labels"]
    assert receipt["answers"] == sorted(each.sha256 for each in read_answers(labelled.store))
    assert hashlib.sha256(files["receipt.json"]).hexdigest().startswith(version.version)
    # The people who labelled are not named.
    assert not any(b"anna" in data for data in files.values())


def test_version__label_without_a_readable_photograph_keeps_its_row(labelled, tmp_path: Path):
    (labelled.folder / "small.jpg").unlink()
    messages: list[str] = []
    version = freeze(labelled, tmp_path / "v", messages)
    assert (version.labels, version.without_picture, len(messages)) == (4, 1, 1)
    table = pq.read_table(tmp_path / "v" / "data" / "labels.parquet")
    assert table["image"].null_count == 1


def test_version__refuses_an_occupied_folder_and_no_labels(world: LabelWorld, tmp_path: Path):
    with pytest.raises(NotCommittedError):
        freeze(world, tmp_path / "v")
    world.answer(0, "smoke")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with raising(TargetError, reason="occupied"):
        freeze(world, tmp_path / "full")
    (tmp_path / "empty").mkdir()
    assert freeze(world, tmp_path / "empty").labels == 1


def test_version__failure_leaves_nothing(world: LabelWorld, tmp_path: Path, monkeypatch):
    world.answer(0, "smoke")
    monkeypatch.setattr("dino_assets.labels.stage.versions.write_card", lambda facts: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        freeze(world, tmp_path / "out" / "v")
    assert list((tmp_path / "out").iterdir()) == []
