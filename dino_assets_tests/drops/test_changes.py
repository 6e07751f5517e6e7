"""What came to a drop's source since its images were made, what changed there, and what is gone."""

import os
from pathlib import Path

import pytest

from dino_assets.drops.arrivals import MARKER
from dino_assets.drops.changes import SourceChanges, find_changes
from dino_assets.drops.records import Drop
from dino_assets.drops.registering import register_drop
from dino_assets.drops.sources.opening import open_source
from dino_assets.images.stage.drafting import draft_images
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore.in_memory()


@pytest.fixture
def card(tmp_path: Path, write_photo) -> Path:
    """Two photographs, the second with its raw file, a file that is none, and notes."""
    for number in (1, 2):
        write_photo(tmp_path / "card" / f"DJI_000{number}.JPG", seed=number)
    (tmp_path / "card" / "DJI_0002.DNG").write_bytes(b"raw")
    (tmp_path / "card" / "DJI_0009.JPG").write_bytes(b"no picture")
    (tmp_path / "card" / "notes.txt").write_text("flown in June")
    return tmp_path / "card"


@pytest.fixture
def drop(store: ObjectStore, card: Path) -> Drop:
    """The card as a drop whose images are made."""
    return read(store, card, "card")


def read(store: ObjectStore, card: Path, source: str) -> Drop:
    drop, _ = register_drop(store, "a", source=source, root=card.parent)
    commit(store, draft_images(drop, open_source(drop.source, root=card.parent), threads=1))
    return drop


def look(store: ObjectStore, drop: Drop) -> SourceChanges | None:
    source = open_source(drop.source, root=Path(drop.source).parent)
    images = read_manifest(store, OutputId("images", drop.name))
    return find_changes(store, images, source.entries(), is_list=source.is_list)


def test_find_changes__nothing_changed(store: ObjectStore, drop: Drop):
    assert look(store, drop) is None


def test_find_changes__new_replaced_and_missing(
    store: ObjectStore, drop: Drop, card: Path, write_photo
):
    (card / "DJI_0001.JPG").unlink()
    (card / "DJI_0002.JPG").write_bytes(b"another one")
    for number in (4, 3):
        write_photo(card / "101MEDIA" / f"DJI_000{number}.JPG", seed=number)
    changes = look(store, drop)
    assert changes is not None
    assert changes.came == ("101MEDIA/DJI_0003.JPG", "101MEDIA/DJI_0004.JPG")
    assert (changes.changed, changes.gone) == (("DJI_0002.JPG",), ("DJI_0001.JPG",))
    assert changes.recorded == 2
    assert changes.describe_new() == (
        "2 photographs came since the drop was read, the first is '101MEDIA/DJI_0003.JPG'; 1 photograph was "
        "replaced since the drop was read, the first is 'DJI_0002.JPG'"
    )
    assert changes.describe_gone() == "1 of its 2 photographs is gone, the first is 'DJI_0001.JPG'"


def test_find_changes__incomplete_picture_was_completed(
    store: ObjectStore, drop: Drop, card: Path, write_photo
):
    write_photo(card / "DJI_0009.JPG", seed=9)
    changes = look(store, drop)
    assert changes is not None
    assert (changes.came, changes.changed, changes.has_new) == ((), ("DJI_0009.JPG",), True)


def test_find_changes__ignores_files_that_are_never_read(
    store: ObjectStore, drop: Drop, card: Path
):
    (card / MARKER).write_bytes(b"")
    (card / "._DJI_0001.JPG").write_bytes(b"of a Mac")
    (card / "DJI_0001.DNG").write_bytes(b"raw")  # beside its JPEG
    (card / "DJI_0007.JPG").symlink_to("DJI_0001.JPG")
    assert look(store, drop) is None
    for name in (MARKER, "notes.txt", "DJI_0009.JPG"):
        (card / name).unlink()
    assert look(store, drop) is None


def test_find_changes__a_raw_file_without_its_jpeg_is_a_photograph(
    store: ObjectStore, drop: Drop, card: Path
):
    (card / "DJI_0003.DNG").write_bytes(b"raw")
    changes = look(store, drop)
    assert changes is not None
    assert changes.came == ("DJI_0003.DNG",)


def test_find_changes__new_times_only(store: ObjectStore, drop: Drop, card: Path):
    os.utime(card / "DJI_0001.JPG", (1, 1))
    changes = look(store, drop)
    assert changes is not None
    assert (changes.has_new, changes.gone) == (False, ())
    assert (changes.describe_new(), changes.describe_gone()) == ("", "")


def test_find_changes__a_list_that_grew(store: ObjectStore, card: Path, write_photo):
    list_file = card / "list.csv"
    list_file.write_text("image_path\nDJI_0001.JPG\n")
    drop = read(store, card, "card/list.csv")
    write_photo(card / "DJI_0003.JPG", seed=3)
    assert look(store, drop) is None
    list_file.write_text("image_path\nDJI_0001.JPG\nDJI_0003.JPG\nDJI_0004.JPG\n")
    changes = look(store, drop)
    assert changes is not None
    assert changes.came == ("DJI_0003.JPG",)  # the last one is not there
