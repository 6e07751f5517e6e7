"""Changed weights of a stored model: refused before storing, unless accepted."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from dino_assets.demo.checkpoint import write_demo_checkpoint
from dino_assets.errors import CheckpointChangedError
from dino_assets.store.commits.manifests import manifest_key
from dino_assets.store.commits.protocol import Committed
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.hub.locating import locate_checkpoint
from dino_assets.weights.stage import OUTPUT, draft_current_weights, load_checkpoint
from dino_assets_tests.worlds.raising import raising


class Models:
    """Commits ``weights`` of a folder of models to one store."""

    def __init__(self, store: ObjectStore, root: Path) -> None:
        self.store, self.root = store, root

    def commit(
        self, model: str = "mine", revision: str | None = None, *, accepts_changes: bool = False
    ) -> Committed:
        locate = partial(locate_checkpoint, model, root=self.root, revision=revision)
        draft = draft_current_weights(
            self.store, model, revision, locate, warn=print, accepts_changes=accepts_changes
        )
        return commit(self.store, draft)

    def flip_bit(self, name: str, model: str = "mine", *, at: int = -1) -> None:
        file = self.root / model / name
        data = bytearray(file.read_bytes())
        data[at] ^= 1
        file.write_bytes(bytes(data))


@pytest.fixture
def models(tmp_path: Path, checkpoint_dir: Path) -> Models:
    shutil.copytree(checkpoint_dir, tmp_path / "mine")
    return Models(ObjectStore.in_memory(), tmp_path)


def test_draft_current_weights__refuses_a_flipped_bit(models: Models):
    models.commit()
    manifest_bytes = models.store.get(manifest_key(OUTPUT))
    models.flip_bit("model.safetensors")
    for _ in range(2):
        with raising(CheckpointChangedError, file="model.safetensors", reason="altered"):
            models.commit()
    assert models.store.get(manifest_key(OUTPUT)) == manifest_bytes
    models.flip_bit("model.safetensors")
    assert models.commit().was_reused


def test_draft_current_weights__refuses_a_changed_setting_of_the_network(models: Models):
    models.commit()
    config = models.root / "mine" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"layer_norm_eps": 3e-5}))
    with raising(CheckpointChangedError, file="config.json", reason="altered"):
        models.commit()


def test_draft_current_weights__cards_and_licences_may_change(models: Models):
    models.commit()
    (models.root / "mine" / "README.md").write_text("---\nlicense: mit\n---\n")
    assert not models.commit().was_reused
    assert load_checkpoint(models.store).licence == "mit"


def test_draft_current_weights__accepted_change(models: Models):
    first_manifest = models.commit().manifest
    shutil.rmtree(models.root / "mine")
    write_demo_checkpoint(models.root / "mine", seed=7, dim=16, layers=2)
    with raising(CheckpointChangedError, file="model.safetensors"):
        models.commit()
    second_manifest = models.commit(accepts_changes=True).manifest
    assert second_manifest.facts["weights_sha256"] != first_manifest.facts["weights_sha256"]
    assert models.commit().was_reused  # accepted once


def test_draft_current_weights__another_name_is_another_model(models: Models):
    models.commit()
    write_demo_checkpoint(models.root / "other", seed=7, dim=16, layers=2)
    assert not models.commit("other").was_reused
    assert not models.commit("mine").was_reused


def test_draft_current_weights__damaged_manifest_is_not_compared(models: Models):
    models.commit()
    models.store.put(manifest_key(OUTPUT), b"{")
    models.flip_bit("model.safetensors")
    assert not models.commit().was_reused


def test_draft_current_weights__refuses_a_branch_that_moved_to_other_weights(
    hub, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    files = {path.name: path.read_bytes() for path in (models.root / "mine").iterdir()}
    old_commit = hub.add("org/model", files)
    models.commit("org/model")
    new_commit = hub.add(
        "org/model", {**files, "model.safetensors": flip(files["model.safetensors"])}
    )
    with raising(CheckpointChangedError, file="model.safetensors") as caught:
        models.commit("org/model")
    assert f"DINO_MODEL_REVISION={old_commit}" in str(caught.value)
    assert load_checkpoint(models.store).commit == old_commit
    # A given commit is an accepted change.
    assert models.commit("org/model", old_commit).was_reused
    assert models.commit("org/model", new_commit).manifest.facts["commit"] == new_commit


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])
