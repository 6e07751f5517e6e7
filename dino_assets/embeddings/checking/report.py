"""What a check says about a model."""

from dataclasses import dataclass

from dino_assets.compute.settings import PrecisionClass
from dino_assets.embeddings.checking.faults import NamedFault


@dataclass(frozen=True)
class SizeReport:
    """How far a model is from the reference at one size, computed in one way."""

    height: int
    width: int
    run: str
    tiles: int
    cosine: float  # the lowest of any vector, with the reference's
    centred: float  # the same, the mean over tiles taken from both
    grade: PrecisionClass | None  # the strictest bounds that it keeps


@dataclass(frozen=True)
class ModelReport:
    """What a model file is, and what is wrong with it."""

    file: str
    kind: str
    reference: str
    takes: str
    pixels: str  # the form in which it agrees
    outputs: dict[str, str]
    sizes: tuple[SizeReport, ...]
    faults: tuple[NamedFault, ...]
    notes: tuple[str, ...] = ()

    @property
    def grade(self) -> PrecisionClass | None:
        """The strictest bounds that it keeps at all sizes, in every way of computing it."""
        grades = {size.grade for size in self.sizes}
        if None in grades or not grades:
            return None
        return "half" if "half" in grades else "fp32"

    @property
    def passed(self) -> bool:
        """Whether it may be used in place of the reference."""
        return not self.faults
