"""Target folders that are not empty, not folders, or cannot be exchanged."""

import errno
import json
from pathlib import Path

import pytest

from dino_assets.errors import ConfigError, DiskFullError, LocalEntryNotFoundError
from dino_assets.weights.hub.listings import RECORD, read_record
from dino_assets.weights.hub.locating import locate_directory
from dino_assets_tests.worlds.faults import report_free
from dino_assets_tests.worlds.finding import find_checkpoint
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.versions import (
    NAME,
    REPO,
    WEIGHTS,
    contents,
    fetch_into,
    leftovers,
    paths,
    version,
)


@pytest.mark.parametrize("is_empty", [True, False])
def test_target_folder__existing_folder(hub, folder, is_empty):
    folder.mkdir(parents=True)
    if not is_empty:
        (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
        (folder / ".cache" / "huggingface").mkdir(parents=True)
    fetch_into(folder)
    assert contents(folder) == version(1)


@pytest.mark.parametrize("name", ["notes.txt", "model-1.safetensors", "photos"])
@pytest.mark.parametrize("is_fetched", [True, False])
def test_target_folder__keeps_a_users_file(hub, folder, name, is_fetched):
    if is_fetched:
        fetch_into(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).mkdir() if name == "photos" else (folder / name).write_text("mine")
    before = sorted(folder.rglob("*"))
    hub.add(REPO, version(2))
    with raising(ConfigError, setting="folder", value=name):
        fetch_into(folder)
    assert sorted(folder.rglob("*")) == before
    assert leftovers(folder) == []
    assert [a for a in hub.asked if "only-2.json" in a.path] == []


def test_target_folder__a_users_file_beside_a_whole_checkpoint(hub, folder):
    fetch_into(folder)
    (folder / "notes.txt").write_text("mine")
    fetch_into(folder)
    assert contents(folder) == version(1) | {"notes.txt": b"mine"}


def test_target_folder__a_file(hub, folder):
    folder.parent.mkdir()
    folder.write_text("mine")
    with raising(ConfigError, setting="folder", value=str(folder), reason="file"):
        fetch_into(folder)
    assert folder.read_text() == "mine"
    assert leftovers(folder) == []


@pytest.mark.parametrize("is_empty", [True, False])
def test_target_folder__the_current_folder(hub, folder, monkeypatch, is_empty):
    """The exchange would replace its inode, and the shell's current folder would be gone."""
    if is_empty:
        folder.mkdir(parents=True)
    else:
        fetch_into(folder)
        hub.add(REPO, version(2))
    monkeypatch.chdir(folder)
    with raising(ConfigError, setting="folder", reason="working directory"):
        find_checkpoint(REPO, root=folder.parent, into=Path())
    assert leftovers(folder) == []
    assert contents(folder) == ({} if is_empty else version(1))


def test_target_folder__through_a_link(hub, folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    fetch_into(tmp_path / "link")
    hub.add(REPO, version(2))
    fetch_into(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert contents(folder) == version(2)


def test_target_folder__mount_point(hub, small_disk):
    with pytest.raises(ConfigError, match=rf"'{small_disk}' is a mount point"):
        fetch_into(small_disk)
    assert list(small_disk.iterdir()) == []
    fetch_into(small_disk / "teacher")
    assert contents(small_disk / "teacher") == version(1)


def test_target_folder__small_disk_fails_before_the_first_request(hub, small_disk):
    hub.add(REPO, version(1) | {NAME: WEIGHTS * 4})
    with pytest.raises(DiskFullError, match=r"needs 1,200,\d+ more bytes, and only") as caught:
        fetch_into(small_disk / "teacher")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.needed_bytes > caught.value.free_bytes > 0
    assert paths(hub) == [f"/api/models/{REPO}/revision/main"]
    assert list(small_disk.iterdir()) == []


def test_target_folder__partial_files_need_no_space_again(hub, folder, monkeypatch):
    hub.misbehave(NAME, "reset", after=100_000)
    hub.misbehave(NAME, "503")
    with raising(LocalEntryNotFoundError, file=NAME, problem="HTTP 503"):
        fetch_into(folder)
    present_bytes = sum(
        path.stat().st_size for path in folder.parent.rglob("*.*") if path.is_file()
    )
    missing_bytes = sum(map(len, version(1).values())) - present_bytes
    report_free(monkeypatch, folder.parent, missing_bytes - 1)
    with raising(DiskFullError, needed_bytes=missing_bytes, free_bytes=missing_bytes - 1):
        fetch_into(folder)
    report_free(monkeypatch, folder.parent, missing_bytes)
    fetch_into(folder)
    assert contents(folder) == version(1)


def test_target_folder__keeps_the_old_checkpoint_if_the_disk_fills_up(hub, small_disk, monkeypatch):
    fetch_into(small_disk / "teacher")
    hub.add(REPO, version(2) | {NAME: WEIGHTS[::-1] * 4})
    report_free(monkeypatch, small_disk, 10**9)
    with raising(DiskFullError, needed_bytes=0):
        fetch_into(small_disk / "teacher")
    assert contents(small_disk / "teacher") == version(1)
    assert locate_directory("x", small_disk / "teacher").commit


def test_target_folder__adopts_an_equal_checkpoint_of_unknown_origin(hub, folder):
    folder.mkdir(parents=True)
    for name, data in version(1).items():
        (folder / name).write_bytes(data)
    inode = (folder / NAME).stat().st_ino
    fetch_into(folder)
    assert read_record(folder / RECORD).listing.repo == REPO
    assert paths(hub) == [f"/api/models/{REPO}/revision/main"]
    assert (folder / NAME).stat().st_ino == inode
    assert leftovers(folder) == []


def test_target_folder__keeps_a_different_checkpoint_of_unknown_origin(hub, folder):
    folder.mkdir(parents=True)
    edited_files = version(1) | {NAME: WEIGHTS[::-1]}
    for name, data in edited_files.items():
        (folder / name).write_bytes(data)
    with raising(ConfigError, setting="folder", value=NAME):
        fetch_into(folder)
    assert contents(folder) == edited_files
    assert not (folder / RECORD).exists()
    assert leftovers(folder) == []


@pytest.mark.parametrize("name", ["../elsewhere", "/etc/hostname", "a/b"])
def test_target_folder__ignores_a_record_with_paths_outside(hub, folder, name):
    fetch_into(folder)
    (folder.parent / "elsewhere").write_text("mine")
    record = json.loads((folder / RECORD).read_bytes())
    record["files"].append({"name": name, "bytes": 4, "digest": "0" * 64})
    record["files"].append({"name": "notes.txt", "bytes": 4, "digest": "0" * 64})
    (folder / RECORD).write_text(json.dumps(record))
    assert locate_directory("x", folder).commit is None
    (folder / "notes.txt").write_text("mine")
    hub.add(REPO, version(2))
    with raising(ConfigError, setting="folder"):  # no file that it lists as fetched is lost
        fetch_into(folder)
    assert (folder.parent / "elsewhere").read_text() == "mine"
