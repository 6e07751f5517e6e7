"""Similarity between the patches of a picture, with or without the position bias.

A patch feature describes the content of a patch and, to a small part, its position. So two patches that
are near each other, or both at an edge, are more similar than their contents. ``PositionBias`` is the part
that describes the position.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.attention.grid import PatchGrid
from dino_assets.embeddings.encoder.tokens import Vectors
from dino_assets.errors import InvalidVectorsError
from dino_assets.weights.records import Checkpoint

References = Literal["noise", "blank"]
NOISE_PICTURES = 8
NOISE_SEED = 0


@dataclass(frozen=True, eq=False)
class PositionBias:
    """The part of features that depends on the position only: mean per position minus the overall mean."""

    offsets: Vectors  # (rows, columns, D)
    origin: str  # the reference pictures, as a phrase


def measure_bias(maps: Iterable[Vectors], *, origin: str) -> PositionBias:
    """Measure the position bias from features (rows, columns, D) of reference pictures, all of one shape.

    The contents of the pictures should cancel out in the mean. Noise pictures have no content; some
    dozens of different photographs also work.

    Raises:
        InvalidVectorsError: there are no features, or they have different shapes.
    """
    total: NDArray[np.float64] | None = None
    count = 0
    for features in maps:
        if total is None:
            total = np.zeros(features.shape)
        if features.shape != total.shape:
            raise InvalidVectorsError(
                f"reference features at index {count} have the shape {features.shape}, earlier ones have "
                f"{total.shape}. Give features that all have the same shape.",
                row=count,
            )
        total += features
        count += 1
    if total is None:
        raise InvalidVectorsError("no reference features: at least one picture is expected")
    mean = total / count
    offsets = mean - mean.mean(axis=(0, 1))
    return PositionBias(offsets.astype(np.float32), origin)


def take_out(features: Vectors, bias: PositionBias | None) -> Vectors:
    """Subtract the position bias from features (rows, columns, D); without a bias return them unchanged."""
    return features if bias is None else features - bias.offsets


def draw_references(
    kind: References, grid: PatchGrid, checkpoint: Checkpoint, *, rng: np.random.Generator
) -> Iterator[NDArray[np.uint8]]:
    """Draw pictures without content, of the grid's size.

    ``noise`` gives eight pictures of noise, ``blank`` gives one of the model's mean colour.
    """
    width, height = grid.size
    if kind == "blank":
        colour = np.round(np.array(checkpoint.mean) * 255).astype(np.uint8)
        yield np.broadcast_to(colour, (height, width, 3))
        return
    for _ in range(NOISE_PICTURES):
        yield rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def compare_patches(features: Vectors, row: int, column: int) -> Vectors:
    """Compute the cosine similarity (rows, columns) of all patches to the patch at ``row``, ``column``."""
    unit = scale_to_unit(features)
    return np.asarray(np.clip(unit @ unit[row, column], -1, 1))


def scale_to_unit(features: Vectors) -> Vectors:
    """Scale features to length 1; a zero vector stays zero."""
    lengths = np.linalg.norm(features, axis=-1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)
