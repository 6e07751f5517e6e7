"""A folder that somebody named: filled, kept, mended, and replaced in one step."""

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


def test_root__is_filled_and_knows_what_it_is(hub, folder):
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


def test_root__whole_costs_no_request_when_pinned_and_one_by_branch(hub, folder):
    commit = hub.add(REPO, version(2))
    fetch_into(folder)
    hub.asked.clear()
    inode = folder.stat().st_ino
    fetch_into(folder, revision=commit)
    assert paths(hub) == []
    fetch_into(folder)
    assert paths(hub) == [f"/api/models/{REPO}/revision/main"]
    assert folder.stat().st_ino == inode


def test_root__pinned_from_the_start(hub, folder):
    commit = hub.repositories[REPO].branches["main"]
    hub.add(REPO, version(2))
    fetch_into(folder, revision=commit)
    assert contents(folder) == version(1)
    hub.asked.clear()
    fetch_into(folder, revision=commit)
    assert paths(hub) == []


def test_root__another_commit_takes_the_place_of_the_old_one(hub, folder):
    fetch_into(folder)
    new = WEIGHTS[::-1]
    hub.add(REPO, version(2) | {NAME: new})
    fetch_into(folder)
    assert contents(folder) == version(2) | {NAME: new}  # and nothing of version 1
    assert leftovers(folder) == []


def test_root__what_did_not_change_is_not_fetched_again(hub, folder):
    fetch_into(folder)
    hub.add(REPO, version(2))
    hub.asked.clear()
    fetch_into(folder)
    assert contents(folder) == version(2)
    assert hub.bodies(NAME) == []


def test_root__another_repository_takes_the_place(hub, folder):
    hub.add("org/other", version(7))
    fetch_into(folder)
    fetch_into(folder, "org/other")
    assert contents(folder) == version(7)
    assert read_record(folder / RECORD).listing.repo == "org/other"


def test_root__a_reader_never_sees_a_mixture_or_a_gap(hub, folder):
    fetch_into(folder)
    is_over = threading.Event()
    wrong: list[str] = []
    seen: set[bytes] = set()

    def look() -> None:
        while not is_over.is_set():
            try:
                before, card, after = (
                    (folder / name).read_bytes()
                    for name in ("config.json", "README.md", "config.json")
                )
            except OSError as err:
                wrong.append(str(err))
                continue
            seen.add(card)
            if before == after and card.split()[-1] not in before:
                wrong.append(f"{before!r} {card!r}")

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(2, 12):
            hub.add(REPO, version(number))
            fetch_into(folder)
    finally:
        is_over.set()
        reader.join()
    assert wrong == []
    assert len(seen) > 1


def test_root__a_file_that_the_new_commit_dropped_goes(hub, folder):
    fetch_into(folder)
    fewer = {name: data for name, data in version(1).items() if name != "only-1.json"}
    commit = hub.add(REPO, fewer)
    fetch_into(folder)
    assert contents(folder) == fewer
    assert read_record(folder / RECORD).listing.commit == commit


@pytest.mark.parametrize("name", [NAME, "config.json"])
@pytest.mark.parametrize("kind", ["flipped", "truncated", "removed"])
def test_root__damage_is_found_and_mended(hub, folder, kind, name):
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


def test_root__files_of_another_commit_than_the_record_says(hub, folder):
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


def test_root__an_interrupted_download_is_taken_up_again(hub, folder):
    hub.misbehave(NAME, "reset", after=100_000)
    hub.misbehave(NAME, "503")
    with raising(LocalEntryNotFoundError, file=NAME, problem="HTTP 503"):
        fetch_into(folder)
    assert not folder.exists()
    (part,) = (folder.parent / ".teacher.fetching" / "parts").iterdir()
    had = part.stat().st_size
    assert 0 < had < len(WEIGHTS)
    hub.asked.clear()
    fetch_into(folder)
    assert [a.range for a in hub.bodies(NAME) if a.host == "localhost"] == [f"bytes={had}-"]
    assert contents(folder) == version(1)
    assert leftovers(folder) == []


def test_root__what_a_killed_exchange_left_never_comes_into_the_folder(hub, folder):
    """Between the exchange and the clearing away, the old folder stands where the new one was made."""
    commit = hub.repositories[REPO].branches["main"]
    fetch_into(folder)
    making = folder.parent / ".teacher.fetching" / "making" / commit
    making.mkdir(parents=True)
    (making / "model-of-before.safetensors").write_bytes(b"old")
    damage(folder / "config.json", "flipped")
    fetch_into(folder)
    assert contents(folder) == version(1)
    assert leftovers(folder) == []


def cannot_exchange(new: Path, folder: Path) -> bool:
    """As on a file system that swaps no names in one step."""
    return False


def test_root__without_an_exchange(hub, folder):
    fetch_into(folder, exchange=cannot_exchange)
    hub.add(REPO, version(2))
    fetch_into(folder, exchange=cannot_exchange)
    assert contents(folder) == version(2)
    assert leftovers(folder) == []


def test_root__without_an_exchange_and_the_second_rename_fails(hub, folder, monkeypatch):
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
    assert paths(hub) == [f"/api/models/{REPO}/revision/main"]  # all of it was here already
    assert contents(folder) == version(2)
    assert leftovers(folder) == []


def test_root__many_at_once_find_it_whole(hub, folder, tmp_path):
    """Whoever comes last to the workplace takes it away, perhaps while another one comes."""
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
