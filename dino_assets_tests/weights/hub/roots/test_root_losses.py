"""Files that must survive, or must not block, the filling and exchange of checkpoint folders."""

import errno
import json
import os
import subprocess
import threading
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from dino_assets.errors import (
    CheckpointNotFoundError,
    ChecksumError,
    ConfigError,
    LocalEntryNotFoundError,
)
from dino_assets.settings.hub import resolve_hub
from dino_assets.store.folders import exchange_names, publish_folder, write_small
from dino_assets.weights.hub.filling import Watch
from dino_assets.weights.hub.listings import RECORD, Listing, Record, read_record
from dino_assets.weights.hub.locating import locate_directory
from dino_assets.weights.hub.places import RepoCache
from dino_assets_tests.worlds.faults import let_fail
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

# --- what somebody puts there ---------------------------------------------------------------


@pytest.mark.parametrize("is_there", [True, False])
def test_fill__keeps_files_that_appear_during_the_fetch(hub, folder, is_there):
    if is_there:
        fetch_into(folder)
        hub.add(REPO, version(2))

    def put(done_bytes: int, total: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "head.pt").write_text("a day's work")

    with raising(ConfigError, setting="folder", value="head.pt"):
        fetch_into(folder, watch=Watch(put))
    assert (folder / "head.pt").read_text() == "a day's work"
    assert (folder / NAME).exists() == is_there


def test_publish_folder__keeps_files_that_appear_before_the_exchange(tmp_path):
    """The file appears between the last check and the exchange."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a").touch()
    (tmp_path / "new").mkdir()
    late_files = ["mine"]

    def exchange(new: Path, folder: Path) -> bool:
        if late_files:
            (tmp_path / "old" / late_files.pop()).touch()
        return exchange_names(new, folder)

    def check_old(old: Path) -> None:
        if (old / "mine").exists():
            raise ConfigError("mine")

    with pytest.raises(ConfigError):
        publish_folder(tmp_path / "new", tmp_path / "old", check_old=check_old, exchange=exchange)
    assert sorted(path.name for path in (tmp_path / "old").iterdir()) == ["a", "mine"]


def test_fill__copies_gits_files(hub, folder):
    folder.mkdir(parents=True)
    (folder / ".gitkeep").touch()
    (folder / ".gitignore").write_text("*")
    fetch_into(folder)
    assert (folder / ".gitignore").read_text() == "*"
    assert (folder / ".gitkeep").exists()


def test_fill__ignores_files_of_other_programs(hub, folder):
    fetch_into(folder)
    for name in ("._model.safetensors", ".DS_Store", f".{RECORD}.0123", ".cache/huggingface/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("litter")
    assert locate_directory("x", folder).commit
    hub.add(REPO, version(2))
    fetch_into(folder)
    assert contents(folder) == version(2)


def test_fill__refuses_to_replace_a_users_cache_folder(hub, folder):
    fetch_into(folder)
    (folder / ".cache" / "precious").mkdir(parents=True)
    hub.add(REPO, version(2))
    with raising(ConfigError, setting="folder", value=".cache"):
        fetch_into(folder)
    assert (folder / ".cache" / "precious").is_dir()


def test_fill__replaces_an_edited_file_with_a_warning(hub, folder, caplog):
    fetch_into(folder)
    (folder / "config.json").write_text('{"mine": 1}')
    fetch_into(folder)
    assert contents(folder) == version(1)
    assert "config.json is missing or has changed since it came; fetching it again" in caplog.text


def test_locate_directory__added_weights(hub, folder):
    fetch_into(folder)
    (folder / "head.safetensors").write_bytes(b"x")
    with pytest.raises(
        ChecksumError, match=r"head\.safetensors is not one of the files that came from"
    ):
        locate_directory("x", folder)


# --- what a kill or a full disk leaves ------------------------------------------------------


def test_restore__a_folder_left_between_two_renames(hub, folder, monkeypatch):
    """On a disk without atomic exchange."""
    fetch_into(folder)
    aside_folder = folder.with_name(f".{folder.name}.fetching") / "making" / f"{'a' * 40}.replaced"
    aside_folder.parent.mkdir(parents=True)
    folder.rename(aside_folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fetch_into(folder)
    assert contents(folder) == version(1)
    assert leftovers(folder) == []


def test_write_small__leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old")
    let_fail(monkeypatch, os, "fsync", OSError(errno.ENOSPC, "full"))
    with raising(OSError, errno=errno.ENOSPC):
        write_small(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_bring__read_only_disk_with_the_files(hub, folder, monkeypatch, caplog):
    commit = hub.repositories[REPO].branches["main"]
    fetch_into(folder)
    let_fail(monkeypatch, os, "fsync", OSError(errno.EROFS, "Read-only file system"))
    fetch_into(folder, revision=commit)
    assert "could not be recorded on the disk (Read-only file system)" in caplog.text


def test_find_checkpoint__hub_cache_on_a_read_only_disk(hub, tmp_path, monkeypatch, caplog):
    """For example a cache in a container image; online and offline."""
    home = tmp_path / "hf"
    snapshot = Path(snapshot_download(REPO, cache_dir=home / "hub", endpoint=hub.endpoint))
    let_fail(monkeypatch, Path, "mkdir", OSError(errno.EROFS, "Read-only file system"))
    assert find_checkpoint(REPO, root=tmp_path) == snapshot
    assert find_checkpoint(REPO, root=tmp_path, revision=snapshot.name) == snapshot
    assert "could not be recorded on the disk" in caplog.text


def test_remember__processes_with_equal_ids(tmp_path, monkeypatch):
    """Two containers share one home, and both processes have the id 1."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    cache = RepoCache.of(REPO, resolve_hub(tmp_path))
    failures: list[BaseException] = []

    def remember() -> None:
        for turn in range(60):
            try:
                cache.remember(Record(Listing(REPO, f"{turn:040x}", ()), "main"))
            except OSError as err:
                failures.append(err)

    threads = [threading.Thread(target=remember) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert not list((tmp_path / "hf").rglob(".*.*"))


# --- what other caches have -----------------------------------------------------------------


def test_fill__takes_only_checkpoint_files_from_the_hub_cache(hub, folder, tmp_path, monkeypatch):
    hub.add(REPO, version(1) | {"pytorch_model.bin": b"pickle" * 999, "extra.txt": b"x"})
    snapshot_download(REPO, cache_dir=tmp_path / "hf" / "hub", endpoint=hub.endpoint)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fetch_into(folder)
    assert contents(folder) == version(1)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    hub.add(REPO, version(2))
    fetch_into(folder)
    assert contents(folder) == version(2)


def test_fill__fetches_what_the_hub_cache_lacks_once_online(hub, folder, tmp_path, monkeypatch):
    commit = hub.repositories[REPO].branches["main"]
    snapshot_download(
        REPO,
        cache_dir=tmp_path / "hf" / "hub",
        endpoint=hub.endpoint,
        ignore_patterns=["README.md"],
    )
    with monkeypatch.context() as offline:
        offline.setenv("HF_HUB_OFFLINE", "1")
        fetch_into(folder, revision=commit)
    assert "README.md" not in contents(folder)
    assert not read_record(folder / RECORD).is_listed
    hub.asked.clear()
    fetch_into(folder, revision=commit)
    assert contents(folder) == version(1)
    assert len(hub.asked) == 2  # the listing, and the card
    hub.asked.clear()
    fetch_into(folder, revision=commit)
    assert paths(hub) == []


def test_recall__prefers_the_hubs_listing_to_the_hub_cache(hub, folder, tmp_path, monkeypatch):
    snapshot_download(
        REPO,
        cache_dir=tmp_path / "hf" / "hub",
        endpoint=hub.endpoint,
        ignore_patterns=["README.md"],
    )
    with monkeypatch.context() as offline:
        offline.setenv("HF_HUB_OFFLINE", "1")
        fetch_into(folder)
    find_checkpoint(REPO, root=tmp_path)  # everything, into this package's cache
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fetch_into(folder)
    assert contents(folder) == version(1)


def test_fill__hub_cache_without_a_shard(hub, folder, tmp_path, monkeypatch):
    names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = json.dumps({"weight_map": {"a": names[0], "b": names[1]}}).encode()
    shards = {name: WEIGHTS[n:] for n, name in enumerate(names)}
    hub.add("org/sharded", {"model.safetensors.index.json": index, **shards})
    cache = tmp_path / "hf" / "hub"
    snapshot_download(
        "org/sharded", cache_dir=cache, endpoint=hub.endpoint, ignore_patterns=names[1:]
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with raising(LocalEntryNotFoundError, problem="HF_HUB_OFFLINE is set"):
        fetch_into(folder, "org/sharded")
    with raising(LocalEntryNotFoundError, problem="HF_HUB_OFFLINE is set"):
        find_checkpoint("org/sharded", root=tmp_path)


def test_find_checkpoint__an_edit_in_the_cache_does_not_change_the_hub_cache(hub, tmp_path):
    cache = tmp_path / "hf" / "hub"
    hub_folder = snapshot_download(
        REPO, cache_dir=cache, endpoint=hub.endpoint, ignore_patterns=["README.md"]
    )
    own_folder = find_checkpoint(REPO, root=tmp_path)
    assert own_folder != Path(hub_folder)
    (own_folder / NAME).write_bytes(b"edited")
    assert (Path(hub_folder) / NAME).read_bytes() == WEIGHTS


# --- what is looked at before the weights come ----------------------------------------------


def test_fill__check_early_runs_before_the_weights(hub, folder):
    fetch_into(folder)
    hub.add(REPO, version(2) | {NAME: WEIGHTS[::-1]})
    hub.asked.clear()

    def refuse(new: Path) -> None:
        assert sorted(path.name for path in new.iterdir()) == sorted(version(2).keys() - {NAME})
        raise ConfigError(reason="another family")

    with raising(ConfigError, reason="another family"):
        fetch_into(folder, watch=Watch(check_early=refuse))
    assert hub.bodies(NAME) == []
    assert contents(folder) == version(1)
    assert leftovers(folder) == []


def test_fill__a_mounted_folder_of_the_same_disk(hub, folder, tmp_path):
    folder.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    bind = ["mount", "--bind", str(tmp_path / "elsewhere"), str(folder)]
    if os.geteuid() != 0 or subprocess.run(bind, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        hub.asked.clear()
        with raising(ConfigError, setting="folder", reason="mounted"):
            fetch_into(folder)
        assert len(hub.asked) == 1
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_find_checkpoint__folder_without_permission(hub, folder, monkeypatch):
    """root has all permissions, so the kernel's answer is simulated."""
    let_fail(monkeypatch, Path, "exists", PermissionError(errno.EACCES, "Permission denied"))
    with pytest.raises(CheckpointNotFoundError, match=rf"written in '{folder}': Permission denied"):
        fetch_into(folder)
