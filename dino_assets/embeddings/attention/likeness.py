"""How alike the patches of a picture are, with or without what they share by their places.

A patch feature says what is there, and a little of where that is: two patches of different things
near each other, or both at the edge, look more alike than they are. ``PositionBias`` is that part.
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
    """What features have by their places alone: the mean at each place less the mean over all."""

    offsets: Vectors  # (rows, columns, D)
    origin: str  # what it was measured on, in words


def measure_bias(maps: Iterable[Vectors], *, origin: str) -> PositionBias:
    """Measure the bias on features (rows, columns, D) of reference pictures, all of one shape.

    The more their contents differ, the less of it is left in the mean: noise pictures have no content
    to begin with, some dozens of photographs of all kinds will do.

    Raises:
        InvalidVectorsError: there are none, or of different shapes.
    """
    total: NDArray[np.float64] | None = None
    count = 0
    for features in maps:
        if total is None:
            total = np.zeros(features.shape)
        if features.shape != total.shape:
            raise InvalidVectorsError(
                f"reference features are {features.shape}, and {total.shape} before: one shape is expected",
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
    """Features (rows, columns, D) without what they have by their places; as they are without a bias."""
    return features if bias is None else features - bias.offsets


def draw_references(
    kind: References, grid: PatchGrid, checkpoint: Checkpoint, *, rng: np.random.Generator
) -> Iterator[NDArray[np.uint8]]:
    """Pictures without content, of the grid's size: eight of noise, or one of the mean colour."""
    width, height = grid.size
    if kind == "blank":
        colour = np.round(np.array(checkpoint.mean) * 255).astype(np.uint8)
        yield np.broadcast_to(colour, (height, width, 3))
        return
    for _ in range(NOISE_PICTURES):
        yield rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def compare_patches(features: Vectors, row: int, column: int) -> Vectors:
    """Cosine similarity (rows, columns) of all patches to one of them."""
    unit = scale_to_unit(features)
    return np.asarray(np.clip(unit @ unit[row, column], -1, 1))


def scale_to_unit(features: Vectors) -> Vectors:
    """Features of length 1; a zero stays zero."""
    lengths = np.linalg.norm(features, axis=-1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)
