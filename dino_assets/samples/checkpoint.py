"""A small real checkpoint with seeded random weights: it shows the plumbing and knows nothing."""

import json
from pathlib import Path

from dino_assets.core.encoder import quiet_progress

MODEL_CARD = """---
license: apache-2.0
---
A DINOv3-shaped vision transformer with random weights (seed {seed}). It moves data through the
pipeline and has learned nothing: distances between its embeddings mean nothing. Set DINO_MODEL_ID to a
real checkpoint for real work.
"""


def write_demo_checkpoint(
    folder: Path, *, seed: int = 0, dim: int = 64, layers: int = 4, side_px: int = 512
) -> Path:
    """Write config, preprocessor, safetensors and model card in the Hugging Face layout."""
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
    # The CPU generator alone: seeding them all would wake every GPU up, and warn if there are several.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = DINOv3ViTModel(config)
    folder.mkdir(parents=True, exist_ok=True)
    with quiet_progress():
        model.save_pretrained(folder)
    preprocessor = {
        "image_processor_type": "DINOv3ViTImageProcessorFast",
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "size": {"height": side_px, "width": side_px},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")
    (folder / "README.md").write_text(MODEL_CARD.format(seed=seed))
    return folder
