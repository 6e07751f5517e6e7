"""Comparison of a model with the reference at one size, and diagnosis of the difference."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dino_assets.compute.settings import PrecisionClass
from dino_assets.embeddings.checking import faults
from dino_assets.embeddings.checking.candidates import Arrays, Candidate, Run, first_line
from dino_assets.embeddings.checking.explaining import (
    LEAST_EXPLAINED,
    MOST_LEFT,
    ROUNDING,
    Explanation,
    Question,
    explain,
    match_as_it_should_be,
)
from dino_assets.embeddings.checking.faults import NamedFault
from dino_assets.embeddings.checking.pixels import Feed, Tiles, list_feeds
from dino_assets.embeddings.checking.planted import compute_in_float16, find_largest_hidden
from dino_assets.embeddings.checking.reference import ReferenceNetwork
from dino_assets.embeddings.checking.report import SizeReport
from dino_assets.embeddings.encoder.gate import (
    GATE_TILES,
    draw_gate_tiles,
    is_within,
    measure_cosines,
)
from dino_assets.embeddings.encoder.tokens import normalise
from dino_assets.errors import InvalidModelFileError

LARGEST_FLOAT16 = 65_504.0
# Share of the squared difference that faults must explain if the model is within the gate's limits; the
# rest is rounding.
_EXPLAINED_IN_NOISE = 0.5
_FEW_TILES = 2
_LARGE_PX = 400  # from this side on, fewer tiles are used, so that a check takes about a minute
Say = Callable[[str], None]


@dataclass(frozen=True)
class SizeResult:
    """The result for one size and one way of computing."""

    sizes: tuple[SizeReport, ...] = ()
    faults: tuple[NamedFault, ...] = ()
    notes: tuple[str, ...] = ()
    explanation: Explanation | None = None


class ModelExamination:
    """Comparison of one model with the reference at one size, on the same tiles."""

    def __init__(
        self, candidate: Candidate, reference: ReferenceNetwork, height: int, width: int
    ) -> None:
        self.candidate = candidate
        self.reference = reference
        self.height, self.width = height, width
        is_large = max(height, width) >= _LARGE_PX
        side = max(height, width)
        drawn = draw_gate_tiles(side, count=GATE_TILES // 2 if is_large else GATE_TILES)
        self.tiles: Tiles = np.ascontiguousarray(drawn[:, :height, :width])
        self.few = self.tiles[:_FEW_TILES]
        self.right = reference.compute(self.tiles)

    def examine(self, run: Run, *, pixels: str | None, say: Say) -> SizeResult:
        """Check one way to compute the model; if it differs from the reference, find the fault.

        ``pixels`` names the form of pixels that the model expects, if a check at another size has already
        found it.
        """
        feeds = list_feeds(self.candidate.form, self.reference.checkpoint)
        if pixels:
            feeds = [each for each in feeds if each.words == pixels]
        try:
            answers = {each.words: self._ask(each, self.few, run) for each in feeds}
        except Exception as err:
            if not self.candidate.has_open_sides:
                raise InvalidModelFileError(
                    f"the model fails at {self.height}×{self.width} px: {first_line(err)}",
                    file=self.candidate.form.name,
                ) from err
            return SizeResult(
                faults=(NamedFault(faults.FIXED_SIDE, f"fails at {self.height}×{self.width} px"),)
            )
        question = Question(
            self.candidate.form,
            self.reference,
            self.few,
            self.right.of_tiles(slice(len(self.few))),
            answers,
        )
        usual = match_as_it_should_be(question)
        if broken := self._find_overflow(answers, run):
            return SizeResult(faults=(broken,), explanation=usual)
        if usual is None:
            best = explain(question)
            if best and best.difference <= MOST_LEFT:
                return SizeResult(faults=best.faults, explanation=best)
            return SizeResult(faults=(self._name_shapes(answers),))
        report = self._judge(usual, run, feeds)
        if report.grade == "fp32" and usual.difference <= ROUNDING:
            return SizeResult((report,), explanation=usual)
        if run is not self.candidate.runs[0]:  # the same network, only in another number type
            named = () if report.grade else (self._name_numbers(run, usual),)
            return SizeResult((report,), named, explanation=usual)
        say(f"{self.height}×{self.width} px, {run.words}: the model differs, looking for the fault")
        best = explain(question)
        return self._conclude(report, run, usual, best)

    def _ask(self, feed: Feed, tiles: Tiles, run: Run) -> Arrays:
        return self.candidate.compute(feed.prepare(tiles), run)

    def _judge(self, match: Explanation, run: Run, feeds: list[Feed]) -> SizeReport:
        """Compare the outputs for all tiles with the reference, and grade them by the gate's limits."""
        (feed,) = (each for each in feeds if each.words == match.feed)
        outputs = self._ask(feed, self.tiles, run)
        grades: list[PrecisionClass | None] = []
        cosines: list[tuple[float, float]] = []
        for name, reading in match.readings.items():
            output, expected = outputs[name], reading.make(self.right)
            measured = measure_cosines(expected, output)
            is_single = output.ndim > 2  # single tokens are noisier than a tile's vector
            cosines.append(measured)
            classes: tuple[PrecisionClass, ...] = ("fp32", "half")
            within = [each for each in classes if is_within(measured, each, is_token=is_single)]
            grades.append(within[0] if within else None)
        grade: PrecisionClass | None = "half" if "half" in grades else "fp32"
        return SizeReport(
            self.height,
            self.width,
            run.words,
            len(self.tiles),
            min(cosine for cosine, _ in cosines),
            min(centred for _, centred in cosines),
            None if None in grades else grade,
        )

    def _conclude(
        self, report: SizeReport, run: Run, usual: Explanation, best: Explanation | None
    ) -> SizeResult:
        """Name the faults that explain the difference; otherwise name a fault of the numbers."""
        named = best.faults if best else ()
        share = 1 - (best.difference / usual.difference) ** 2 if best else 0.0
        is_enough = share >= (LEAST_EXPLAINED if report.grade is None else _EXPLAINED_IN_NOISE)
        is_explained = is_enough and best is not None and best.difference <= MOST_LEFT
        if best and named and is_explained:
            exact = [each for each in named if not each.fault.is_approximation]
            if exact or report.grade is None:
                return SizeResult((report,), named, explanation=best)
            notes = tuple(f"{each}: within half precision" for each in named)
            return SizeResult((report,), notes=notes, explanation=usual)
        if report.grade is not None:
            return SizeResult((report,), explanation=usual)
        return SizeResult((report,), (self._name_numbers(run, usual),), explanation=usual)

    def _name_numbers(self, run: Run, usual: Explanation) -> NamedFault:
        words = (
            f"the difference is {usual.difference:.2g} × the spread between tiles, computed in "
            f"{run.words}"
        )
        if run.numerics == "int8":
            return NamedFault(faults.INT8_COLLAPSE, words)
        if run.numerics == "fp32":
            return NamedFault(faults.OTHER_NETWORK, words)
        largest = self._find_largest()
        if largest > LARGEST_FLOAT16:
            words = f"the reference's own numbers reach {largest:,.0f}; {words}"
            return NamedFault(faults.OVERFLOW, words)
        if run is self.candidate.runs[0] and not self._is_lost_in_half(usual):
            return NamedFault(faults.OTHER_NETWORK, words)
        return NamedFault(faults.HALF_TOO_COARSE, words)

    def _is_lost_in_half(self, usual: Explanation) -> bool:
        """Check whether float16 alone explains the difference.

        It does if computing in float16 changes the reference by over a quarter of the model's difference.
        """
        planes = normalise(self.few, self.reference.checkpoint)
        halved = compute_in_float16(self.reference.network, planes)
        right = self.right.of_tiles(slice(len(self.few)))
        (name, reading), *_ = usual.readings.items()
        shape = {"": {name: reading.make(halved)}}
        own = match_as_it_should_be(
            Question(self.candidate.form, self.reference, self.few, right, shape)
        )
        return own is not None and own.difference > usual.difference / 4

    def _find_overflow(self, answers: dict[str, Arrays], run: Run) -> NamedFault | None:
        """Return a fault if every form of pixels gives NaN or infinity in the outputs; else None."""
        shares = [
            1 - float(np.mean([np.isfinite(array).mean() for array in outputs.values()]))
            for outputs in answers.values()
        ]
        if min(shares) == 0:
            return None
        words = f"{min(shares):.0%} of the outputs are NaN or infinite, computed in {run.words}"
        largest = self._find_largest()
        if largest > LARGEST_FLOAT16:
            words += f"; the reference's own numbers reach {largest:,.0f}"
        return NamedFault(faults.OVERFLOW, words)

    def _find_largest(self) -> float:
        planes = normalise(self.few[:1], self.reference.checkpoint)
        return find_largest_hidden(self.reference.network, planes)

    def _name_shapes(self, answers: dict[str, Arrays]) -> NamedFault:
        shapes = ", ".join(
            f"{name} {array.shape[1:]}" for name, array in next(iter(answers.values())).items()
        )
        checkpoint = self.reference.checkpoint
        grid = self.reference.network.grid
        expected = f"{checkpoint.dim} dims, {1 + checkpoint.registers + grid[0] * grid[1]} tokens"
        return NamedFault(faults.OTHER_SHAPE, f"{shapes}; {checkpoint.label} gives {expected}")
