"""Embeddings as people hand them over: NumPy arrays, torch tensors on any device, or lists."""

from typing import Any

import numpy as np


def as_array(embeddings: Any) -> np.ndarray:
    """The same numbers as a NumPy array; a tensor's gradient and device are left behind."""
    if hasattr(embeddings, "detach"):
        embeddings = embeddings.detach().float().cpu()
    return np.asarray(embeddings)
