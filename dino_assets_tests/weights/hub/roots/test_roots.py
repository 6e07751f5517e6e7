"""Target folders: filled, kept, repaired, and replaced in one step."""

import errno
import threading
from pathlib import Path

import pytest

from dino_assets.errors import CheckpointNotFoundError, ChecksumError, LocalEntryNotFoundError
from dino_assets.settings.hub import resolve_hub
from dino_assets.weights.hub.listings import RECORD, read_record
from dino_assets.weights.hub.locating import locate_directory
from dino_assets.weights.hub.places import RepoCache, TargetFolder
from dino_assets_tests.worlds.published import damage
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


def test_target_folder__is_filled_and_has_a_record(hub, folder):
    commit = hub.add(REPO, version(2) | {"pytorch_model.bin": b"pickle", "onnx/model.onnx": b"x"})
    fetch_into(folder)
    assert contents(folder) == version(2)
    assert leftovers(folder) == []
    record = read_record(folder / RECORD)
    assert (record.listing.repo, record.listing.commit, record.revision) == (REPO, commit, "main")
    assert {file.name: file.bytes for file in record.listing.files} == {
        name: len(data) for name, data in version(2).items()
    }
    assert locate_directory("x", folder).commit == commit


def test_target_folder__whole_needs_one_request_by_branch_none_by_commit(hub, folder):
    commit = hub.add(REPO, version(2))
    fetch_into(folder)
    hub.asked.clear()
    inode = folder.stat().st_ino
    fetch_into(folder, revision=commit)
    assert paths(hub) == []
    fetch_into(folder)
    assert paths(hub) == [f"/api/models/{REPO}/revision/main"]
    assert folder.stat().st_ino == inode


def test_target_folder__by_commit_from_the_start(hub, folder):
    commit = hub.repositories[REPO].branches["main"]
    hub.add(REPO, version(2))
    fetch_into(folder, revision=commit)
    assert contents(folder) == version(1)
    hub.asked.clear()
    fetch_into(folder, revision=commit)
    assert paths(hub) == []


def test_target_folder__another_commit_replaces_the_old_one(hub, folder):
    fetch_into(folder)
    new_weights = WEIGHTS[::-1]
    hub.add(REPO, version(2) | {NAME: new_weights})
    fetch_into(folder)
    assert contents(folder) == version(2) | {NAME: new_weights}  # and no file of version 1
    assert leftovers(folder) == []


def test_target_folder__unchanged_files_are_not_fetched_again(hub, folder):
    fetch_into(folder)
    hub.add(REPO, version(2))
    hub.asked.clear()
    fetch_into(folder)
    assert contents(folder) == version(2)
    assert hub.bodies(NAME) == []


def test_target_folder__another_repository_replaces_the_old_one(hub, folder):
    hub.add("org/other", version(7))
    fetch_into(folder)
    fetch_into(folder, "org/other")
    assert contents(folder) == version(7)
    assert read_record(folder / RECORD).listing.repo == "org/other"


def test_target_folder__readers_see_the_old_or_the_new_checkpoint(hub, folder):
    fetch_into(folder)
    is_over = threading.Event()
    failures: list[str] = []
    cards: set[bytes] = set()

    def look() -> None:
        while not is_over.is_set():
            try:
                before, card, after = (
                    (folder / name).read_bytes()
                    for name in ("config.json", "README.md", "config.json")
                )
            except OSError as err:
                failures.append(str(err))
                continue
            cards.add(card)
            if before == after and card.split()[-1] not in before:
                failures.append(f"{before!r} {card!r}")

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(2, 12):
            hub.add(REPO, version(number))
            fetch_into(folder)
    finally:
        is_over.set()
        reader.join()
    assert failures == []
    assert len(cards) > 1


def test_target_folder__removes_files_that_the_new_commit_lacks(hub, folder):
    fetch_into(folder)
    fewer_files = {name: data for name, data in version(1).items() if name != "only-1.json"}
    commit = hub.add(REPO, fewer_files)
    fetch_into(folder)
    assert contents(folder) == fewer_files
    assert read_record(folder / RECORD).listing.commit == commit


@pytest.mark.parametrize("name", [NAME, "config.json"])
@pytest.mark.parametrize("kind", ["flipped", "truncated", "removed"])
def test_target_folder__detects_and_repairs_damage(hub, folder, kind, name):
    commit = hub.repositories[REPO].branches["main"]
    fetch_into(folder)
    damage(folder / name, kind)
    with pytest.raises(
        ChecksumError, match=f"{name} is missing or has changed since it came from {REPO}"
    ):
        locate_directory("x", folder)
    hub.asked.clear()
    fetch_into(folder, revision=commit)
    assert contents(folder) == version(1)
    assert {path.rsplit("/")[-1] for path in paths(hub)} == {name}
    assert leftovers(folder) == []


def test_target_folder__files_of_another_commit_than_in_the_record(hub, folder):
    fetch_into(folder)
    hub.add(REPO, version(2))
    for name, data in version(2).items():
        (folder / name).write_bytes(data)
    with pytest.raises(ChecksumError):
        locate_directory("x", folder)
    hub.repositories[REPO].branches["main"] = read_record(folder / RECORD).listing.commit
    (folder / "only-2.json").unlink()
    fetch_into(folder)
    assert contents(folder) == version(1)


def test_target_folder__continues_an_interrupted_download(hub, folder):
    hub.misbehave(NAME, "reset", after=100_000)
    hub.misbehave(NAME, "503")
    with raising(LocalEntryNotFoundError, file=NAME, problem="HTTP 503"):
        fetch_into(folder)
    assert not folder.exists()
    (part,) = (folder.parent / ".teacher.fetching" / "parts").iterdir()
    part_bytes = part.stat().st_size
    assert 0 < part_bytes < len(WEIGHTS)
    hub.asked.clear()
    fetch_into(folder)
    assert [a.range for a in hub.bodies(NAME) if a.host == "localhost"] == [f"bytes={part_bytes}-"]
    assert contents(folder) == version(1)
    assert leftovers(folder) == []


def test_target_folder__remains_of_a_killed_exchange_stay_outside(hub, folder):
    """After the exchange, the old folder lies in the workplace until it is removed."""
    commit = hub.repositories[REPO].branches["main"]
    fetch_into(folder)
    leftover = folder.parent / ".teacher.fetching" / "making" / commit
    leftover.mkdir(parents=True)
    (leftover / "model-of-before.safetensors").write_bytes(b"old")
    damage(folder / "config.json", "flipped")
    fetch_into(folder)
    assert contents(folder) == version(1)
    assert leftovers(folder) == []


def cannot_exchange(new: Path, folder: Path) -> bool:
    """Refuse to exchange names, as a file system without atomic exchange does."""
    return False


def test_target_folder__without_atomic_exchange(hub, folder):
    fetch_into(folder, exchange=cannot_exchange)
    hub.add(REPO, version(2))
    fetch_into(folder, exchange=cannot_exchange)
    assert contents(folder) == version(2)
    assert leftovers(folder) == []


def test_target_folder__without_atomic_exchange_and_the_second_rename_fails(
    hub, folder, monkeypatch
):
    fetch_into(folder)
    commit = hub.add(REPO, version(2))
    rename = Path.rename

    def rename_or_fail(path: Path, target: Path) -> Path:
        if path.name == commit:
            raise OSError(errno.EIO, "the disk is tired")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_or_fail)
        with pytest.raises(CheckpointNotFoundError):
            fetch_into(folder, exchange=cannot_exchange)
    assert contents(folder) == version(1)
    assert locate_directory("x", folder)
    hub.asked.clear()
    fetch_into(folder)
    assert paths(hub) == [f"/api/models/{REPO}/revision/main"]  # all files were here already
    assert contents(folder) == version(2)
    assert leftovers(folder) == []


def test_target_folder__many_threads_find_it_whole(hub, folder, tmp_path):
    """The last user of the workplace removes it, possibly while another thread enters."""
    fetch_into(folder)
    root = TargetFolder(folder, RepoCache.of(REPO, resolve_hub(tmp_path)), "teacher")
    record = root.record
    failures: list[BaseException] = []

    def fill() -> None:
        for _ in range(50):
            try:
                root.fill(record, lambda *_: None, None)
            except OSError as err:
                failures.append(err)

    threads = [threading.Thread(target=fill) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert leftovers(folder) == []
