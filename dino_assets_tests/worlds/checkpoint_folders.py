"""What the tests of checkpoint share."""

import json
import shutil
from pathlib import Path
from typing import Any

from dino_assets.weights.checkpoint import (
    PREPROCESSOR,
    RANDOM,
    read_checkpoint,
)
from dino_assets.weights.records import Checkpoint

SAT_MEAN, SAT_STD = [0.430, 0.411, 0.296], [0.213, 0.156, 0.143]


def write_model(folder: Path, family: str, *, is_sharded: bool) -> int:
    """A tiny model, written by transformers itself; returns its number of parameters."""
    from transformers import (
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
        DINOv3ViTConfig,
        DINOv3ViTModel,
    )

    common: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
    }
    if family == "dinov2":
        model: Any = Dinov2Model(Dinov2Config(**common, patch_size=14, image_size=56))
    elif family == "dinov2_with_registers":
        config = Dinov2WithRegistersConfig(**common, patch_size=14, image_size=56)
        model = Dinov2WithRegistersModel(config)
    else:
        options = {"num_register_tokens": 4, "patch_size": 16, "intermediate_size": 32}
        model = DINOv3ViTModel(DINOv3ViTConfig(**common, **options, image_size=64))
    model.save_pretrained(folder, max_shard_size="20KB" if is_sharded else "1GB")
    write_json(folder / PREPROCESSOR, {"image_mean": SAT_MEAN, "image_std": SAT_STD})
    return int(sum(parameter.numel() for parameter in model.parameters()))


def copy_unmarked(source: Path, folder: Path) -> Path:
    """A copy of a checkpoint that no longer says of its weights that they are random."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    del config[RANDOM]
    write_json(folder / "config.json", config)
    return folder


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def read(folder: Path) -> Checkpoint:
    return read_checkpoint(folder, model="the/model")


def change(path: Path, **values: object) -> None:
    write_json(path, json.loads(path.read_text()) | values)
