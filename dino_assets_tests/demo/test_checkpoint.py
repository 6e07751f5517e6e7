import json
from pathlib import Path

import pytest

from dino_assets.demo.checkpoint import find_or_write_demo_checkpoint, write_demo_checkpoint
from dino_assets.errors import ConfigError
from dino_assets.weights.checkpoint import read_checkpoint
from dino_assets_tests.worlds.raising import raising


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_write_demo_checkpoint__same_seed_same_bytes(tmp_path: Path):
    import torch

    first = write_demo_checkpoint(tmp_path / "one", dim=16, layers=1)
    torch.manual_seed(7)  # whatever state the caller's generator is in
    second = write_demo_checkpoint(tmp_path / "two", dim=16, layers=1)
    other_folder = write_demo_checkpoint(tmp_path / "other", dim=16, layers=1, seed=1)
    assert contents(first) == contents(second)
    assert contents(first)["model.safetensors"] != contents(other_folder)["model.safetensors"]


def test_write_demo_checkpoint__keeps_the_callers_random_state(tmp_path: Path):
    import torch

    random_state = torch.random.get_rng_state()
    write_demo_checkpoint(tmp_path, dim=16, layers=1)
    assert torch.equal(random_state, torch.random.get_rng_state())


def test_write_demo_checkpoint__again_in_the_same_folder(tmp_path: Path):
    write_demo_checkpoint(tmp_path / "a" / "b", dim=16, layers=1)
    files_before = contents(tmp_path / "a" / "b")
    write_demo_checkpoint(tmp_path / "a" / "b", dim=16, layers=1)
    assert contents(tmp_path / "a" / "b") == files_before


def test_write_demo_checkpoint__reads_as_a_checkpoint(tmp_path: Path):
    checkpoint = read_checkpoint(write_demo_checkpoint(tmp_path), model="models/demo")
    assert (checkpoint.family, checkpoint.dim, checkpoint.layers, checkpoint.heads) == (
        "dinov3_vit",
        64,
        4,
        4,
    )
    assert (checkpoint.patch_px, checkpoint.registers, checkpoint.tile_px) == (16, 4, 512)
    assert checkpoint.licence == "apache-2.0"
    assert checkpoint.statistics_from == "preprocessor_config.json"
    assert {file.name for file in checkpoint.files} == {
        "README.md", "config.json", "model.safetensors", "preprocessor_config.json",
    }  # fmt: skip


def test_write_demo_checkpoint__loads_in_transformers(checkpoint_dir: Path):
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(checkpoint_dir, local_files_only=True).eval()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == read_checkpoint(checkpoint_dir, model="m").parameters
    with torch.no_grad():
        tokens = model(pixel_values=torch.zeros(1, 3, 64, 64)).last_hidden_state
    assert tokens.shape == (1, 1 + 4 + 16, 16)  # cls, registers, 4 × 4 patches


def test_write_demo_checkpoint__prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    write_demo_checkpoint(tmp_path, dim=16, layers=1)
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled() == was_enabled


def test_find_or_write__once(tmp_path: Path):
    folder = tmp_path / "models" / "demo"
    assert find_or_write_demo_checkpoint(folder)
    times_before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert not find_or_write_demo_checkpoint(folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times_before
    checkpoint = read_checkpoint(folder, model="models/demo")
    assert checkpoint.label == "models/demo (random weights)"
    assert "DINO_MODEL_ID" in str(checkpoint.caveat)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_find_or_write__completes_after_a_kill(tmp_path: Path, name: str):
    files = contents(write_demo_checkpoint(tmp_path))
    (tmp_path / name).unlink()
    assert find_or_write_demo_checkpoint(tmp_path)
    assert contents(tmp_path) == files
    (tmp_path / "model.safetensors").write_bytes(files["model.safetensors"][:1000])
    assert find_or_write_demo_checkpoint(tmp_path)
    assert contents(tmp_path) == files


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_find_or_write__refuses_parts_of_another_checkpoint(tmp_path: Path, name: str):
    """A file of timm's, or a fetched folder that was damaged: no checkpoint, and yet not ours."""
    (tmp_path / name).write_bytes(b"{}")
    (tmp_path / "README.md").write_text("# mine")
    files_before = contents(tmp_path)
    with raising(ConfigError, setting="folder", value=tmp_path):
        find_or_write_demo_checkpoint(tmp_path)
    assert contents(tmp_path) == files_before


def test_find_or_write__killed_while_transformers_writes(tmp_path: Path, monkeypatch):
    from transformers import DINOv3ViTModel

    save = DINOv3ViTModel.save_pretrained

    def die(self: object, folder: Path) -> None:
        save(self, folder)
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(DINOv3ViTModel, "save_pretrained", die)
        with pytest.raises(KeyboardInterrupt):
            find_or_write_demo_checkpoint(tmp_path)
    assert find_or_write_demo_checkpoint(tmp_path)
    assert read_checkpoint(tmp_path, model="demo").caveat


def test_find_or_write__refuses_another_checkpoint(tmp_path: Path):
    write_demo_checkpoint(tmp_path, dim=16, layers=1)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["random_weights_seed"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    files_before = contents(tmp_path)
    with raising(ConfigError, setting="folder", value=tmp_path):
        find_or_write_demo_checkpoint(tmp_path)
    assert contents(tmp_path) == files_before
    assert read_checkpoint(tmp_path, model="mine").caveat is None
