"""What the tests of writing share."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from dino_assets.weights.architecture import CONFIG
from dino_assets.weights.checkpoint import INDEX, PREPROCESSOR


def write(path: Path, state: Any) -> Path:
    """As upstream writes it: timm safetensors, Meta a pickle."""
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    else:
        torch.save(state, path)
    return path


def hash_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def list_papers(folder: Path) -> list[str]:
    """What an imported folder has beside its weights and what describes them."""
    names = {path.name for path in folder.glob("[!.]*") if path.suffix != ".safetensors"}
    return sorted(names - {CONFIG, PREPROCESSOR, INDEX})


SAT = ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))
