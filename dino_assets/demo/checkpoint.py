"""Demo checkpoint: small, complete, with seeded random weights that have learned nothing."""

import json
from collections.abc import Mapping
from pathlib import Path

from dino_assets.embeddings.encoder.tokens import hide_progress_bars
from dino_assets.errors import CheckpointError, ConfigError
from dino_assets.weights.architecture import CONFIG
from dino_assets.weights.checkpoint import CAVEAT, PREPROCESSOR, RANDOM, WEIGHTS, read_checkpoint

_CARD = "README.md"
MODEL_CARD = """---
license: apache-2.0
---
A DINOv3-shaped vision transformer, seed {seed}. It has learned nothing. It has
{caveat}
"""


def write_demo_checkpoint(
    folder: Path, *, seed: int = 0, dim: int = 64, layers: int = 4, side_px: int = 512
) -> Path:
    """Write a small checkpoint with random weights to a folder, and return the folder.

    Its files are config, preprocessor, safetensors and model card, in the Hugging Face layout.
    """
    import torch
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(
        hidden_size=dim,
        num_hidden_layers=layers,
        num_attention_heads=max(1, dim // 16),
        intermediate_size=4 * dim,
        num_register_tokens=4,
        patch_size=16,
        image_size=side_px,
    )
    # Seed the CPU generator only: seeding all would start every GPU, and warn if there are several.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = DINOv3ViTModel(config)
    folder.mkdir(parents=True, exist_ok=True)
    # Written first: it marks the folder as the demo's if this process is killed.
    (folder / _CARD).write_text(MODEL_CARD.format(seed=seed, caveat=CAVEAT))
    with hide_progress_bars():
        model.save_pretrained(folder)
    preprocessor = {
        "image_processor_type": "DINOv3ViTImageProcessorFast",
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "size": {"height": side_px, "width": side_px},
    }
    _write_json(folder / CONFIG, {**json.loads((folder / CONFIG).read_text()), RANDOM: seed})
    # Written last: without it the folder counts as unfinished.
    _write_json(folder / PREPROCESSOR, preprocessor)
    return folder


def find_or_write_demo_checkpoint(folder: Path) -> bool:
    """Write the checkpoint unless it exists; return whether it was written.

    Raises:
        ConfigError: the folder holds another checkpoint, or parts of one.
    """
    try:
        is_demo = bool(read_checkpoint(folder, model=folder.name).caveat)
        is_whole = True
    except CheckpointError:  # nothing there, or the files of a killed call
        is_demo, is_whole = _may_overwrite(folder), False
    if not is_demo:
        raise ConfigError(
            f"{str(folder)!r} holds a checkpoint that the demo did not write. Move it to another folder, "
            "and set DINO_MODEL_ID to that folder.",
            setting="folder",
            value=folder,
        )
    if not is_whole:
        write_demo_checkpoint(folder)
    return not is_whole


def _may_overwrite(folder: Path) -> bool:
    """Check whether the folder has no checkpoint files, or files that the demo wrote."""
    if not any((folder / name).exists() for name in (CONFIG, PREPROCESSOR, WEIGHTS, _CARD)):
        return True
    marks = {CONFIG: f'"{RANDOM}"', _CARD: CAVEAT}
    return any(
        (folder / name).is_file() and mark in (folder / name).read_text(errors="replace")
        for name, mark in marks.items()
    )


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
