"""What the tests of writing share."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file


def write(path: Path, state: Any) -> Path:
    """As upstream writes it: timm safetensors, Meta a pickle."""
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    else:
        torch.save(state, path)
    return path


SAT = ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))
