"""Fetching into a folder with other content: kept, adopted or refused, never lost."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from dino_assets.cli import main
from dino_assets.demo.checkpoint import write_demo_checkpoint
from dino_assets.errors import (
    AuthenticationError,
    CheckpointNotFoundError,
    ChecksumError,
    ConfigError,
    InvalidCheckpointError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from dino_assets.weights.catalogue import PUBLISHED, Published
from dino_assets.weights.checkpoint import read_checkpoint
from dino_assets.weights.fetching import check_checkpoint, fetch_checkpoint
from dino_assets.weights.hub.listings import RECORD
from dino_assets.weights.hub.transfer import TransferRetries
from dino_assets.weights.importing.writing import import_checkpoint
from dino_assets.weights.records import Checkpoint
from dino_assets_tests.worlds.published import damage
from dino_assets_tests.worlds.raising import raising

REPO = "org/model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "teacher"


@pytest.fixture
def fetch(tmp_path: Path, folder: Path):
    def call(model: str = REPO, **arguments: object) -> Checkpoint:
        retries = TransferRetries(attempts=2, sleep=lambda _: None, rng=np.random.default_rng(0))
        return fetch_checkpoint(model, folder, root=tmp_path, retries=retries, **arguments)

    return call


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, checkpoint_dir: Path) -> str:
    """Add ``REPO`` to the catalogue, with the small checkpoint's sizes."""
    small = read_checkpoint(checkpoint_dir, model="x")
    entry = Published(small.family, small.dim, small.layers, small.heads, small.parameters)
    monkeypatch.setitem(PUBLISHED, REPO, entry)
    return REPO


def files(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.iterdir()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != RECORD}


def leftovers(folder: Path) -> list[Path]:
    return list(folder.parent.glob(f".{folder.name}*"))


@pytest.fixture
def imported(folder: Path, checkpoint_dir: Path) -> dict[str, bytes]:
    """The small checkpoint, imported into the folder."""
    import_checkpoint(checkpoint_dir, folder)
    assert json.loads((folder / "config.json").read_bytes())["imported_from"]
    return contents(folder)


def test_fetch_checkpoint__returns_repository_and_commit(hub, fetch, folder, checkpoint_dir):
    commit = hub.add(REPO, files(checkpoint_dir))
    checkpoint = fetch()
    assert (checkpoint.repo, checkpoint.commit, checkpoint.revision) == (REPO, commit, commit)
    assert checkpoint.files == read_checkpoint(checkpoint_dir, model="x").files
    assert checkpoint == fetch() == fetch(revision=commit) == check_checkpoint(folder)


def test_fetch_checkpoint__a_wrong_repository_keeps_the_old_checkpoint(
    hub, fetch, folder, checkpoint_dir
):
    good_files = files(checkpoint_dir)
    hub.add(REPO, good_files)
    fetch()
    before = contents(folder) | {RECORD: (folder / RECORD).read_bytes()}
    config = json.loads(good_files["config.json"].read_bytes())
    for wrong_config, text in (
        ({"model_type": "bert"}, "has model_type='bert'"),
        (config | {"num_hidden_layers": 3}, "describes 3 layers, but the weights have 2"),
    ):
        hub.add("org/wrong", good_files | {"config.json": json.dumps(wrong_config).encode()})
        with pytest.raises(InvalidCheckpointError, match=text) as caught:
            fetch("org/wrong")
        assert "making" not in str(caught.value)
        assert contents(folder) | {RECORD: (folder / RECORD).read_bytes()} == before
        assert leftovers(folder) == []
    del good_files["preprocessor_config.json"]
    hub.add("org/wrong", good_files | {"README.md": b"another"})
    with pytest.raises(CheckpointNotFoundError, match=r"preprocessor_config.json is missing"):
        fetch("org/wrong")
    assert check_checkpoint(folder).repo == REPO
    assert leftovers(folder) == []


def test_fetch_checkpoint__a_wrong_repository_makes_no_folder(hub, fetch, folder, checkpoint_dir):
    hub.add(REPO, files(checkpoint_dir) | {"config.json": b"{}"})
    with pytest.raises(InvalidCheckpointError, match="has model_type=None"):
        fetch()
    assert not folder.exists()
    assert leftovers(folder) == []


def test_fetch_checkpoint__keeps_an_import_of_the_published_shape(
    hub, fetch, folder, imported, published, caplog
):
    assert fetch(published).commit is None
    assert contents(folder) == imported
    assert hub.asked == []
    assert "keeping the imported checkpoint" in caplog.text


def test_fetch_checkpoint__refuses_an_import_of_another_shape(
    hub, fetch, folder, imported, published, monkeypatch, checkpoint_dir
):
    hub.add(REPO, files(checkpoint_dir))
    entry = PUBLISHED[REPO]
    for field, value in (("layers", 3), ("dim", 32), ("heads", 2), ("family", "dinov2")):
        other_entry = Published(**(vars(entry) | {field: value}))
        monkeypatch.setitem(PUBLISHED, REPO, other_entry)
        with pytest.raises(ConfigError, match="Nothing was changed") as caught:
            fetch()
        assert f"'{folder}' holds a dinov3_vit with 16 dims, 2 layers" in str(caught.value)
        assert (
            f"'{REPO}' is a {other_entry.family} with {other_entry.dim}, {other_entry.layers} and"
            in str(caught.value)
        )
    monkeypatch.setitem(
        PUBLISHED, REPO, Published(**(vars(entry) | {"parameters": entry.parameters * 4 // 3}))
    )
    with raising(ConfigError, setting="folder", value=str(folder)):
        fetch()
    assert contents(folder) == imported
    assert hub.asked == []


def test_fetch_checkpoint__keeps_an_import_without_an_optional_tensor(
    hub, fetch, folder, imported, published, monkeypatch
):
    entry = PUBLISHED[REPO]
    larger_entry = Published(**(vars(entry) | {"parameters": entry.parameters + entry.dim}))
    monkeypatch.setitem(PUBLISHED, REPO, larger_entry)  # for example the mask token
    fetch()
    assert hub.asked == []


def test_fetch_checkpoint__refuses_an_import_if_the_repository_is_unknown(
    hub, fetch, folder, imported, checkpoint_dir
):
    hub.add(REPO, files(checkpoint_dir))
    with raising(ConfigError, setting="folder", value="config.json"):
        fetch()
    assert contents(folder) == imported


def test_fetch_checkpoint__refuses_a_damaged_import(
    hub, fetch, folder, imported, published, checkpoint_dir
):
    hub.add(REPO, files(checkpoint_dir))
    damage(folder / "model.safetensors", "truncated")
    with pytest.raises(ConfigError, match="Nothing was changed"):
        fetch()
    assert len(hub.asked) == 1


@pytest.mark.parametrize("why", ["offline", "away", "gated"])
def test_fetch_checkpoint__keeps_a_manual_copy_if_the_hub_refuses(
    hub, fetch, folder, checkpoint_dir, published, monkeypatch, caplog, why
):
    shutil.copytree(checkpoint_dir, folder)
    before = contents(folder)
    hub.add(REPO, files(checkpoint_dir), is_gated=True)
    if why == "offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    elif why == "away":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert fetch().commit is None
    assert contents(folder) == before
    assert not (folder / RECORD).exists()
    assert "keeping this checkpoint; it could not be compared with the Hub" in caplog.text


@pytest.mark.parametrize("is_known", [True, False])
def test_fetch_checkpoint__refuses_a_manual_copy_of_another_model(
    hub, fetch, folder, published, monkeypatch, is_known
):
    """A copy that cannot be compared does not count as the model."""
    write_demo_checkpoint(folder, dim=32, layers=2)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    kind, text = (
        (ConfigError, "holds a dinov3_vit with 32 dims")
        if is_known
        else (LocalEntryNotFoundError, "HF_HUB_OFFLINE is set")
    )
    with pytest.raises(kind, match=text):
        fetch(REPO if is_known else "org/unknown")


def test_fetch_checkpoint__missing_repository_fails(hub, fetch, folder, checkpoint_dir, published):
    shutil.copytree(checkpoint_dir, folder)
    with pytest.raises(RepositoryNotFoundError):
        fetch()


def test_fetch_checkpoint__fails_after_access_has_ended(
    hub, fetch, folder, checkpoint_dir, published
):
    """The Hub refuses, so a fetched copy is not returned either."""
    hub.add(REPO, files(checkpoint_dir))
    commit = fetch().commit
    hub.repositories[REPO].is_gated = True
    with raising(AuthenticationError, has_token=False):
        fetch()
    assert fetch(revision=commit).commit == commit
    assert check_checkpoint(folder)


def test_check_checkpoint__changed_file(hub, fetch, folder, checkpoint_dir, caplog):
    caplog.set_level(logging.WARNING)
    hub.add(REPO, files(checkpoint_dir))
    fetch()
    damage(folder / "README.md", "flipped")
    with pytest.raises(
        ChecksumError, match=r"README\.md is missing or has changed since it came from org/model"
    ):
        check_checkpoint(folder)
    (folder / RECORD).unlink()  # as advised by the message
    assert check_checkpoint(folder).commit is None


def test_check_checkpoint__missing_folder(folder):
    with pytest.raises(CheckpointNotFoundError, match="there is no checkpoint directory"):
        check_checkpoint(folder)


@pytest.mark.parametrize("place", [[], ["--to", "dinov3"]])
def test_fetch__another_family_fetches_only_small_files(hub, tmp_path, capsys, place):
    hub.add("org/llama", {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"x" * 9})
    assert main(["fetch", "--model", "org/llama", *place]) == 1
    assert "model_type='llama'" in capsys.readouterr().err
    assert hub.bodies("model.safetensors") == []
