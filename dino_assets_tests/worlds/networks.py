"""Checkpoints of all families at any size, and what transformers' own classes say about tiles."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dino_assets.embeddings.encoder.engine import EngineSpec, NetworkSource
from dino_assets.embeddings.encoder.tokens import ALL_TOKENS, TokenName, Tokens
from dino_assets.weights.checkpoint import read_checkpoint
from dino_assets.weights.records import Checkpoint, Family

FAMILIES: tuple[Family, ...] = ("dinov2", "dinov2_with_registers", "dinov3_vit")
# No two alike, and none its neighbour's mirror image: swapped channels or statistics show.
STATISTICS = ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


@dataclass(frozen=True)
class Sample:
    """A checkpoint on the disk."""

    folder: Path
    checkpoint: Checkpoint

    def at(self, side_px: int, outputs: tuple[TokenName, ...] = ALL_TOKENS) -> NetworkSource:
        """What an engine is built from."""
        return NetworkSource(self.folder, self.checkpoint, side_px, outputs)


def spec(engine: str, numerics: str, batch: int = 3, threads: int = 1) -> EngineSpec:
    """An engine of this machine's processor."""
    return EngineSpec(engine, "cpu", numerics, batch, threads)  # type: ignore[arg-type]


def write_sample(
    folder: Path,
    family: Family,
    *,
    dim: int = 48,
    layers: int = 3,
    heads: int = 3,
    native_px: int = 0,
    seed: int = 0,
    is_lively: bool = True,
    is_sharp: bool = False,
    statistics: tuple[tuple[float, ...], tuple[float, ...]] = STATISTICS,
    **config: Any,
) -> Sample:
    """Write seeded weights in the Hugging Face layout; ``native_px`` 0 is five patches."""
    import transformers as t

    patch = 16 if family == "dinov3_vit" else 14
    sizes = {
        "hidden_size": dim,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "patch_size": patch,
        "image_size": native_px or 5 * patch,
        **config,
    }
    torch.manual_seed(seed)
    if family == "dinov2":
        model = t.Dinov2Model(t.Dinov2Config(**sizes))
    elif family == "dinov2_with_registers":
        model = t.Dinov2WithRegistersModel(
            t.Dinov2WithRegistersConfig(**{"num_register_tokens": 4, **sizes})
        )
    else:
        sizes = {"intermediate_size": 4 * dim, "num_register_tokens": 4, **sizes}
        model = t.DINOv3ViTModel(t.DINOv3ViTConfig(**sizes))
    if is_lively:
        enliven(model, is_sharp=is_sharp)
    model.save_pretrained(folder)
    mean, std = statistics
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": mean, "image_std": std})
    )
    return Sample(folder, read_checkpoint(folder, model=f"{family}-{dim}"))


def enliven(model: torch.nn.Module, *, is_sharp: bool = False) -> None:
    """Leave nothing at nought or one, where a fresh network has biases, scales, tokens and positions.

    Attention of a fresh network is nearly even; a sharp one looks at places and at registers.
    """
    qk_scale, vo_scale = (8, 4) if is_sharp else (3, 1)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "token" in name or "position_embeddings" in name:
                tensor += 0.3 * torch.randn_like(tensor)
            elif tensor.ndim == 1:
                tensor += 0.1 * torch.randn_like(tensor)
            elif "q_proj" in name or "k_proj" in name:
                tensor *= qk_scale
            elif "v_proj" in name or "o_proj" in name:
                tensor *= vo_scale


def draw_tiles(count: int, side: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Noise over a colour of each tile's own."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 200, (count, 1, 1, 3))
    return (colours + rng.integers(0, 56, (count, side, side, 3))).astype(np.uint8)


def compute_expected(sample: Sample, tiles: NDArray[np.uint8]) -> Tokens:
    """Tokens by AutoModel, in float32, on pixels that torch has normalised."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(sample.folder, dtype=torch.float32).eval()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in _statistics_of(sample.folder))
    planes = (torch.from_numpy(tiles).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        hidden = model(planes).last_hidden_state.numpy()
    registers = getattr(model.config, "num_register_tokens", 0)
    patches = hidden[:, 1 + registers :]
    return Tokens(hidden[:, 0], patches.mean(axis=1), hidden[:, 1 : 1 + registers], patches)


def _statistics_of(folder: Path) -> tuple[list[float], list[float]]:
    document = json.loads((folder / "preprocessor_config.json").read_text())
    return document["image_mean"], document["image_std"]


def assert_close(found: Tokens, wanted: Tokens, *, atol: float = 1e-5) -> None:
    """All tokens that were computed are those."""
    names = [name for name in ALL_TOKENS if getattr(found, name) is not None]
    assert names
    for name in names:
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=atol, err_msg=name)


def assert_same(found: Tokens, wanted: Tokens) -> None:
    """The very same bytes, in every token that either has."""
    for name in ALL_TOKENS:
        actual, expected = getattr(found, name), getattr(wanted, name)
        assert (actual is None) == (expected is None), name
        if actual is not None:
            assert actual.shape == expected.shape, name
            assert actual.dtype == expected.dtype == np.float32
            assert np.array_equal(actual, expected), f"{name}: {abs(actual - expected).max()} apart"
