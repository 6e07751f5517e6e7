import shutil
from pathlib import Path

import pytest

from dino_assets.errors import (
    CheckpointNotFoundError,
    CommitRefusedError,
    InvalidCheckpointError,
    NotCommittedError,
)
from dino_assets.store.commits.manifests import manifest_key, read_manifest
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.checkpoint import read_checkpoint
from dino_assets.weights.stage import OUTPUT, checkpoint_of, draft_weights, load_checkpoint
from dino_assets_tests.worlds.raising import raising


@pytest.fixture
def folder(checkpoint_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint_dir, tmp_path / "checkpoint"))


def test_draft_weights__store_holds_the_whole_checkpoint(store: ObjectStore, folder: Path):
    committed = commit(store, draft_weights(folder, "models/demo"))
    stored_files = {part.name: read_part(store, part) for part in committed.manifest.parts}
    assert stored_files == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert load_checkpoint(store) == read_checkpoint(folder, model="models/demo")


def test_checkpoint_of__round_trip(folder: Path):
    memory = ObjectStore.in_memory()
    committed = commit(memory, draft_weights(folder, "m"))
    expected = read_checkpoint(folder, model="m")
    assert checkpoint_of(committed.manifest) == expected
    assert checkpoint_of(read_manifest(memory, OUTPUT)) == expected
    assert hash(checkpoint_of(committed.manifest)) == hash(expected)  # tuples, not lists


def test_draft_weights__restored_files_load_again(folder: Path, tmp_path: Path):
    memory = ObjectStore.in_memory()
    (tmp_path / "elsewhere").mkdir()
    for part in commit(memory, draft_weights(folder, "m")).manifest.parts:
        (tmp_path / "elsewhere" / str(part.name)).write_bytes(read_part(memory, part))
    shutil.rmtree(folder)
    assert read_checkpoint(tmp_path / "elsewhere", model="m") == load_checkpoint(memory)


def test_draft_weights__reuse(store: ObjectStore, folder: Path):
    assert not commit(store, draft_weights(folder, "m")).was_reused
    assert commit(store, draft_weights(folder, "m")).was_reused
    assert not commit(store, draft_weights(folder, "another/name")).was_reused
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    assert not commit(store, draft_weights(folder, "another/name")).was_reused
    assert load_checkpoint(store).licence == "mit"


def test_draft_weights__same_files_same_bytes(folder: Path, tmp_path: Path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    manifests = set()
    for place in (folder, copy):
        memory = ObjectStore.in_memory()
        commit(memory, draft_weights(Path(place), "m"))
        manifests.add(memory.get(manifest_key(OUTPUT)))
    assert len(manifests) == 1


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_draft_weights__file_that_changes_while_it_is_stored(folder: Path, name: str):
    memory = ObjectStore.in_memory()
    draft = draft_weights(folder, "m")
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(bytes(data))
    with raising(CommitRefusedError, file=name):
        commit(memory, draft)
    assert not memory.exists(manifest_key(OUTPUT))


def test_draft_weights__broken_checkpoint_stops_before_anything_is_stored(folder: Path):
    memory = ObjectStore.in_memory()
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-1])
    with raising(InvalidCheckpointError, file="model.safetensors", reason="unreadable"):
        commit(memory, draft_weights(folder, "m"))
    with pytest.raises(CheckpointNotFoundError):
        commit(memory, draft_weights(folder / "nowhere", "m"))
    assert list(memory.list()) == []


def test_load_checkpoint__nothing_committed():
    with pytest.raises(NotCommittedError, match="weights is not in store 'memory://'"):
        load_checkpoint(ObjectStore.in_memory())
