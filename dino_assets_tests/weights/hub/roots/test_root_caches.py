"""Target folders and caches: filled from caches, shared with none, usable offline."""

import os
import shutil
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from dino_assets.errors import LocalEntryNotFoundError
from dino_assets.weights.hub.listings import RECORD, read_record
from dino_assets_tests.worlds.finding import find_checkpoint
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


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_target_folder__shares_nothing_with_a_cache(hub, folder, tmp_path, monkeypatch, whose):
    if whose == "ours":
        cached_folder = find_checkpoint(REPO, root=tmp_path)
    else:
        cache = tmp_path / "hf" / "hub"
        cached_folder = Path(snapshot_download(REPO, cache_dir=cache, endpoint=hub.endpoint))
    hub.asked.clear()
    fetch_into(folder)
    assert paths(hub) == [f"/api/models/{REPO}/revision/main"]  # no file: all were on this machine
    damage(folder / "config.json", "removed")
    fetch_into(folder)
    for name in version(1):
        assert (folder / name).stat().st_nlink == 1
        assert not (folder / name).is_symlink()
        assert not (folder / name).samefile(cached_folder / name)
    (folder / NAME).write_bytes(b"edited")
    assert (cached_folder / NAME).read_bytes() == WEIGHTS


def test_target_folder__offline_and_whole(hub, folder, monkeypatch):
    commit = hub.repositories[REPO].branches["main"]
    fetch_into(folder)
    hub.asked.clear()
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for revision in (None, "main", commit):
        fetch_into(folder, revision=revision)
    assert paths(hub) == []


@pytest.mark.parametrize("whose", ["ours", "theirs"])
@pytest.mark.parametrize("holds", ["nothing", "damage", "another"])
def test_target_folder__offline_is_filled_from_the_cache(
    hub, folder, tmp_path, monkeypatch, whose, holds
):
    if holds == "damage":
        fetch_into(folder)
        damage(folder / NAME, "flipped")
    elif holds == "another":
        hub.add("org/other", version(7))
        fetch_into(folder, "org/other")
    if whose == "ours":
        find_checkpoint(REPO, root=tmp_path)
    else:
        snapshot_download(REPO, cache_dir=tmp_path / "hf" / "hub", endpoint=hub.endpoint)
    hub.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fetch_into(folder)
    assert contents(folder) == version(1)
    assert read_record(folder / RECORD).revision == "main"
    assert leftovers(folder) == []
    assert paths(hub) == []


def test_target_folder__offline_with_a_hub_cache_without_links(hub, folder, tmp_path, monkeypatch):
    """Without symbolic links huggingface_hub stores the files themselves, and no blobs."""
    own_folder = find_checkpoint(REPO, root=folder.parent)
    cache = tmp_path / "hf" / "hub"
    hub_folder = Path(snapshot_download(REPO, cache_dir=cache, endpoint=hub.endpoint))
    for link in list(hub_folder.iterdir()):
        blob = link.resolve()
        link.unlink()
        blob.rename(link)
    shutil.rmtree(own_folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fetch_into(folder)
    assert contents(folder) == version(1)


@pytest.mark.parametrize("is_damaged", [True, False])
def test_target_folder__offline_and_not_cached(hub, folder, monkeypatch, is_damaged):
    if is_damaged:
        fetch_into(folder)
        damage(folder / NAME, "flipped")
        before = contents(folder)
    hub.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with raising(LocalEntryNotFoundError, problem="HF_HUB_OFFLINE is set"):
        fetch_into(folder)
    assert paths(hub) == []
    assert contents(folder) == before if is_damaged else not folder.exists()
    assert not (folder.parent / ".teacher.fetching").exists()


def test_target_folder__hub_out_of_reach(hub, folder, monkeypatch, caplog):
    fetch_into(folder)
    hub.misbehave("listing", "503", times=9)
    fetch_into(folder)
    assert "using the last fetched" in caplog.text
    damage(folder / NAME, "flipped")
    with raising(LocalEntryNotFoundError, problem="HTTP 503", file=""):
        fetch_into(folder)
