"""Gaps and restarts in the numbering of a card's files, found from the file names.

A name belongs to a numbered series if a camera's prefix precedes four or five digits (``DJI_0001``,
``DSC00012``, ``IMG_0001_3``). ``P1000123`` and ``G0012345`` count by their last four digits, and DJI's
stamped names (``DJI_20230614100512_0001_W``) by the number after the time stamp. Files whose names differ
only after the number (a lens, a band, ``-edit``) use one number together, and a video uses a number like a
photograph. Other names have no number: ``IMG (3)``, ``tile_0001_0002``.

Each of a camera's folders (``100MEDIA``, ``DJI_001``, ``100_0002``) is a series of its own. In it, a number
between the lowest and the highest is missing if no file has it. Other folders were made by a person, perhaps
to sort one series into classes, so they are counted together. There, a number is missing if it is in no
folder, and one folder has numbers before and after it. DJI's P4 Multispectral names its six bands
``DJI_0010`` to ``DJI_0015``, the next six ``DJI_0020`` and so on. For this camera, numbers that end in 6 to
9 are not missing.
"""

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from posixpath import commonpath

import numpy as np

from dino_assets.drops.cards import is_litter_folder

_STAMPED = re.compile(r"(DJI_)(\d{14})_(\d{4})(?!\d)", re.IGNORECASE)
_PLAIN = re.compile(
    r"(DJI_|_?DSC_?|DSC[FN]|_?IMG_|_MG_|MVI_|IMGP|_?IGP|YUN_|YUNC|MAX_|EVO_|EP-\d\d-\d{5}_\d{4}_|SAM_|R00)"
    r"(\d{4,5})(?!\d)"
    r"|(P|S)\d{3}(\d{4})(?![\dA-Z])"
    r"|(GOPR|GP\d\d|G[HXS]\d\d|G\d{3})(\d{4})(?![\dA-Z])",
    re.IGNORECASE,
)
# Prefixes that share one camera's counter: colour spaces and videos.
_SAME_COUNTER = {
    "_DSC": "DSC_", "_DSC_": "DSC_", "_MG_": "IMG_", "_IMG_": "IMG_", "MVI_": "IMG_", "_IGP": "IMGP",
}  # fmt: skip
# Folders that follow each other: 100MEDIA, 101MEDIA; DJI_001, DJI_002. Not 000, 001: MicaSense uses these
# names, but classes and flights may have them too. Gaps are found within them, but not between them.
_NUMBERED_FOLDER = re.compile(r"([1-9]\d\d)([A-Z_][A-Z0-9_]{4})|(DJI_)(\d{3})", re.IGNORECASE)
# Folders of panoramas and surveys: each has its own count, and none continues another.
_COUNTED_ALONE = re.compile(r"\d{3}_\d{4}")
_BY_HAND = ""  # stands in a key for all folders that were not made by a camera
# PANORAMA/100_0027 holds the pictures of number 27 in 100MEDIA.
_PANORAMA_FOLDER = re.compile(r"(?:^|/)(\d{3})_(\d{4})/")
_LAST_NUMBERS = (999, 9999)  # a counter restarts after these
# In one folder, a wider gap between 0001 and 9999 means that the counter restarted.
_WRAP_AT_LEAST = 1000
# Last digits of a P4 Multispectral's bands; fewer sets of six could be chance.
_BAND_ENDS, _FEWEST_BAND_SETS = frozenset(range(6)), 3
_NUMBERS = 10**5  # five digits at most
_NEW_FLIGHT_AFTER_S = 5  # the stamps of one shot's lenses differ by a second or two at most


@dataclass(frozen=True, slots=True, order=True)
class Gap:
    """Missing numbers ``first`` to ``last`` of a camera's series in a folder.

    If several folders made by hand have numbers around the gap, ``folder`` is their common parent.
    """

    folder: str
    series: str
    first: int
    last: int

    @property
    def count(self) -> int:
        """Number of missing files."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True, order=True)
class RollOver:
    """Restart of a counter: ``last`` was the highest number before, ``first`` the lowest after."""

    folder: (
        str  # where the count continued; equal to ``from_folder`` for a restart within one folder
    )
    series: str
    from_folder: str
    last: int
    first: int


@dataclass(slots=True)
class _Run:
    """Numbers of one series between two restarts of its counter.

    They are from one camera folder, or from all folders made by hand.
    """

    numbers: set[int] = field(default_factory=set)
    high: int = -1
    stamp: str = ""
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)  # lowest and highest, by folder
    with_photo: set[str] = field(default_factory=set)

    def add(self, number: int, stamp: str, folder: str, is_photo: bool) -> None:
        self.numbers.add(number)
        self.high = max(self.high, number)
        self.stamp = stamp
        low, high = self.spans.get(folder, (number, number))
        self.spans[folder] = min(low, number), max(high, number)
        if is_photo:
            self.with_photo.add(folder)

    def list_folders_around(self, first: int, last: int) -> list[str]:
        """List folders with photographs that have numbers before ``first`` and after ``last``."""
        spans = ((folder, self.spans[folder]) for folder in self.with_photo)
        return [folder for folder, (low, high) in spans if low < first and last < high]


_Key = tuple[str, str]  # folder (or _BY_HAND), series
_Runs = dict[_Key, list[_Run]]


class _NumberedNames:
    """Numbered file names of a series, in 17 bytes each.

    The bytes hold the time stamp, the number, the folder, and whether the file is a photograph.
    """

    def __init__(self) -> None:
        # Fourteen digits of the stamp (zeros for none), then five of the number.
        self._counted = array("Q")
        self._folders = array("Q")
        self._are_photos = bytearray()
        self._places: dict[str, int] = {}

    def add(self, stamp: str, number: int, folder: str, *, is_photo: bool) -> None:
        self._counted.append(int(stamp or 0) * _NUMBERS + number)
        self._folders.append(self._places.setdefault(folder, len(self._places)))
        self._are_photos.append(is_photo)

    def walk(self) -> Iterator[tuple[str, int, str, bool]]:
        """List all names by time stamp, then by number."""
        folders = list(self._places)
        for at in np.argsort(np.frombuffer(self._counted, np.uint64), kind="stable").tolist():
            stamp, number = divmod(self._counted[at], _NUMBERS)
            written = f"{stamp:014d}" if stamp else ""
            yield written, number, folders[self._folders[at]], bool(self._are_photos[at])


def find_gaps(photos: Iterable[str], others: Iterable[str]) -> list[Gap]:
    """Find missing numbers in cameras' series, sorted by folder, series and number.

    ``others`` are the drop's other files: a video or a panorama's folder uses a number too. From one camera
    folder to the next (100MEDIA, 101MEDIA) the count continues or restarts. If it restarts, two ranges
    are missing: after the first folder's highest number up to 999 or 9999, and from 1 up to the second
    folder's lowest number. For folders made by hand, the module's docstring says when a number is missing.
    """
    photos, others = list(photos), list(others)
    runs = _collect_runs(photos, others)
    elsewhere = _count_panoramas([*photos, *others])
    gaps: list[Gap] = []

    def report(key: _Key, first: int, last: int, never: frozenset[int] = frozenset()) -> None:
        # Numbers used by panoramas are not missing, and split the gap.
        number = _number_folder(key[0])
        taken = elsewhere.get(number[1], set()) if number else set()
        for start, end in _split_range(first, last, taken | never):
            gaps.append(Gap(*key, start, end))

    for (_, series), counted in runs.items():
        for run in counted:
            never = _list_never_used(run.numbers)
            for first, last in _holes(run.numbers):
                if around := run.list_folders_around(first, last):
                    report((commonpath(around), series), first, last, never)
    for before, after in _follow_folders(runs):
        old, new = runs[before][-1], runs[after][0]
        if not (old.with_photo or new.with_photo):
            continue
        low = min(new.numbers)
        if low > old.high:
            report(after, old.high + 1, low - 1)
            continue
        report(before, old.high + 1, _end_of_count(old.high))
        report(after, 1, low - 1)
    return sorted(gaps)


def find_roll_overs(photos: Iterable[str]) -> list[RollOver]:
    """Find restarts of a camera's counter: from one folder to the next, or after 999 or 9999 within a folder."""
    runs = _collect_runs(photos, ())
    breaks = []
    for before, after in _follow_folders(runs):
        old, low = runs[before][-1], min(runs[after][0].numbers)
        if low <= old.high:
            breaks.append(RollOver(after[0], after[1], before[0], old.high, low))
    for (_, series), counted in runs.items():
        for old, new in pairwise(counted):
            if old.high in _LAST_NUMBERS:
                folder = commonpath([*old.spans, *new.spans])
                breaks.append(RollOver(folder, series, folder, old.high, min(new.numbers)))
    return sorted(breaks)


def _collect_runs(photos: Iterable[str], others: Iterable[str]) -> _Runs:
    """Collect ascending runs of numbers by folder and series, in the order of time stamps."""
    shots: dict[_Key, _NumberedNames] = {}
    for is_photo, paths in ((True, photos), (False, others)):
        for path in paths:
            folder, _, name = path.rpartition("/")
            if name[:2] == "._" or is_litter_folder(folder):
                continue
            if (shot := _read_number(name)) is not None:
                series, stamp, number = shot
                counted_in = folder if _is_of_camera(folder) else _BY_HAND
                key = counted_in, series
                if key not in shots:
                    shots[key] = _NumberedNames()
                shots[key].add(stamp, number, folder, is_photo=is_photo)
    return {key: list(_cut_runs(named)) for key, named in sorted(shots.items(), key=itemgetter(0))}


def _cut_runs(named: _NumberedNames) -> Iterator[_Run]:
    """Split a series where its counter started again; names without time stamps are a single run."""
    run = _Run()
    for stamp, number, folder, is_photo in named.walk():
        if number < run.high and _is_new_count(run, number, stamp):
            yield run
            run = _Run()
        run.add(number, stamp, folder, is_photo)
    yield run


def _is_new_count(run: _Run, number: int, stamp: str) -> bool:
    if run.high in _LAST_NUMBERS and run.high - number > _LAST_NUMBERS[0] // 2:
        return True
    return _seconds(stamp) - _seconds(run.stamp) > _NEW_FLIGHT_AFTER_S


def _seconds(stamp: str) -> int:
    """Convert a stamp YYYYMMDDhhmmss to seconds; differences are exact within a day only."""
    if not stamp:
        return 0
    clock = int(stamp[8:10]) * 3600 + int(stamp[10:12]) * 60 + int(stamp[12:14])
    return int(stamp[:8]) * 86_400 + clock


def _read_number(name: str) -> tuple[str, str, int] | None:
    """Read series, time stamp (or an empty text) and number from a file's name; None if it has no number."""
    if match := _STAMPED.match(name):
        # Not the series of DJI_0001: both may be in one folder with separate counters.
        return "DJI_*_", match[2], int(match[3])
    if match := _PLAIN.match(name):
        if match[5]:
            return "G", "", int(match[6])
        prefix = (match[1] or match[3]).upper()
        return _SAME_COUNTER.get(prefix, prefix), "", int(match[2] or match[4])
    return None


def _holes(numbers: set[int]) -> list[tuple[int, int]]:
    """List the first and last number of each gap; if the count restarted, leave out the widest gap."""
    ranked = sorted(numbers)
    holes = [(low + 1, high - 1) for low, high in pairwise(ranked) if high > low + 1]
    if holes and ranked[-1] == _LAST_NUMBERS[-1] and ranked[0] <= 1:
        widest = max(holes, key=lambda hole: hole[1] - hole[0])
        if widest[1] - widest[0] >= _WRAP_AT_LEAST:
            holes.remove(widest)
    return holes


def _list_never_used(numbers: set[int]) -> frozenset[int]:
    """List the numbers that a six-band camera never uses.

    The result is empty if ``numbers`` are not those of such a camera.
    """
    tens: dict[int, set[int]] = {}
    for number in numbers:
        tens.setdefault(number // 10, set()).add(number % 10)
    if any(ends - _BAND_ENDS for ends in tens.values()):
        return frozenset()
    if sum(ends == _BAND_ENDS for ends in tens.values()) < _FEWEST_BAND_SETS:
        return frozenset()
    return frozenset(10 * ten + end for ten in range(max(tens) + 1) for end in range(6, 10))


def _split_range(first: int, last: int, taken: set[int]) -> Iterator[tuple[int, int]]:
    for number in range(first, last + 1):
        if number in taken:
            if first < number:
                yield first, number - 1
            first = number + 1
    if first <= last:
        yield first, last


def _end_of_count(high: int) -> int:
    return next((last for last in _LAST_NUMBERS if high <= last), high)


def _count_panoramas(paths: Iterable[str]) -> dict[int, set[int]]:
    taken: dict[int, set[int]] = {}
    for path in paths:
        if match := _PANORAMA_FOLDER.search(path):
            taken.setdefault(int(match[1]), set()).add(int(match[2]))
    return taken


def _follow_folders(runs: _Runs) -> Iterator[tuple[_Key, _Key]]:
    """List pairs of consecutive folders that hold the same series."""
    by_place = {}
    for folder, series in runs:
        if (numbered := _number_folder(folder)) is not None:
            by_place[numbered[0], series, numbered[1]] = (folder, series)
    for (place, series, number), key in by_place.items():
        after = by_place.get((place, series, number + 1))
        if after is not None:
            yield key, after


@lru_cache(maxsize=4096)
def _number_folder(folder: str) -> tuple[str, int] | None:
    """Split a camera folder's path into the part that consecutive folders share, and the number.

    Return None for other folders, and for folders with a count of their own.
    """
    parent, _, name = folder.rpartition("/")
    match = _NUMBERED_FOLDER.fullmatch(name)
    if match is None or _COUNTED_ALONE.fullmatch(name):
        return None
    alike = (match[2] or match[3]).upper()
    return f"{parent}/{alike}", int(match[1] or match[4])


def _is_of_camera(folder: str) -> bool:
    name = folder.rpartition("/")[2]
    return bool(_NUMBERED_FOLDER.fullmatch(name) or _COUNTED_ALONE.fullmatch(name))
