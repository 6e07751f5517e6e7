"""The published models as transformers builds them: whole without memory, or one layer for real."""

import json
from pathlib import Path
from typing import Any

import torch

from dino_assets.embeddings.encoder.tokens import hide_progress_bars
from dino_assets.weights.catalogue import PUBLISHED

LARGE_DIM = 1024  # from here on in shards
CARD = "---\nlicense: apache-2.0\n---\nOne layer of it.\n"
PREPROCESSOR = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
# Width of the MLP where it is not four times the model's.
_MLP_DIMS = {4096: 8192}


def build_model(name: str, *, layers: int | None = None) -> Any:
    """A model on the meta device with the released values, which are no config class's defaults."""
    from transformers import (
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
        DINOv3ViTConfig,
        DINOv3ViTModel,
    )

    network = PUBLISHED[name]
    is_largest = "vit7b" in name
    sizes: dict[str, Any] = {
        "hidden_size": network.dim,
        "num_hidden_layers": layers or network.layers,
        "num_attention_heads": network.heads,
    }
    v2: dict[str, Any] = {"patch_size": 14, "image_size": 518, "use_swiglu_ffn": "giant" in name}
    mlp_dim = _MLP_DIMS.get(network.dim, 4 * network.dim)
    if layers is not None:  # written to a disk: most of a layer's bytes are its MLP
        mlp_dim = network.dim // 4
        v2["mlp_ratio"] = 1
    with torch.device("meta"):
        if network.family == "dinov2":
            return Dinov2Model(Dinov2Config(**sizes, **v2))
        if network.family == "dinov2_with_registers":
            config = Dinov2WithRegistersConfig(**sizes, **v2, num_register_tokens=4)
            return Dinov2WithRegistersModel(config)
        return DINOv3ViTModel(
            DINOv3ViTConfig(
                **sizes,
                patch_size=16,
                num_register_tokens=4,
                intermediate_size=mlp_dim,
                use_gated_mlp="plus" in name or is_largest,
                query_bias=not is_largest,
                value_bias=not is_largest,
            )
        )


def write_one_layer(name: str, folder: Path) -> Any:
    """Write one layer of the published width (a narrow MLP) in float16, the large ones in shards."""
    model = build_model(name, layers=1).half().to_empty(device="cpu")
    rng = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.rand(parameter.shape, dtype=torch.float16, generator=rng)
    weights = 2 * sum(parameter.numel() for parameter in model.parameters())
    is_large = PUBLISHED[name].dim >= LARGE_DIM
    with hide_progress_bars():
        model.save_pretrained(folder, max_shard_size=weights * 2 // 3 if is_large else 2 * weights)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    (folder / "README.md").write_text(CARD)
    return model


def damage(path: Path, kind: str) -> None:
    """What disks, people and cables do to a file: ``flipped``, ``truncated`` or ``removed``."""
    if kind == "removed":
        path.unlink()
        return
    with path.open("r+b") as file:
        middle = path.stat().st_size // 2
        if kind == "truncated":
            file.truncate(middle)
        else:
            file.seek(middle)
            bit = file.read(1)[0] ^ 1
            file.seek(middle)
            file.write(bytes([bit]))
