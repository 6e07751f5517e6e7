"""Detection and placing of photographs that a program turned after the shot.

A viewer that turns the pixels leaves yaw and position in the file unchanged. At most it writes its own name
into the file. So each edited photograph is compared with the pictures that overlap it.
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
# Files come in the order of their paths, so of their numbers. This many files before and after a photograph
# hold its neighbours on the flight line and, if lines are short, on the next line. So twice this many files
# are in memory, each with its thumbnail.
NEIGHBOURS_AHEAD = 48
_COMPARED = 6
# So many equal proofs are enough. A single one counts if no other compared picture proves a turn.
_AGREEING = 2
_LEAST_OVERLAP = 0.15  # share of the ground, computed from the files' metadata
_SHARES = (np.arange(16) + 0.5) / 16
_IN_DOUBT: PlaceQuality = "edited-nadir"
_COMPARABLE: tuple[PlaceQuality, ...] = ("gps-nadir", "rtk-nadir", _IN_DOUBT)


def correct_turns(files: Iterable[InspectedFile], read_gray: GrayReader) -> Iterator[InspectedFile]:
    """Correct the places of photographs that a program turned; yield all files in their order.

    A place is corrected only if overlapping pictures, the neighbours, prove the turn. If they prove none, or
    different turns, ``place_quality`` stays ``edited-nadir``. ``read_gray`` reads a photograph as a small
    gray picture. It is called only for neighbours of edited photographs, and its errors are raised.
    """
    behind: deque[_Frame] = deque(maxlen=NEIGHBOURS_AHEAD)
    ahead: deque[_Frame] = deque()

    def settle_next() -> InspectedFile:
        frame = ahead.popleft()
        if frame.is_in_doubt:
            started = time.perf_counter()
            _settle(frame, [*behind, *ahead], read_gray)
            spent = frame.file.compute_s + time.perf_counter() - started
            frame.file = replace(frame.file, compute_s=spent)
        behind.append(frame)
        return frame.file

    for file in files:
        ahead.append(_Frame(file))
        if len(ahead) > NEIGHBOURS_AHEAD:
            yield settle_next()
    while ahead:
        yield settle_next()


@dataclass(eq=False)
class _Frame:
    """An inspected file, and its contrast picture for comparisons."""

    file: InspectedFile
    contrast: NDArray[np.float32] | None = field(default=None, repr=False)

    @property
    def is_in_doubt(self) -> bool:
        return self.file.row.place.place_quality == _IN_DOUBT

    @property
    def is_placed(self) -> bool:
        return self.file.row.place.place_quality in _COMPARABLE

    def open(self, read_gray: GrayReader) -> ContrastPicture:
        """Make the picture that is compared with others; read the file's pixels only in the first call."""
        if self.contrast is None:
            gray = self.file.gray
            self.contrast = measure_contrast(read_gray(self.file.row) if gray is None else gray)
        assert self.file.view is not None
        turns = TURNS if self.is_in_doubt else (self.file.row.turned_deg or 0,)
        return ContrastPicture(self.file.view, self.contrast, turns)


def _settle(frame: _Frame, others: Iterable[_Frame], read_gray: GrayReader) -> None:
    proofs: list[tuple[int, str]] = []
    for other in _choose_neighbours(frame, others):
        matches = match_turns(frame.open(read_gray), other.open(read_gray))
        turn = prove_turn(matches)
        if turn is not None:
            proofs.append((turn, other.file.row.path))
        if len(proofs) >= _AGREEING:
            break
    if proofs and len({turn for turn, _ in proofs}) == 1:
        turn, path = proofs[0]
        frame.file = place_turned(frame.file, turn, proof=path)


def _choose_neighbours(frame: _Frame, others: Iterable[_Frame]) -> list[_Frame]:
    """Choose the files to compare with: those whose ground overlaps most, unedited before edited ones."""
    row = frame.file.row
    ranked = []
    for number, other in enumerate(others):
        if not other.is_placed or (other.file.row.thermal is None) != (row.thermal is None):
            continue
        if other.file.row.facts == row.facts:
            continue  # a copy of the same bytes proves nothing
        overlap = _estimate_overlap(frame.file, other.file)
        if overlap >= _LEAST_OVERLAP:
            ranked.append((other.is_in_doubt, -overlap, number, other))
    return [other for *_, other in sorted(ranked, key=lambda each: each[:3])[:_COMPARED]]


def _estimate_overlap(one: InspectedFile, other: InspectedFile) -> float:
    """Estimate the share of the other picture's footprint that lies inside the footprint of ``one``.

    ``one`` may have been turned by a quarter. So the share is also computed for its footprint after such a
    turn, and the larger share is returned.
    """
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
    """Check which points (…, 2) lie in a convex quadrangle (4, 2).

    Its corners may be clockwise or counter-clockwise.
    """
    sides = np.roll(shape, -1, axis=0) - shape
    aside = points[..., None, :] - shape
    crosses = sides[:, 0] * aside[..., 1] - sides[:, 1] * aside[..., 0]
    return np.asarray((crosses >= 0).all(-1) | (crosses <= 0).all(-1))
