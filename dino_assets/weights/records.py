"""Records of a checkpoint and its files."""

from dataclasses import dataclass
from typing import Literal

Family = Literal["dinov2", "dinov2_with_registers", "dinov3_vit"]
# Pixel statistics (mean, standard deviation) of the images on which the published models were trained.
StatisticsName = Literal["imagenet", "sat493m"]


@dataclass(frozen=True)
class CheckpointFile:
    """One file of a checkpoint."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Checkpoint:
    """A validated ViT checkpoint: architecture, pixel statistics, origin, and the hash of each file."""

    model: str
    revision: str
    weights_sha256: str
    family: Family
    dim: int
    layers: int
    heads: int
    patch_px: int
    registers: int
    parameters: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    statistics_from: str
    licence: str | None
    files: tuple[CheckpointFile, ...]
    caveat: str | None = None  # a warning to show with all results, for example for random weights
    network: str = ""  # hash of all settings, apart from the weights, that change the outputs
    # Origin, if known: a commit of the Hub, or the source of an import.
    repo: str | None = None
    commit: str | None = None
    imported_from: str | None = None

    @property
    def label(self) -> str:
        """The model's name for pictures, followed by "(random weights)" if the weights are random."""
        return f"{self.model} (random weights)" if self.caveat else self.model

    @property
    def tile_px(self) -> int:
        """The default side of a tile in pixels: 518 for patches of 14, 512 for patches of 16."""
        return 518 // self.patch_px * self.patch_px


def spell_caveat(caveat: str | None) -> str:
    """Write a checkpoint's caveat as a sentence; return an empty text if there is none."""
    return f"The model has {caveat}" if caveat else ""


def facts_of_caveat(caveat: str | None) -> dict[str, str]:
    """Return the caveat of an output's weights as a fact to store; empty if there is none."""
    return {"caveat": caveat} if caveat else {}
