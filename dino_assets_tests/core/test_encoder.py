"""Our preprocessing and our tokens against transformers' own classes."""

import numpy as np
import pytest
import torch

from dino_assets.core.encoder import TorchEncoder, normalise
from dino_assets.core.weights import read_checkpoint
from dino_assets.errors import ConfigError, InvalidCheckpointError


def tiles(count: int, side: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.fixture(params=["dinov3", "dinov2", "dinov2_with_registers"])
def checkpoint_folder(request, tmp_path, checkpoint_dir):
    """A tiny checkpoint of each family."""
    if request.param == "dinov3":
        return checkpoint_dir
    import json

    from transformers import (
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
    )

    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
    }
    torch.manual_seed(0)
    if request.param == "dinov2":
        model = Dinov2Model(Dinov2Config(**sizes))
    else:
        config = Dinov2WithRegistersConfig(**sizes, num_register_tokens=4)
        model = Dinov2WithRegistersModel(config)
    model.save_pretrained(tmp_path)
    statistics = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(statistics))
    return tmp_path


def test_encode__equals_transformers(checkpoint_folder):
    from transformers import AutoModel

    checkpoint = read_checkpoint(checkpoint_folder, model="tiny")
    side = checkpoint.patch_px * 4
    pixels = tiles(3, side)
    reference = AutoModel.from_pretrained(checkpoint_folder).eval()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (checkpoint.mean, checkpoint.std))
    inputs = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        hidden = reference(inputs).last_hidden_state.numpy()
    assert hidden.shape[1] == 1 + checkpoint.registers + 16
    found = TorchEncoder(checkpoint_folder, checkpoint, device="cpu").encode(pixels)
    np.testing.assert_allclose(found.cls, hidden[:, 0], atol=1e-5)
    np.testing.assert_allclose(
        found.mean, hidden[:, 1 + checkpoint.registers :].mean(axis=1), atol=1e-5
    )


def test_encode__a_tile_does_not_depend_on_its_neighbours(checkpoint_dir):
    checkpoint = read_checkpoint(checkpoint_dir, model="tiny")
    encoder = TorchEncoder(checkpoint_dir, checkpoint, device="cpu")
    one, other = tiles(4, 64, seed=1), tiles(4, 64, seed=2)
    other[2] = one[2]
    assert (encoder.encode(one).cls[2] == encoder.encode(other).cls[2]).all()


def test_normalise__by_hand(checkpoint_dir):
    checkpoint = read_checkpoint(checkpoint_dir, model="tiny")
    white = normalise(np.full((1, 16, 16, 3), 255, np.uint8), checkpoint)
    assert white.shape == (1, 3, 16, 16)
    np.testing.assert_allclose(
        white[0, :, 0, 0], (1 - np.array(checkpoint.mean)) / np.array(checkpoint.std), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (np.zeros((1, 64, 64, 3), np.float32), "tiles are float32"),
        (np.zeros((1, 64, 64, 4), np.uint8), r"uint8 \(N, side, side, 3\) is expected"),
        (np.zeros((1, 64, 48, 3), np.uint8), "tiles are 48×64 px"),
        (np.zeros((1, 70, 70, 3), np.uint8), "a multiple of 16 px"),
    ],
)
def test_encode__refuses(checkpoint_dir, wrong, sentence):
    checkpoint = read_checkpoint(checkpoint_dir, model="tiny")
    encoder = TorchEncoder(checkpoint_dir, checkpoint, device="cpu")
    with pytest.raises(ConfigError, match=sentence):
        encoder.encode(wrong)


def test_load__weights_that_miss_a_tensor(checkpoint_dir, tmp_path):
    """A layer that is half there would be filled with random numbers, silently."""
    import shutil

    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(checkpoint_dir, tmp_path / "copy")
    weights = load_file(folder / "model.safetensors")
    weights.pop("layer.1.mlp.up_proj.bias")  # whether there is one, transformers alone knows
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    checkpoint = read_checkpoint(folder, model="tiny")
    with pytest.raises(InvalidCheckpointError, match=r"1 tensors .*up_proj.bias"):
        TorchEncoder(folder, checkpoint, device="cpu")


def test_encode__computes_in_float32_whatever_the_files_have(checkpoint_dir, tmp_path):
    from transformers import AutoModel

    AutoModel.from_pretrained(checkpoint_dir).to(torch.bfloat16).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_bytes(
        (checkpoint_dir / "preprocessor_config.json").read_bytes()
    )
    checkpoint = read_checkpoint(tmp_path, model="half")
    found = TorchEncoder(tmp_path, checkpoint, device="cpu").encode(tiles(2, 64)).cls
    assert (found.astype("float16").astype("float32") != found).any()
    half = torch.from_numpy(found).to(torch.bfloat16).float().numpy()
    assert (half != found).any()
