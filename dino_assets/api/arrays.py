"""Conversion of embeddings to NumPy: from arrays, torch tensors on any device, or lists."""

from typing import Any

import numpy as np


def as_array(embeddings: Any) -> np.ndarray:
    """Convert embeddings to a NumPy array; a tensor is detached and moved to the CPU."""
    if hasattr(embeddings, "detach"):
        embeddings = embeddings.detach().float().cpu()
    return np.asarray(embeddings)
