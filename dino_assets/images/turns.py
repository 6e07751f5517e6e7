"""Photographs turned after the shot: found and placed anew by their neighbours' pixels.

A viewer that turns pixels leaves yaw and position as they were, and what wrote a file anew says only
its name. So each such photograph is compared with those that overlap it.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dino_assets.images.ground.registration import (
    TURNS,
    ContrastPicture,
    match_turns,
    measure_contrast,
    prove_turn,
)
from dino_assets.images.records import ImageRow, PlaceQuality
from dino_assets.images.rows import InspectedFile, place_turned

GrayReader = Callable[[ImageRow], NDArray[np.uint8]]
# By path, so by number: forward neighbours and, of short lines, those beside. Looks are held back so
# long; each has its thumbnail.
NEIGHBOURS_AHEAD = 48
_COMPARED = 6
_AGREEING = 2  # are enough; a single one counts where no other proves anything
_LEAST_OVERLAP = 0.15  # by what the files say
_SHARES = (np.arange(16) + 0.5) / 16
_IN_DOUBT: PlaceQuality = "edited-nadir"
_COMPARABLE: tuple[PlaceQuality, ...] = ("gps-nadir", "rtk-nadir", _IN_DOUBT)


def settle_turns(looks: Iterable[InspectedFile], read_gray: GrayReader) -> Iterator[InspectedFile]:
    """Pass looks on in their order, those that were turned in their proven place.

    ``read_gray`` is asked for neighbours of photographs in doubt only. Where neighbours prove nothing,
    or each something else, the quality stays ``edited-nadir``. What ``read_gray`` raises is passed on.
    """
    behind: deque[_Frame] = deque(maxlen=NEIGHBOURS_AHEAD)
    ahead: deque[_Frame] = deque()

    def settle_next() -> InspectedFile:
        frame = ahead.popleft()
        if frame.is_in_doubt:
            started = time.perf_counter()
            _settle(frame, [*behind, *ahead], read_gray)
            spent = frame.look.compute_s + time.perf_counter() - started
            frame.look = replace(frame.look, compute_s=spent)
        behind.append(frame)
        return frame.look

    for look in looks:
        ahead.append(_Frame(look))
        if len(ahead) > NEIGHBOURS_AHEAD:
            yield settle_next()
    while ahead:
        yield settle_next()


@dataclass(eq=False)
class _Frame:
    """A look, and what of it is compared with others."""

    look: InspectedFile
    contrast: NDArray[np.float32] | None = field(default=None, repr=False)

    @property
    def is_in_doubt(self) -> bool:
        return self.look.row.place.place_quality == _IN_DOUBT

    @property
    def is_placed(self) -> bool:
        return self.look.row.place.place_quality in _COMPARABLE

    def open(self, read_gray: GrayReader) -> ContrastPicture:
        """The picture itself, read once."""
        if self.contrast is None:
            gray = self.look.gray
            self.contrast = measure_contrast(read_gray(self.look.row) if gray is None else gray)
        assert self.look.view is not None
        turns = TURNS if self.is_in_doubt else (self.look.row.turned_deg or 0,)
        return ContrastPicture(self.look.view, self.contrast, turns)


def _settle(frame: _Frame, others: Iterable[_Frame], read_gray: GrayReader) -> None:
    proofs: list[tuple[int, str]] = []
    for other in _choose_neighbours(frame, others):
        matches = match_turns(frame.open(read_gray), other.open(read_gray))
        turn = prove_turn(matches)
        if turn is not None:
            proofs.append((turn, other.look.row.path))
        if len(proofs) >= _AGREEING:
            break
    if proofs and len({turn for turn, _ in proofs}) == 1:
        turn, path = proofs[0]
        frame.look = place_turned(frame.look, turn, proof=path)


def _choose_neighbours(frame: _Frame, others: Iterable[_Frame]) -> list[_Frame]:
    """Those whose ground overlaps: first those without doubt, each kind from the most."""
    row = frame.look.row
    ranked = []
    for number, other in enumerate(others):
        if not other.is_placed or (other.look.row.thermal is None) != (row.thermal is None):
            continue
        if other.look.row.facts == row.facts:
            continue  # the same bytes again say nothing new
        overlap = _estimate_overlap(frame.look, other.look)
        if overlap >= _LEAST_OVERLAP:
            ranked.append((other.is_in_doubt, -overlap, number, other))
    return [other for *_, other in sorted(ranked, key=lambda each: each[:3])[:_COMPARED]]


def _estimate_overlap(one: InspectedFile, other: InspectedFile) -> float:
    """The share of the other footprint inside the one, which may have been turned by a quarter."""
    if one.corners is None or other.corners is None:
        return 0.0
    shape, points = np.array(one.corners, np.float64), np.array(other.corners, np.float64)
    points[:, 0] = (points[:, 0] - shape[0, 0] + 180) % 360 - 180
    shape[:, 0] = (shape[:, 0] - shape[0, 0] + 180) % 360 - 180
    east = math.cos(math.radians(shape[0, 1]))
    shape, points = ((each - shape.mean(axis=0)) * (east, 1.0) for each in (shape, points))
    along, across = np.meshgrid(_SHARES, _SHARES)
    corner, right, down = points[0], points[1] - points[0], points[3] - points[0]
    inner = corner + along[..., None] * right + across[..., None] * down
    quarter = shape[:, ::-1] * (1, -1)
    return max(float(_is_inside(inner, each).mean()) for each in (shape, quarter))


def _is_inside(points: NDArray[np.float64], shape: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points (…, 2) lie in a convex quadrangle (4, 2), whichever way round it goes."""
    sides = np.roll(shape, -1, axis=0) - shape
    aside = points[..., None, :] - shape
    crosses = sides[:, 0] * aside[..., 1] - sides[:, 1] * aside[..., 0]
    return np.asarray((crosses >= 0).all(-1) | (crosses <= 0).all(-1))
