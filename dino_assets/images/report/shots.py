"""Shots: records of a drop's files for its report."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import overload

from dino_assets.images.records import PlaceQuality
from dino_assets.packing import Packed

Data = bytes  # a second name, because Shot has a field called bytes


@dataclass(frozen=True, slots=True)
class Shot:
    """The report's record of one file of a drop. ``taken`` is the camera's local time.

    ``corners`` are four (longitude, latitude). If they are None, ``place_reason`` says why.
    """

    path: str
    image_id: str | None
    bytes: int
    is_usable: bool
    reason: str | None = None
    detail: str = ""
    taken: datetime | None = None
    satellite_date: date | None = None
    latitude: float | None = None
    longitude: float | None = None
    relative_altitude_m: float | None = None
    camera: str | None = None
    width: int | None = None
    height: int | None = None
    thermal: str | None = None
    sharpness: float | None = None
    contrast: float | None = None
    exposure_ev: float | None = None
    dark_share: float | None = None
    bright_share: float | None = None
    look: Data | None = None
    quality: PlaceQuality = "none"
    corners: tuple[tuple[float, float], ...] | None = None
    gsd_m: float | None = None
    thumb: Data | None = None
    place_reason: str | None = None
    edited_by: str | None = None
    turned_deg: int | None = None
    turn_proof: str | None = None


@dataclass(frozen=True, slots=True)
class _Refused:
    """The report's record of a file that could not be used."""

    path: str
    bytes: int
    reason: str | None
    detail: str

    def restore(self) -> Shot:
        """Make the shot of this file."""
        return Shot(self.path, None, self.bytes, False, self.reason, self.detail)


class ShotList(Sequence[Shot]):
    """Shots of a drop in their order; unusable files need about 20 bytes each."""

    def __init__(self) -> None:
        self._whole: list[Shot] = []
        self._places = array("q")  # positions of the complete shots among all
        self._refused = Packed(_Refused)

    def append(self, shot: Shot) -> None:
        """Add a shot at the end."""
        refused = _Refused(shot.path, shot.bytes, shot.reason, shot.detail)
        if shot.is_usable or refused.restore() != shot:
            self._places.append(len(self))
            self._whole.append(shot)
        else:
            self._refused.append(refused)

    def __len__(self) -> int:
        return len(self._whole) + len(self._refused)

    def __iter__(self) -> Iterator[Shot]:
        refused = iter(self._refused)
        passed = 0
        for at, shot in zip(self._places, self._whole, strict=True):
            yield from (each.restore() for each in islice(refused, at - passed))
            yield shot
            passed = at + 1
        yield from (each.restore() for each in refused)

    @overload
    def __getitem__(self, at: int) -> Shot: ...
    @overload
    def __getitem__(self, at: slice) -> list[Shot]: ...
    def __getitem__(self, at: int | slice) -> Shot | list[Shot]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        at = at + len(self) if at < 0 else at
        if not 0 <= at < len(self):
            raise IndexError(at)
        place = bisect_left(self._places, at)
        if place < len(self._places) and self._places[place] == at:
            return self._whole[place]
        return self._refused[at - place].restore()

    def walk_usable(self) -> Iterator[tuple[int, Shot]]:
        """List positions and shots of the usable files."""
        for at, shot in zip(self._places, self._whole, strict=True):
            if shot.is_usable:
                yield at, shot


def walk_usable(shots: Sequence[Shot]) -> Iterator[tuple[int, Shot]]:
    """List positions and shots of the usable files; a ``ShotList`` need not unpack the unusable files."""
    if isinstance(shots, ShotList):
        return shots.walk_usable()
    return ((at, shot) for at, shot in enumerate(shots) if shot.is_usable)
