"""Attention and patch features against transformers' own, in all three families."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from dino_assets.embeddings.attention.reader import PatchReader, explaining_memory
from dino_assets.embeddings.encoder.tokens import normalise
from dino_assets.errors import ConfigError, DeviceMemoryError
from dino_assets_tests.conftest import REPOSITORY
from dino_assets_tests.worlds.networks import FAMILIES

LAYERS = (0, 1, 2, -1, -2)
GRIDS = ((5, 5), (3, 7), (1, 1), (6, 2))  # the native one, and others


@pytest.fixture(params=FAMILIES)
def tiny(request, sample_of):
    """A tiny network of each family, whose attention is far from even."""
    return sample_of(request.param, is_sharp=True)


@pytest.fixture
def reader(tiny):
    return PatchReader(tiny.folder, tiny.checkpoint)


def draw(checkpoint, rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    patch = checkpoint.patch_px
    return rng.integers(0, 256, (rows * patch, columns * patch, 3), dtype=np.uint8)


def ask_eager(sample, pixels):
    """Attentions, and hidden states after every layer, as transformers computes them by itself."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(
        sample.folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    planes = torch.from_numpy(normalise(pixels[None], sample.checkpoint))
    with torch.inference_mode():
        output = model(planes, output_attentions=True, output_hidden_states=True)
        norm = model.layernorm if hasattr(model, "layernorm") else model.norm
        states = [norm(each)[0].numpy() for each in output.hidden_states[1:]]
    assert np.abs(states[-1] - output.last_hidden_state[0].numpy()).max() < 1e-5
    return [each[0].numpy() for each in output.attentions], states


@pytest.mark.parametrize("shape", GRIDS)
def test_read_attention__equals_eager_attention(tiny, reader, shape):
    pixels = draw(tiny.checkpoint, *shape)
    attentions, _ = ask_eager(tiny, pixels)
    registers = tiny.checkpoint.registers
    for layer in LAYERS:
        attention = reader.read_attention(pixels, layer=layer)
        rows = attentions[layer][:, 0]  # (heads, tokens), from CLS
        assert attention.layer == layer % 3
        assert attention.patches.dtype == np.float32
        assert attention.patches.shape == (3, *shape)
        assert attention.registers.shape == (3, registers)
        assert np.abs(attention.cls - rows[:, 0]).max() <= 1e-5
        if registers:
            assert np.abs(attention.registers - rows[:, 1 : 1 + registers]).max() <= 1e-5
        patches = rows[:, 1 + registers :].reshape(3, *shape)
        assert np.abs(attention.patches - patches).max() <= 1e-5
        # Uneven enough that a wrong row, order or head would show.
        if shape != (1, 1):
            assert patches.max() > 3 * patches.min()


@pytest.mark.parametrize("shape", GRIDS)
def test_read_features__equals_the_hidden_states(tiny, reader, shape):
    pixels = draw(tiny.checkpoint, *shape)
    _, states = ask_eager(tiny, pixels)
    for layer in LAYERS:
        features = reader.read_features(pixels, layer=layer)
        patches = states[layer][1 + tiny.checkpoint.registers :]
        assert features.shape == (*shape, tiny.checkpoint.dim)
        assert np.abs(features - patches.reshape(*shape, -1)).max() <= 1e-5


def test_pick__a_head_or_the_mean_of_all(tiny, reader):
    attention = reader.read_attention(draw(tiny.checkpoint, 3, 4))
    assert np.array_equal(attention.pick(1), attention.patches[1])
    assert np.array_equal(attention.pick(-1), attention.patches[2])
    assert np.allclose(
        attention.pick(None),
        (attention.patches[0] + attention.patches[1] + attention.patches[2]) / 3,
    )


def test_divide__the_parts_of_a_head_add_up(tiny, reader):
    attention = reader.read_attention(draw(tiny.checkpoint, 3, 4))
    for head in (None, 0, -1):
        parts = attention.divide(head)
        assert list(parts) == ["patches", "registers", "cls"]
        assert sum(parts.values()) == pytest.approx(1, abs=1e-5)
        assert parts["patches"] == pytest.approx(float(attention.pick(head).sum()), abs=1e-5)
        assert (parts["registers"] > 0) is (tiny.checkpoint.registers > 0)


@pytest.mark.parametrize("layer", [3, -4, 99])
def test_read__refuses_missing_layers(one_tiny, layer):
    reader = PatchReader(one_tiny.folder, one_tiny.checkpoint)
    pixels = draw(one_tiny.checkpoint, 2, 2)
    for read_layer in (reader.read_attention, reader.read_features):
        with pytest.raises(ConfigError) as caught:
            read_layer(pixels, layer=layer)
        assert (caught.value.setting, caught.value.value) == ("layer", layer)


@pytest.mark.parametrize("head", [3, -4])
def test_pick__refuses_missing_heads(one_tiny, head):
    reader = PatchReader(one_tiny.folder, one_tiny.checkpoint)
    attention = reader.read_attention(draw(one_tiny.checkpoint, 2, 2))
    for ask in (attention.pick, attention.divide):
        with pytest.raises(ConfigError) as caught:
            ask(head)
        assert caught.value.setting == "head"


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((32, 33, 3), np.uint8),
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 3), np.float32),
        np.zeros((0, 32, 3), np.uint8),
    ],
)
def test_read__refuses_other_pixels(one_tiny, pixels):
    reader = PatchReader(one_tiny.folder, one_tiny.checkpoint)
    with pytest.raises(ConfigError) as caught:
        reader.read_features(pixels)
    assert caught.value.setting == "pixels"


def test_explaining_memory__names_the_picture():
    with pytest.raises(DeviceMemoryError) as caught, explaining_memory(np.zeros((28, 42, 3))):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
    assert "42×28" in str(caught.value)
    assert caught.value.device_said.startswith("CUDA out of memory")


MEASURE = """
import json, resource, sys
from pathlib import Path
import numpy as np
from dino_assets.embeddings.attention.reader import PatchReader
from dino_assets.weights.checkpoint import read_checkpoint

folder = Path(sys.argv[1])
reader = PatchReader(folder, read_checkpoint(folder, model="m"))
side = 1500 // 16 * 16
pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
reader.read_attention(pixels[:64, :64])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reader.read_attention(pixels)
reader.read_features(pixels)
print(json.dumps((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))
"""


@pytest.mark.slow
def test_read_attention__of_1500_px_needs_no_square_of_the_patches(one_tiny):
    process = subprocess.run(
        [sys.executable, "-c", MEASURE, str(one_tiny.folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert process.returncode == 0, process.stderr
    # Eager attention of one layer has 3 heads × 8,654² × 4 bytes: 857 MB, twice over for its softmax.
    assert json.loads(process.stdout) < 200
