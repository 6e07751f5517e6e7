"""Durable writes: the order in which bytes, names and folders reach a disk."""

import errno
import os
from pathlib import Path

import pytest

from dino_assets.errors import StoreFullError
from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits.manifests import manifest_key, read_manifest
from dino_assets.store.commits.writing import commit
from dino_assets.store.folders import sync
from dino_assets.store.lasting import LastingFolder
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets_tests.worlds.outputs import OUTPUT, full_draft, local_file
from dino_assets_tests.worlds.raising import raising


class Disk:
    """A sync function that records each path, and whether the manifest existed by then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.synced: list[tuple[str, bool]] = []

    def __call__(self, path: Path) -> None:
        sync(path)
        has_manifest = (self.folder / manifest_key(OUTPUT)).exists()
        self.synced.append((os.path.relpath(path, self.folder), has_manifest))


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(StorageSettings(url="store", root=tmp_path))


def test_commit__parts_reach_the_disk_before_the_manifest(store: ObjectStore, tmp_path: Path):
    disk = Disk(store.folder)
    store.lasting = LastingFolder(store.folder, sync_path=disk)
    commit(store, full_draft(store, local_file(tmp_path)))
    synced_before = {path for path, has_manifest in disk.synced if not has_manifest}
    parts = {part.key for part in read_manifest(store, OUTPUT).parts}
    assert len(parts) > 2
    assert parts < synced_before
    # Their names and their folders, up to the parent of the store.
    assert {"parts/things/flight-1", "parts/things", "parts", ".", ".."} < synced_before
    key = manifest_key(OUTPUT)
    assert f"{key}#1" in synced_before
    assert {path for path, has_manifest in disk.synced if has_manifest} == {
        "manifests/things/space1",
        "manifests/things",
        "manifests",
        ".",
        "..",
    }
    assert not list(store.folder.rglob("*#*"))


def test_put__lasting_object_is_replaced_in_one_step(store: ObjectStore):
    store.put("drops/a.json", b"one", is_lasting=True)
    assert store.get("drops/a.json") == b"one"
    folder = store.folder / "drops"

    def fail(path: Path) -> None:
        assert path == folder / "a.json#2"  # the first name is that of a killed writer
        raise OSError(errno.ENOSPC, "full", str(path))

    (folder / "a.json#1").write_bytes(b"half")
    store.lasting = LastingFolder(store.folder, sync_path=fail)
    with raising(StoreFullError, key="drops/a.json", store="store") as caught:
        store.put("drops/a.json", b"two", is_lasting=True)
    assert str(store.folder) not in str(caught.value)
    assert store.get("drops/a.json") == b"one"
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "a.json#1"]
    assert [info.key for info in store.list()] == ["drops/a.json"]


def test_settle__skips_missing_objects_and_unsyncable_folders(store: ObjectStore):
    store.put("parts/a", b"x")

    def cannot(path: Path) -> None:
        if path.is_dir():
            raise OSError(errno.EINVAL, "invalid", str(path))
        sync(path)

    store.lasting = LastingFolder(store.folder, sync_path=cannot)
    store.settle(["parts/a", "parts/gone"])
    store.put("parts/b", b"y", is_lasting=True)
    assert store.get("parts/b") == b"y"


def test_settle__disk_failure_is_an_error(store: ObjectStore):
    store.put("parts/a", b"x")

    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "i/o", str(path))

    store.lasting = LastingFolder(store.folder, sync_path=fail)
    with raising(OSError, match="Input/output error") as caught:
        store.settle(["parts/a"])
    assert str(store.folder) not in str(caught.value)
