"""Labelled vectors for tests: drawn ones, and real ones with known classes."""

import os
from pathlib import Path

import numpy as np
import pytest

from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.probes.replaying import LabelledVectors

FEATURES = Path(os.environ.get("DINO_BENCH_FEATURES", "../shared/features/aerial-1400.npz"))


def draw_labelled(
    count: int = 300, *, classes: int = 3, blocks: int = 30, seed: int = 0, noise: float = 1.0
) -> LabelledVectors:
    """Clouds around one direction per class; every block has tiles of all classes."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, classes, count)
    vectors = 3 * rng.normal(size=(classes, 16))[numbers] + noise * 3 * rng.normal(size=(count, 16))
    return LabelledVectors(
        scale_to_unit(vectors.astype(np.float32)), numbers, np.arange(count) % blocks
    )


def read_aerial(name: str = "vectors") -> LabelledVectors:
    """Vectors or colours of aerial pictures of 7 classes, each picture on ground of its own."""
    if not FEATURES.exists():
        pytest.skip(f"{FEATURES} is missing: set DINO_BENCH_FEATURES")
    arrays = np.load(FEATURES)
    vectors = scale_to_unit(arrays[name].astype(np.float32))
    return LabelledVectors(vectors, arrays["classes"].astype(np.int64), np.arange(len(vectors)))


def read_digits() -> LabelledVectors:
    """Scikit-learn's pictures of digits, as unit vectors of their 64 pixels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    vectors = scale_to_unit(digits.data.astype(np.float32))
    return LabelledVectors(vectors, digits.target.astype(np.int64), np.arange(len(vectors)))
