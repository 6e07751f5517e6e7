"""Search for the faults that explain how a model differs from the reference.

Known faults are planted in the reference, one after another. A fault is reported if the outputs of the faulty
reference then agree with the model's. If one fault is not enough, a second and a third one are added.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from dino_assets.embeddings.checking.candidates import Arrays, InputForm
from dino_assets.embeddings.checking.faults import EPSILON, NamedFault
from dino_assets.embeddings.checking.network_faults import list_network_faults
from dino_assets.embeddings.checking.pixels import PixelFault, Tiles, list_pixel_faults
from dino_assets.embeddings.checking.planted import NetworkFault
from dino_assets.embeddings.checking.readings import OutputReading, list_readings
from dino_assets.embeddings.checking.reference import ReferenceNetwork
from dino_assets.embeddings.encoder.tokens import Tokens, Vectors

_MOST_FAULTS = 3
# Least share of the squared difference that one more fault must explain.
_LEAST_STEP = 0.3
# Least share that all named faults together must explain.
LEAST_EXPLAINED = 0.9
# Highest difference that may remain, as a share of how much the reference's tokens vary.
MOST_LEFT = 0.1
# Differences below this one are rounding; in the same unit as MOST_LEFT.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Explanation:
    """The assumptions with which the reference is closest to a model.

    They are a form of pixels (``feed``), the content of each output (``readings``), and faults.
    """

    feed: str
    readings: dict[str, OutputReading]
    difference: float  # over all outputs, as a share of how much the reference's tokens vary
    pixels: PixelFault | None = None
    network: tuple[NetworkFault, ...] = ()

    @property
    def faults(self) -> tuple[NamedFault, ...]:
        """All faults, from the pixels to the outputs."""
        planted = (*((self.pixels,) if self.pixels else ()), *self.network)
        named = [NamedFault(each.fault, each.words) for each in planted]
        for output, reading in self.readings.items():
            if reading.fault:
                named.append(NamedFault(reading.fault, f"{output}: {reading.words}"))
        return tuple(dict.fromkeys(named))


@dataclass(frozen=True, eq=False)
class Question:
    """A model's outputs for some tiles, by form of pixels, and the reference to compare them with."""

    form: InputForm
    reference: ReferenceNetwork
    tiles: Tiles
    right: Tokens
    answers: dict[str, Arrays]


def match_as_it_should_be(question: Question) -> Explanation | None:
    """Find the form of pixels and the content of each output with which a model is closest to the reference.

    Faults are not considered. Return None if no output has the shape of tokens.
    """
    return _match(question, question.right, with_faults=False)


def explain(question: Question) -> Explanation | None:
    """Find the faults that, planted in the reference, bring it closest to a model.

    A wrong choice or order of tokens in an output counts as a fault, too. Return None if no output has the
    shape of tokens.
    """
    best = _match(question, question.right)
    while best and len(best.faults) < _MOST_FAULTS and best.difference > ROUNDING:
        following = _find_next(question, best)
        if following is None:
            break
        best = following
    return best


def _find_next(question: Question, so_far: Explanation) -> Explanation | None:
    """Find the best explanation with one more fault; return None if no fault improves it enough."""
    best: Explanation | None = None
    for pixels, network in _list_next(question, so_far):
        tokens = question.reference.compute(question.tiles, pixels=pixels, network=network)
        match = _match(question, tokens)
        if match and (best is None or match.difference < best.difference):
            best = replace(match, pixels=pixels, network=network)
            # Nothing can be closer, so the search ends. Epsilons are an exception: several may be this close.
            if best.difference <= ROUNDING and EPSILON not in {each.fault for each in network}:
                return best
    if best and 1 - (best.difference / so_far.difference) ** 2 >= _LEAST_STEP:
        return best
    return None


def _list_next(
    question: Question, so_far: Explanation
) -> Iterator[tuple[PixelFault | None, tuple[NetworkFault, ...]]]:
    if so_far.pixels is None:
        for pixels in list_pixel_faults(question.form, question.reference.checkpoint):
            yield pixels, so_far.network
    planted = {each.fault for each in so_far.network}
    for each in list_network_faults(question.reference.network, question.reference.model):
        if each.fault not in planted:
            yield so_far.pixels, (*so_far.network, each)


def _match(question: Question, tokens: Tokens, *, with_faults: bool = True) -> Explanation | None:
    """Find the form of pixels and the content of each output that bring a model closest to ``tokens``."""
    matches = [
        Explanation(feed, readings, difference)
        for feed, outputs in question.answers.items()
        for readings, difference in [_read(question, tokens, outputs, with_faults=with_faults)]
        if readings
    ]
    return min(matches, key=lambda match: match.difference, default=None)


def _read(
    question: Question, tokens: Tokens, outputs: Arrays, *, with_faults: bool
) -> tuple[dict[str, OutputReading], float]:
    chosen: dict[str, OutputReading] = {}
    squares: list[float] = []
    for name, array in outputs.items():
        readings = [
            reading
            for reading in list_readings(
                name, array.shape, tokens=question.right, grid=question.reference.network.grid
            )
            if with_faults or not reading.fault
        ]
        distances = [_measure(array, each, tokens, question.right) for each in readings]
        if distances:
            at = int(np.argmin(distances))
            chosen[name] = readings[at]
            squares.append(distances[at] ** 2)
    return chosen, float(np.sqrt(np.mean(squares))) if squares else float("inf")


def _measure(array: Vectors, reading: OutputReading, tokens: Tokens, right: Tokens) -> float:
    """Measure the difference between an output and what a reading makes of ``tokens``.

    The unit is the spread of the reference's tokens (``right``) over tiles. Infinity means that the two
    cannot be compared.
    """
    expected = reading.make(tokens)
    if expected.shape != array.shape:
        return float("inf")
    usual = reading.make(right)
    spread = np.linalg.norm(usual - usual.mean(axis=0))
    distance = float(np.linalg.norm(array - expected) / max(float(spread), 1e-30))
    return distance if np.isfinite(distance) else float("inf")
