"""Records of a checkpoint."""

from dataclasses import dataclass
from typing import Literal

Family = Literal["dinov2", "dinov2_with_registers", "dinov3_vit"]
# Of pixels, of what the published models were trained on.
StatisticsName = Literal["imagenet", "sat493m"]


@dataclass(frozen=True)
class CheckpointFile:
    """One file of a checkpoint."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Checkpoint:
    """A validated ViT checkpoint: what it is, where it came from, and the hash of each file."""

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
    caveat: str | None = None  # what everybody who looks at its results must be told
    network: str = ""  # names everything beside the weights that decides what is computed
    # Where it came from, if that is known: a commit of the Hub, or a file of somebody else's layout.
    repo: str | None = None
    commit: str | None = None
    imported_from: str | None = None

    @property
    def label(self) -> str:
        """Its name, with the word that a picture made from it has to carry."""
        return f"{self.model} (random weights)" if self.caveat else self.model

    @property
    def tile_px(self) -> int:
        """The family's tile side: 518 for patch 14, 512 for patch 16."""
        return 518 // self.patch_px * self.patch_px


def spell_caveat(caveat: str | None) -> str:
    """Write a checkpoint's caveat as a sentence; nothing where there is none."""
    return f"The model has {caveat}" if caveat else ""


def facts_of_caveat(caveat: str | None) -> dict[str, str]:
    """Give the fact that an output made with such weights carries; none for any other weights."""
    return {"caveat": caveat} if caveat else {}
