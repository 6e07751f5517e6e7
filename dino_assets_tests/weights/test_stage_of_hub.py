"""Output ``weights`` from the Hub: commits, requests, other machines."""

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from dino_assets.api.fetcher import fetch_dinov3
from dino_assets.errors import (
    AuthenticationError,
    CheckpointNotFoundError,
    InvalidCheckpointError,
    LocalEntryNotFoundError,
    RevisionNotFoundError,
)
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.protocol import Committed
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.checkpoint import read_checkpoint
from dino_assets.weights.hub.locating import locate_checkpoint
from dino_assets.weights.hub.transfer import TransferRetries
from dino_assets.weights.stage import draft_current_weights, find_stored_weights, load_checkpoint
from dino_assets_tests.defs.conftest import Lineage, failure
from dino_assets_tests.worlds.raising import raising

REPO = "org/model"


@pytest.fixture
def files(checkpoint_dir: Path) -> dict[str, bytes]:
    card = b"---\nlicense: other\nlicense_name: dinov3-license\n---\n"
    papers = {"README.md": card, "LICENSE.md": b"as it is\n"}
    return {path.name: path.read_bytes() for path in checkpoint_dir.iterdir()} | papers


class Machine:
    """Commits ``weights`` to one store, with a cache of its own."""

    def __init__(self, store: ObjectStore, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.home, self.set = store, home, monkeypatch.setenv
        self.warnings: list[str] = []

    def commit(self, model: str = REPO, revision: str | None = None) -> Committed:
        self.set("HF_HOME", str(self.home))
        retries = TransferRetries(attempts=2, sleep=lambda _: None)
        locate = partial(
            locate_checkpoint, model, root=self.home.parent, revision=revision, retries=retries
        )
        draft = draft_current_weights(
            self.store, model, revision, locate, warn=self.warnings.append
        )
        return commit(self.store, draft)


@pytest.fixture
def machine(hub, local_store, tmp_path, monkeypatch) -> Machine:
    return Machine(local_store, tmp_path / "one", monkeypatch)


@pytest.fixture
def other(hub, local_store, tmp_path, monkeypatch) -> Machine:
    return Machine(local_store, tmp_path / "two", monkeypatch)


def test_weights__manifest_has_repository_and_commit(hub, machine, files, tmp_path):
    sha = hub.add(REPO, files)
    facts = machine.commit().manifest.facts
    checkpoint = load_checkpoint(machine.store)
    assert (checkpoint.repo, checkpoint.commit, checkpoint.revision, checkpoint.model) == (
        REPO,
        sha,
        sha,
        REPO,
    )
    assert checkpoint.licence == "dinov3-license"
    assert {file.name for file in checkpoint.files} == set(files)
    (tmp_path / "same").mkdir()
    for name, data in files.items():
        (tmp_path / "same" / name).write_bytes(data)
    local_checkpoint = read_checkpoint(tmp_path / "same", model=REPO)
    assert replace(local_checkpoint, revision=sha, repo=REPO, commit=sha) == checkpoint
    field_names = ("family", "dim", "layers", "heads", "patch_px", "registers", "parameters")
    assert all(facts[name] == getattr(local_checkpoint, name) for name in field_names)
    assert (tuple(facts["mean"]), tuple(facts["std"])) == (
        local_checkpoint.mean,
        local_checkpoint.std,
    )
    assert facts["statistics_from"] == "preprocessor_config.json"


@pytest.mark.parametrize("is_pinned", [False, True])
def test_weights__another_machine_reads_them_from_the_store(hub, machine, other, files, is_pinned):
    sha = hub.add(REPO, files)
    revision = sha if is_pinned else None
    assert not machine.commit(revision=revision).was_reused
    hub.asked.clear()
    assert other.commit(revision=revision).was_reused
    assert [a.path for a in hub.asked] == [f"/api/models/{REPO}/revision/{revision or 'main'}"]
    assert not other.home.exists()  # nothing was fetched
    hub.asked.clear()
    assert machine.commit(revision=revision).was_reused
    assert len(hub.asked) == (0 if is_pinned else 1)


def test_weights__commit_and_branch_give_one_output(hub, machine, files):
    sha = hub.add(REPO, files)
    first_manifest = machine.commit().manifest
    assert machine.commit(revision=sha).was_reused
    hub.add(REPO, {**files, "README.md": b"newer"})
    committed = machine.commit()
    assert not committed.was_reused
    assert load_checkpoint(machine.store).commit != sha
    assert {part.sha256 for part in committed.manifest.parts} != {
        p.sha256 for p in first_manifest.parts
    }


def test_weights__short_and_full_name_give_one_output(hub, machine, files):
    hub.add("facebook/dinov3-vitl16-pretrain-lvd1689m", files)
    machine.commit("dinov3-vitl16")
    assert load_checkpoint(machine.store).model == "facebook/dinov3-vitl16-pretrain-lvd1689m"
    assert machine.commit("facebook/dinov3-vitl16-pretrain-lvd1689m").was_reused
    assert find_stored_weights(machine.store, "dinov3-vitl16")


@pytest.mark.parametrize("way", ["offline", "out of reach", "no access"])
def test_weights__uses_the_stores_copy_if_the_hub_is_out_of_reach(
    hub, machine, other, files, monkeypatch, caplog, way
):
    caplog.set_level(logging.DEBUG)
    hub.add(REPO, files)
    machine.commit()
    if way == "offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    elif way == "no access":
        hub.add(REPO, files, is_gated=True)
    else:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert other.commit().was_reused
    assert other.warnings[0].startswith("using the checkpoint's copy in the store")


def test_weights__prefers_the_stores_commit_to_this_machines(
    hub, machine, other, files, monkeypatch
):
    hub.add(REPO, files)
    machine.commit()
    newer_commit = hub.add(REPO, {**files, "README.md": b"newer"})
    other.commit()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert machine.commit().was_reused  # its cache holds the older commit
    assert load_checkpoint(machine.store).commit == newer_commit
    assert machine.warnings == ["the Hub is out of reach: using the checkpoint's copy in the store"]


def test_weights__does_not_use_another_revision_in_the_store(hub, machine, other, files):
    hub.add(REPO, files)
    hub.add(REPO, {**files, "README.md": b"v2"}, branch="v2")
    machine.commit(revision="v2")
    before = read_manifest(machine.store, machine.commit(revision="v2").manifest.recipe.output)
    for revision in ("gone", "f" * 40):
        with pytest.raises(RevisionNotFoundError):
            other.commit(revision=revision)
    other.set("HF_HUB_OFFLINE", "1")
    for revision in (None, "f" * 40):
        with pytest.raises(LocalEntryNotFoundError):
            other.commit(revision=revision)
    assert other.commit(revision="v2").manifest == before
    assert other.commit(revision="v2").was_reused


def test_weights__fails_if_refused_and_not_stored(hub, machine, files):
    hub.add(REPO, files, is_gated=True, hides_listing=False)
    with raising(AuthenticationError, has_token=False):
        machine.commit()
    assert not list(machine.store.list("manifests"))


def test_weights__repository_without_a_supported_checkpoint(hub, machine, files):
    hub.add(REPO, files | {"config.json": b'{"model_type": "bert"}'})
    with pytest.raises(InvalidCheckpointError, match="model_type='bert'"):
        machine.commit()
    assert not list(machine.store.list("manifests"))


def test_weights__stored_copy_without_a_part(hub, machine, other, files, monkeypatch):
    hub.add(REPO, files)
    key = machine.commit().manifest.parts[0].key
    machine.store.delete(key)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointNotFoundError, match="is incomplete"):
        other.commit()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert not other.commit().was_reused
    assert machine.store.exists(key)


def test_weights__fetched_folder_has_its_commit(hub, machine, files, tmp_path):
    sha = hub.add(REPO, files)
    folder = fetch_dinov3(tmp_path / "dinov3", REPO)
    machine.commit(str(folder))
    checkpoint = load_checkpoint(machine.store)
    assert (checkpoint.repo, checkpoint.commit, checkpoint.model) == (REPO, sha, str(folder))
    assert {file.name for file in checkpoint.files} == set(files)  # without the record
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(
        CheckpointNotFoundError, match=r"model.safetensors is missing or has changed since it came"
    ):
        machine.commit(str(folder))


@pytest.mark.parametrize("place", ["cache", "folder"])
def test_weights__statistics_by_the_repositorys_name(hub, machine, files, tmp_path, place):
    repo = "facebook/dinov3-vitl16-pretrain-sat493m"
    hub.add(repo, files | {"preprocessor_config.json": b"{}"})
    model = "dinov3-vitl16-sat493m"
    if place == "folder":
        model = str(fetch_dinov3(tmp_path / "dinov3", model))
    machine.commit(model)
    checkpoint = load_checkpoint(machine.store)
    assert (checkpoint.mean, checkpoint.std) == ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))
    assert checkpoint.statistics_from == "sat493m, by the model's name"


def test_weights__other_names_of_the_same_revision(hub, machine, other, files, monkeypatch):
    sha = hub.add(REPO, files, branch="v1")
    hub.add(REPO, files | {"README.md": b"main"})
    machine.commit(revision="v1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert other.commit(revision=sha).was_reused
    monkeypatch.delenv("HF_HUB_OFFLINE")
    machine.commit()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert other.commit(revision="main").was_reused


def test_weights__refuses_another_family_before_fetching_weights(
    hub, files, project, instance, monkeypatch
):
    hub.add("org/llama", files | {"config.json": b'{"model_type": "llama"}'})
    monkeypatch.setenv("DINO_MODEL_ID", "org/llama")
    result = Lineage(instance).run(only=["weights"])
    assert "model_type='llama'" in failure(result, "weights")
    assert hub.bodies("config.json")
    assert hub.bodies("model.safetensors") == []
