"""Embedding spaces: the settings that two vectors must share to be comparable."""

from dataclasses import asdict, dataclass
from typing import Literal

from dino_assets.compute.settings import ComputeSettings, PrecisionClass
from dino_assets.errors import ConfigError
from dino_assets.store.commits.sealing import digest
from dino_assets.weights.records import Checkpoint

EmbeddingColumn = Literal["cls", "mean"]


@dataclass(frozen=True)
class Space:
    """The settings that two embeddings must share to be comparable."""

    weights_sha256: str
    network: str  # hash of the settings that change the model's outputs
    preprocessing: int
    side_px: int
    layer: int
    precision: PrecisionClass


# Part of every space. Increase it when the numbers that reach the model change.
PREPROCESSING_VERSION = 1


def name_space(space: Space) -> str:
    """Compute the id of a space. Vectors of one space id and one column are comparable."""
    return digest(asdict(space))[:16]


def make_space(checkpoint: Checkpoint, compute: ComputeSettings, *, side_px: int) -> Space:
    """Make the space of the vectors that a checkpoint gives at one tile side and precision class."""
    return Space(
        weights_sha256=checkpoint.weights_sha256,
        network=checkpoint.network,
        preprocessing=PREPROCESSING_VERSION,
        side_px=side_px,
        layer=checkpoint.layers,
        precision=compute.precision,
    )


def check_side(side_px: int, checkpoint: Checkpoint) -> None:
    """Refuse a tile side that is not a whole number of patches.

    Raises:
        ConfigError: ``side_px`` is not a multiple of the patch side.
    """
    if side_px < 1 or side_px % checkpoint.patch_px:
        raise ConfigError(
            f"tiles are {side_px} px; squares with a side that is a multiple of "
            f"{checkpoint.patch_px} px are expected",
            setting="side_px",
            value=side_px,
        )


def current_space(checkpoint: Checkpoint, compute: ComputeSettings, *, tile_px: int = 0) -> str:
    """Compute the id of the space of a checkpoint under the current settings.

    ``tile_px`` of 0 means the tile side of the checkpoint's family.
    """
    return name_space(make_space(checkpoint, compute, side_px=tile_px or checkpoint.tile_px))
