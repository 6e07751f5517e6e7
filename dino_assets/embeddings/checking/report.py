"""Reports of a model check."""

from dataclasses import dataclass

from dino_assets.compute.settings import PrecisionClass
from dino_assets.embeddings.checking.faults import NamedFault


@dataclass(frozen=True)
class SizeReport:
    """The difference between a model and the reference at one size, for one way of computing."""

    height: int
    width: int
    run: str
    tiles: int
    cosine: float  # lowest cosine between a vector and the reference's
    centred: float  # the same, with the mean over tiles subtracted from both
    grade: PrecisionClass | None  # the strictest class whose limits it meets


@dataclass(frozen=True)
class ModelReport:
    """The result of a model check: description of the file, a report per input size, and faults."""

    file: str
    kind: str
    reference: str
    takes: str
    pixels: str  # the form of pixels in which it agrees with the reference
    outputs: dict[str, str]
    sizes: tuple[SizeReport, ...]
    faults: tuple[NamedFault, ...]
    notes: tuple[str, ...] = ()

    @property
    def grade(self) -> PrecisionClass | None:
        """The strictest precision class whose limits the model meets, or None if it meets none.

        The limits must be met at all sizes and in every way of computing.
        """
        grades = {size.grade for size in self.sizes}
        if None in grades or not grades:
            return None
        return "half" if "half" in grades else "fp32"

    @property
    def passed(self) -> bool:
        """Whether the file may be used in place of the reference."""
        return not self.faults
