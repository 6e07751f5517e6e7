"""Settings of a probe; a command reads them without numpy."""

from dataclasses import dataclass
from typing import Literal

from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.settings.described import described

ProbeKind = Literal["logistic", "linear"]
SplitBy = Literal["ground", "flight", "image"]
ClassWeights = Literal["balanced", "none"]


@dataclass(frozen=True)
class ProbeSettings:
    """Settings of a probe; part of its recipe."""

    kind: ProbeKind = described(
        "logistic", "Way of training; linear is one layer trained by Adam, as the documents do"
    )
    split: SplitBy = described(
        "ground", "What is held out together, so that no tile is seen in training and in a test"
    )
    block_m: int = described(50, "split by ground: side of a block in metres", least=1)
    class_weights: ClassWeights = described(
        "balanced", "balanced: every class counts as much as every other, however few labels it has"
    )
    folds: int = described(
        5, "Parts into which the labels are split; each is held out once", least=2
    )
    epochs: int = described(10, "linear: passes over the labels", least=1)
    seed: int = described(42, "Equal seeds and inputs give the same probe", least=0)
    column: EmbeddingColumn = described("cls", "Vector to use; mean is the mean over patches")
    drops: tuple[str, ...] = described((), "Use only these drops and drops with one of the tags")
    tags: tuple[str, ...] = described(
        (), "Use only drops with one of these tags and the named drops"
    )
