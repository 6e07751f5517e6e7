"""Boxes that are stored with a drop: registered, kept, replaced, removed, and damaged."""

import json
from pathlib import Path

import pytest

from dino_assets.drops import registering
from dino_assets.drops.boxes.reading import parse_boxes
from dino_assets.drops.boxes.records import BoxFile
from dino_assets.drops.examination import examine_drops, find_damaged
from dino_assets.drops.marks import set_retired, tag_drop
from dino_assets.drops.records import Drop
from dino_assets.drops.registering import register_drop
from dino_assets.drops.registry import find_drops, read_drop
from dino_assets.drops.stored_boxes import BOXES_NAME, BoxRequest, find_boxes
from dino_assets.errors import ConfigError, CorruptObjectError, InvalidBoxesError
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.inboxes import fill
from dino_assets_tests.worlds.raising import raising


def make_json(*lefts: float, score: float = 0.5) -> bytes:
    annotations = [
        {"image_id": 1, "category_id": 1, "bbox": [left, 2, 3, 4], "score": score} for left in lefts
    ]
    images = [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}]
    body = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "smoke"}],
    }
    return json.dumps(body).encode()


def box_file(*lefts: float) -> BoxFile:
    return parse_boxes(make_json(*lefts), name="boxes.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "card", {"a.jpg": (64, 48)})


def register(store: ObjectStore, folder: Path, **request: object) -> tuple[Drop, bool]:
    return register_drop(store, "d", source=str(folder), root=folder, boxes=BoxRequest(**request))


def lefts(store: ObjectStore) -> list[float]:
    stored = find_boxes(store, "d")
    return [] if stored is None else [box.x for box in stored.boxes()]


def test_register_drop__stores_boxes(store: ObjectStore, folder: Path):
    drop, has_changed = register(store, folder, file=box_file(1, 5), least_score=0.25)
    assert has_changed
    stored = find_boxes(store, "d")
    assert stored is not None
    assert stored.sha256 == drop.boxes == read_drop(store, "d").boxes
    assert tuple(stored.boxes()) == box_file(1, 5).boxes
    assert (stored.format, stored.pictures, len(stored)) == ("coco", 1, 2)
    assert (stored.settings.least_score, stored.settings.is_own_file) == (0.25, True)
    assert find_drops(store)["d"] == drop
    assert register(store, folder, file=box_file(5, 1), least_score=0.25) == (drop, False)


def test_register_drop__without_boxes_changes_nothing(store: ObjectStore, folder: Path):
    drop, _ = register(store, folder)
    assert drop.boxes == ""
    assert find_boxes(store, "d") is None
    assert not any(info.key.endswith("boxes.json") for info in store.list("drops"))
    with raising(ConfigError, setting="least_score"):
        register(store, folder, least_score=0.5)


def test_register_drop__boxes_stay_until_they_are_replaced_or_removed(
    store: ObjectStore, folder: Path
):
    first, _ = register(store, folder, file=box_file(1))
    again, has_changed = register(store, folder)
    assert (again.boxes, has_changed) == (first.boxes, False)
    tag_drop(store, "d", ["fire"])
    set_retired(store, "d", True)
    set_retired(store, "d", False)
    assert read_drop(store, "d").boxes == first.boxes
    second, has_changed = register(store, folder, file=box_file(2, 3))
    assert has_changed
    assert second.boxes != first.boxes
    assert lefts(store) == [2, 3]
    removed, has_changed = register(store, folder, is_removal=True)
    assert (removed.boxes, has_changed, lefts(store)) == ("", True, [])
    assert register(store, folder)[0].boxes == ""


def test_register_drop__other_boxes_keep_the_least_score(store: ObjectStore, folder: Path):
    register(store, folder, file=box_file(1), least_score=0.25)
    register(store, folder, file=box_file(1, 5))
    stored = find_boxes(store, "d")
    assert stored is not None
    assert stored.settings.least_score == 0.25


def test_examine_drops__boxes_that_came_after_the_registration(store: ObjectStore, folder: Path):
    register(store, folder)
    assert examine_drops(store, root=folder).verdicts == ()
    (folder / BOXES_NAME).write_bytes(make_json(1))
    (verdict,) = examine_drops(store, root=folder).verdicts
    assert verdict.warns
    assert "no boxes are registered" in verdict.sentence
    register(store, folder)
    assert examine_drops(store, root=folder).verdicts == ()


def test_register_drop__another_least_score_needs_no_file(store: ObjectStore, folder: Path):
    first, _ = register(store, folder, file=box_file(1, 5))
    second, _ = register(store, folder, least_score=0.75)
    assert second.boxes != first.boxes
    assert lefts(store) == [1, 5]
    stored = find_boxes(store, "d")
    assert stored is not None
    assert (stored.settings.least_score, stored.settings.is_own_file) == (0.75, True)
    for score in (-0.1, 1.1, float("nan")):
        with raising(ConfigError, setting="least_score"):
            register(store, folder, least_score=score)


def test_register_drop__takes_boxes_json_of_the_folder(store: ObjectStore, folder: Path):
    (folder / BOXES_NAME).write_bytes(make_json(1))
    first, _ = register(store, folder)
    assert lefts(store) == [1]
    (folder / BOXES_NAME).write_bytes(make_json(2, 3))
    second, _ = register(store, folder, least_score=0.25)
    assert lefts(store) == [2, 3]
    assert second.boxes != first.boxes
    (folder / BOXES_NAME).unlink()
    assert register(store, folder)[0].boxes == second.boxes
    # A file that a person names goes before the one in the folder, also later.
    register(store, folder, file=box_file(9))
    (folder / BOXES_NAME).write_bytes(make_json(4))
    register(store, folder)
    assert lefts(store) == [9]


def test_register_drop__refuses_a_boxes_json_without_boxes(
    store: ObjectStore, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    (folder / BOXES_NAME).write_text("{}")
    with raising(InvalidBoxesError, reason="other-format"):
        register(store, folder)
    assert find_drops(store) == {}
    monkeypatch.setattr(registering, "MAX_BOXES_BYTES", 1)
    with raising(InvalidBoxesError, reason="too-large", path=BOXES_NAME):
        register(store, folder)


def test_find_boxes__damaged(local_store: ObjectStore, folder: Path):
    drop, _ = register(local_store, folder, file=box_file(1))
    key = f"boxes/d/{drop.boxes}.parquet"
    (healthy,) = examine_drops(local_store, root=folder).verdicts or [None]
    assert healthy is None
    assert examine_drops(local_store, root=folder).boxed == 1
    data = local_store.get(key)
    local_store.put(key, data[:-1] + bytes([data[-1] ^ 1]))
    with raising(CorruptObjectError, key=key, is_gone=False):
        find_boxes(local_store, "d")
    (verdict,) = examine_drops(local_store, root=folder).verdicts
    assert not verdict.passed
    local_store.delete(key)
    with raising(CorruptObjectError, key=key, is_gone=True):
        find_boxes(local_store, "d")
    assert register(local_store, folder) == (drop, False)
    with raising(InvalidBoxesError, drop="d", reason="damaged"):
        register(local_store, folder, least_score=0.5)
    # Registering the same file again repairs it.
    register(local_store, folder, file=box_file(1))
    assert lefts(local_store) == [1]


def test_register_drop__does_not_forget_boxes_whose_fact_is_damaged(
    local_store: ObjectStore, folder: Path
):
    drop, _ = register(local_store, folder, file=box_file(1))
    key = "drops/d/boxes.json"
    local_store.put(key, b"broken")
    with raising(InvalidBoxesError, drop="d", reason="damaged"):
        register(local_store, folder)
    assert local_store.get(key) == b"broken"
    assert register(local_store, folder, file=box_file(1))[0].boxes == drop.boxes
    assert lefts(local_store) == [1]
    local_store.put(key, b"broken")
    assert register(local_store, folder, is_removal=True)[0].boxes == ""


def test_find_damaged__names_the_table_of_boxes(local_store: ObjectStore, folder: Path):
    drop, _ = register(local_store, folder, file=box_file(1))
    assert list(find_damaged(local_store)) == []
    key = f"boxes/d/{drop.boxes}.parquet"
    local_store.put(key, b"broken")
    (fault,) = find_damaged(local_store)
    assert fault.key == key
