"""Location of checkpoints: names, revisions, caches and refusals, with the real client and a test server."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from huggingface_hub import errors as hub_errors
from huggingface_hub import snapshot_download

from dino_assets.errors import (
    CheckpointNotFoundError,
    ChecksumError,
    DiskFullError,
    InvalidCheckpointError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from dino_assets.settings.hub import resolve_hub
from dino_assets.weights.checkpoint import read_checkpoint
from dino_assets.weights.hub.places import RepoCache
from dino_assets_tests.worlds.faults import let_fail, report_free
from dino_assets_tests.worlds.finding import (
    FILES,
    KEPT,
    PAPERS,
    REPO,
    TOKEN,
    WEIGHTS,
    contents,
    small,
)
from dino_assets_tests.worlds.raising import raising


def test_find_checkpoint__fetches_only_checkpoint_files(hub, find):
    commit = hub.add(REPO, FILES)
    folder = find()
    assert contents(folder) == small()
    assert folder.name == commit
    assert not any(
        "onnx" in hub_request.path or "bin" in hub_request.path for hub_request in hub.asked
    )


def test_find_checkpoint__fetches_cards_and_licences_of_any_spelling(hub, find):
    hub.add(REPO, FILES | dict.fromkeys(PAPERS, b"read me") | {".license": b"", "notes.md": b""})
    assert contents(find()).keys() == KEPT | set(PAPERS)


def test_find_checkpoint__sharded_checkpoint(hub, find, checkpoint_dir):
    shards = {f"model-0000{n}-of-00002.safetensors": WEIGHTS[n:] for n in (1, 2)}
    hub.add("org/sharded", {"model.safetensors.index.json": b"{}", **shards})
    assert contents(find("org/sharded")).keys() == {"model.safetensors.index.json", *shards}
    hub.add("org/real", {path.name: path for path in checkpoint_dir.iterdir()})
    assert read_checkpoint(find("org/real"), model="org/real") == read_checkpoint(
        checkpoint_dir, model="org/real"
    )


def test_find_checkpoint__number_of_requests(hub, find, monkeypatch):
    commit = hub.add(REPO, FILES)
    folder = find()
    hub.asked.clear()
    assert find() == folder
    assert [a.path for a in hub.asked] == [f"/api/models/{REPO}/revision/main"]
    hub.asked.clear()
    assert find(revision=commit) == folder
    assert find(may_download=False) == folder
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find() == find(revision="main") == find(revision=commit) == folder
    assert hub.asked == []


def test_find_checkpoint__a_commit_is_resolved_once(hub, find):
    commit = hub.add(REPO, FILES)
    hub.add(REPO, {**FILES, "README.md": b"newer"})
    assert contents(find(revision=commit)) == small()
    hub.asked.clear()
    find(revision=commit)
    assert hub.asked == []


def test_find_checkpoint__keeps_the_old_commit_of_a_moved_branch(hub, find):
    hub.add(REPO, FILES)
    hub.add(REPO, FILES, branch="v2")
    first_folder = find()
    moved_files = {**FILES, "model.safetensors": WEIGHTS[::-1]}
    hub.add(REPO, moved_files)
    second_folder = find()
    assert contents(first_folder) == small()
    assert contents(second_folder) == small(moved_files)
    assert find(may_download=False) == second_folder
    assert contents(find(revision="v2")) == small()


def test_find_checkpoint__interrupted_update_keeps_the_old_commit_current(hub, find):
    hub.add(REPO, FILES)
    first_folder = find()
    hub.add(REPO, {**FILES, "model.safetensors": WEIGHTS[::-1]})
    hub.misbehave("model.safetensors", "reset", times=99, after=1000)
    for _ in range(2):
        hub.faults["model.safetensors"][0].after = 0
        with raising(LocalEntryNotFoundError, file="model.safetensors"):
            find()
        assert contents(first_folder) == small()
        assert find(may_download=False) == first_folder
    hub.add(REPO, {**FILES, "model.safetensors": WEIGHTS[:-1]})  # the branch moves meanwhile
    hub.faults.clear()
    latest_folder = find()
    assert contents(latest_folder)["model.safetensors"] == WEIGHTS[:-1]
    assert {path.name for path in latest_folder.parent.iterdir()} == {
        first_folder.name,
        latest_folder.name,
    }
    assert not list(latest_folder.parents[1].rglob("*.part"))


def damage(path: Path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    if kind == "flipped":
        data[len(data) // 2] ^= 1
    old_stat = path.stat()
    path.write_bytes(bytes(data[:-1] if kind == "truncated" else data))
    os.utime(path, ns=(old_stat.st_atime_ns, old_stat.st_mtime_ns))  # as after a disk error


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("kind", ["flipped", "truncated", "missing"])
def test_find_checkpoint__detects_and_repairs_damage(hub, find, kind, name):
    commit = hub.add(REPO, FILES)
    folder = find()
    (folder / name).unlink() if kind == "missing" else damage(folder / name, kind)
    with raising(LocalEntryNotFoundError, problem="", file=""):
        find(may_download=False)
    hub.asked.clear()
    assert find(revision=commit) == folder
    assert contents(folder) == small()
    assert {a.path.rsplit("/")[-1] for a in hub.asked} == {name}  # nothing else, no listing


def test_find_checkpoint__uses_huggingface_hubs_cache_in_place(hub, find, tmp_path):
    hub.add(REPO, FILES)
    cache = tmp_path / "hf" / "hub"
    snapshot = Path(snapshot_download(REPO, cache_dir=cache, endpoint=hub.endpoint))
    hub.asked.clear()
    assert find(may_download=False) == snapshot  # in place, verified
    assert hub.asked == []
    assert find() == snapshot
    assert [a.path for a in hub.asked] == [f"/api/models/{REPO}/revision/main"]
    shutil.rmtree(cache)
    assert contents(find()) == small()


def test_find_checkpoint__ignores_a_damaged_file_in_huggingface_hubs_cache(hub, find, tmp_path):
    hub.add(REPO, FILES)
    cache = tmp_path / "hf" / "hub"
    snapshot = Path(snapshot_download(REPO, cache_dir=cache, endpoint=hub.endpoint))
    damage((snapshot / "model.safetensors").resolve(), "flipped")
    with pytest.raises(LocalEntryNotFoundError):
        find(may_download=False)
    assert contents(find()) == small()
    bodies = [a for a in hub.bodies("model.safetensors") if a.host == "localhost"]
    assert len(bodies) == 2  # the library's and this package's


def test_find_checkpoint__no_hidden_requests_of_the_library(hub, find, monkeypatch, tmp_path):
    library = {
        "HF_HUB_DISABLE_TELEMETRY": False,
        "ENDPOINT": hub.endpoint,
        "AGENT_HARNESSES_PATH": str(tmp_path / "agents"),
    }
    for name, value in library.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    monkeypatch.setattr("huggingface_hub.utils._detect_agent._registry", None)
    hub.add(REPO, FILES)
    find()
    assert [a.path for a in hub.asked if "agent" in a.path] == []


def test_find_checkpoint__read_only_home(hub, find):
    hub.add(REPO, FILES)
    Path(os.environ["HF_HOME"]).write_text("a file")
    text = r"cannot be written in the cache \(HF_HOME\)"
    with raising(CheckpointNotFoundError, match=text, hides=os.environ["HF_HOME"]):
        find()


def test_find_checkpoint__warns_if_the_commit_cannot_be_written(hub, find, monkeypatch, caplog):
    hub.add(REPO, FILES)
    folder = find()
    (folder.parents[1] / "refs" / "main").unlink()
    let_fail(monkeypatch, os, "fsync", OSError(errno.ENOSPC, "full", "/some/where"))
    assert find() == folder
    assert (
        f"{REPO}: the files are complete, but their commit could not be recorded on the disk (full)"
        in caplog.text
    )
    assert "/some/where" not in caplog.text


@pytest.mark.parametrize(
    ("token", "text"), [(None, "no token was sent"), (TOKEN, "the token has no access to it")]
)
def test_find_checkpoint__missing_repository(hub, find, monkeypatch, token, text):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
        hub.grant(token)
    with pytest.raises(RepositoryNotFoundError, match=text) as caught:
        find("org/nothing")
    assert isinstance(caught.value, hub_errors.RepositoryNotFoundError)
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("revision", ["gone", "f" * 40])
def test_find_checkpoint__missing_revision(hub, find, revision):
    hub.add(REPO, FILES)
    with pytest.raises(
        RevisionNotFoundError, match=f"no branch, tag or commit '{revision}'"
    ) as caught:
        find(revision=revision)
    assert isinstance(caught.value, hub_errors.RevisionNotFoundError)


@pytest.mark.parametrize("model", ["org/-x-", "org/a..b", "org/" + "x" * 120])
def test_find_checkpoint__invalid_names(hub, find, model):
    with pytest.raises(CheckpointNotFoundError, match="nor a valid name of a Hub repository"):
        find(model)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (["pytorch_model.bin", "config.json"], r"only pickled weights \(pytorch_model.bin\)"),
        (["config.json"], "has no weights"),
    ],
)
def test_find_checkpoint__repository_without_safe_weights(hub, find, files, text):
    hub.add(REPO, {name: FILES[name] for name in files})
    with pytest.raises(InvalidCheckpointError, match=text):
        find()
    assert len(hub.asked) == 1


def test_find_checkpoint__offline_and_not_cached(hub, find, monkeypatch):
    hub.add(REPO, FILES)
    monkeypatch.setenv("HF_HUB_OFFLINE", "YES")
    with pytest.raises(
        LocalEntryNotFoundError, match=r"HF_HUB_OFFLINE is set.*Connect to the Hub"
    ) as caught:
        find()
    assert isinstance(caught.value, hub_errors.LocalEntryNotFoundError)
    assert hub.asked == []


def test_find_checkpoint__offline_and_partial(hub, find, monkeypatch):
    hub.add(REPO, FILES)
    hub.misbehave("model.safetensors", "reset", times=1, after=200_000)
    hub.misbehave("model.safetensors", "503", times=9)
    with raising(
        LocalEntryNotFoundError, file="model.safetensors", here_bytes=200_000, problem="HTTP 503"
    ):
        find()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with raising(LocalEntryNotFoundError, problem="HF_HUB_OFFLINE is set", file=""):
        find()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("503", "HTTP 503"),
        ("429", "HTTP 429"),
        ("page", "the answer does not list the repository's files"),
        ("nobody", "ConnectError"),
    ],
)
def test_find_checkpoint__hub_out_of_reach(hub, find, waits, monkeypatch, caplog, kind, reason):
    hub.add(REPO, FILES)

    def break_it():
        if kind == "nobody":
            monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        hub.misbehave("listing", kind, times=3, Retry_After="7")

    break_it()
    # An unreachable host fails soon, and is not tried again elsewhere.
    is_nobody = kind == "nobody"
    with raising(LocalEntryNotFoundError, problem=reason, file="", may_pass=not is_nobody):
        find()
    if kind != "page":
        assert len(waits) == (1 if is_nobody else 2)
    assert waits == [7, 7] or kind not in ("503", "429")
    hub.faults.clear()
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    folder = find()
    break_it()
    assert find() == folder
    assert "using the last fetched" in caplog.text


def test_find_checkpoint__wrong_bytes_twice(hub, find):
    hub.add(REPO, FILES)
    hub.misbehave("model.safetensors", "wrong bytes", times=2)
    with raising(ChecksumError, file="model.safetensors", here_bytes=0) as caught:
        find()
    assert isinstance(caught.value, hub_errors.LocalEntryNotFoundError)
    assert isinstance(caught.value, LocalEntryNotFoundError)
    assert not list(Path(os.environ["HF_HOME"]).rglob("*.safetensors"))


def test_find_checkpoint__small_disk_fails_before_the_first_file(
    hub, find, small_disk, monkeypatch
):
    monkeypatch.setenv("HF_HOME", str(small_disk))
    hub.add(REPO, {**FILES, "model.safetensors": WEIGHTS * 4})
    with raising(DiskFullError, hides=str(small_disk)) as caught:
        find()
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.needed_bytes // 10_000 == 120
    assert caught.value.needed_bytes > caught.value.free_bytes > 0
    assert len(hub.asked) == 1  # the listing


def test_find_checkpoint__disk_fills_up(hub, find, small_disk, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(small_disk))
    hub.add(REPO, {**FILES, "model.safetensors": WEIGHTS * 4})
    report_free(monkeypatch, small_disk, 10**9)
    for _ in range(2):
        with raising(DiskFullError, needed_bytes=0):
            find()
    hub.add(REPO, FILES)
    shutil.rmtree(next(small_disk.rglob("parts")))
    assert contents(find()) == small()


def test_repo_cache__ignores_an_invalid_listing(hub, find, tmp_path):
    commit = hub.add(REPO, FILES)
    folder = find()
    cache = RepoCache.of(REPO, resolve_hub(tmp_path))
    for text in ("", "{}", '{"files": [{"name": 1}]}', "[]"):
        (cache.folder / "listings" / f"{commit}.json").write_text(text)
        assert find(revision=commit) == folder
        listing = cache.recall(commit).listing  # written again
        assert {file.name for file in listing.files} == KEPT
