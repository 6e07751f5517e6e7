"""Findings about a drop, one sentence each: problems and notes to read before labels are paid for."""

import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal, get_args

from dino_assets.images.report.numbering import Gap, RollOver
from dino_assets.images.report.shots import Shot, walk_usable
from dino_assets.numerics.earth import measure_distance_m
from dino_assets.packing import Packed

Kind = Literal[
    "quarantined", "wrong-year", "no-time", "no-gps", "no-place", "far", "turned", "edited", "blurred", "dark",
    "bright", "duplicate", "near-duplicate", "gap", "roll-over", "thermal",
]  # fmt: skip
# The order of the report: lost files first, mere notes last.
KINDS: tuple[Kind, ...] = get_args(Kind)

# These have a red dot in the picture of footprints.
MARKED: tuple[Kind, ...] = ("blurred", "dark", "bright", "wrong-year")

FIRST_YEAR = 2010  # the first consumer drone with a camera; a reset clock shows 1970, 1980, 2000
# Distance from the drop's median date that means a wrong year, and not a season across New Year.
FAR_DAYS = 300
DAYS_APART = 1  # local time and the satellites' UTC may differ by one date, never by two
FAR_KM = 20.0  # from the drop's median position: no drone flies this far between two pictures
# An archive of ten years has no typical year, and a journey no typical place. So three in four pictures must
# agree before another one counts as wrong (half and half means two seasons, or two sites).
AGREEING_SHARE = 0.75
# Sharpness is compared with the drop and with neighbours in flight. Over water and snow, pictures are soft
# for minutes: a fifth to a half of the drop's sharpness. Below a fifth, a picture is blurred, whatever its
# neighbours. BLURRED is an absolute limit, lower than for any water or snow, for a series that is blurred as
# a whole.
BLURRED = 0.02
BLURRED_TO_DROP = 0.35
BLURRED_ALONE = 0.2
BLURRED_TO_NEIGHBOURS = 0.5
# Calm water, sand, snow and fog have 1 to 7 levels of contrast; edges blurred by 8 px still have 26. A
# blurred picture of nothing but grass has as few levels, but its neighbours are not smooth.
LEAST_CONTRAST = 8.0
SMOOTH_NEIGHBOURS_SHARE = 0.3
NEIGHBOURS = 5  # on each side
FEWEST_FOR_MEDIAN = 5
# Two stops from middle gray: such a picture can be developed, but labels cannot be drawn on it.
DARK_EV, BRIGHT_EV = -2.0, 2.0
CLIPPED_SHARE = 0.5  # half the picture is black or white: no correction restores it

_NEVER = datetime(1, 1, 1)  # noqa: DTZ001 - cameras write no zone, and it is never shown


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about a file. For a gap or a restarted counter, ``path`` is the folder.

    ``other`` is a second path, for instance of the file that a duplicate repeats.
    """

    kind: Kind
    path: str
    other: str | None
    detail: str


def find_problems(
    shots: Sequence[Shot],
    *,
    gaps: Sequence[Gap],
    roll_overs: Sequence[RollOver],
    near: Sequence[tuple[int, int]] = (),
) -> Packed[Finding]:
    """Find all problems, sorted by kind and path.

    ``gaps`` and ``roll_overs`` come from the file names. ``near`` are pairs of similar pictures, as positions
    in ``shots``. Of each pair, the picture with the later path gets the finding, which names the other one.
    Pairs from ``pair_similar_pictures`` give each picture at most one such finding. It names the first of a
    group of similar pictures.
    """
    usable = [shot for _, shot in walk_usable(shots)]
    others = [
        *_find_wrong_times(usable),
        *_find_placeless(usable),
        *_find_far(usable),
        *_find_edited(usable),
        *_find_bad_light(usable),
        *_find_blurred(usable),
        *_find_duplicates(usable),
        *_find_near_duplicates(shots, near),
        *_find_breaks(gaps, roll_overs),
        *(
            Finding("thermal", shot.path, None, f"thermal: {shot.thermal}")
            for shot in usable
            if shot.thermal
        ),
    ]
    rank = {kind: place for place, kind in enumerate(KINDS)}
    others.sort(key=lambda f: (rank[f.kind], f.path, f.other or "", f.detail))
    # Quarantined files are the first kind. There may be a million, mostly sorted already, so they are sorted
    # only if needed.
    quarantined = _find_quarantined(shots)
    if not all(one.path <= other.path for one, other in pairwise(_find_quarantined(shots))):
        quarantined = iter(sorted(quarantined, key=lambda f: (f.path, f.detail)))
    findings = Packed(Finding, quarantined)
    findings.extend(others)
    return findings


def count_findings(findings: Iterable[Finding]) -> dict[Kind, int]:
    """Count findings by kind, in the report's order; kinds without a finding are left out."""
    counts = Counter(finding.kind for finding in findings)
    return {kind: counts[kind] for kind in KINDS if counts[kind]}


def list_kinds(findings: Iterable[Finding], *, paths: Collection[str]) -> dict[str, list[Kind]]:
    """List which kinds of findings each of ``paths`` has, without repeats, in the order of ``findings``.

    A path without findings is left out.
    """
    kinds: dict[str, dict[Kind, None]] = {}
    for finding in findings:
        if finding.path in paths:
            kinds.setdefault(finding.path, {})[finding.kind] = None
    return {path: list(of_path) for path, of_path in kinds.items()}


def order_flight(shots: Sequence[Shot]) -> list[int]:
    """Order usable shots by time, then those without a time by name; return their positions."""
    keys = {
        at: (shot.taken is None, shot.taken or _NEVER, shot.path) for at, shot in walk_usable(shots)
    }
    return sorted(keys, key=keys.__getitem__)


def _make_finding(kind: Kind, shot: Shot, detail: str, other: str | None = None) -> Finding:
    return Finding(kind, shot.path, other, detail)


def _find_quarantined(shots: Sequence[Shot]) -> Iterator[Finding]:
    return (
        _make_finding(
            "quarantined", shot, ": ".join(filter(None, (shot.reason, shot.detail))) or "unusable"
        )
        for shot in shots
        if not shot.is_usable
    )


def _find_wrong_times(shots: Sequence[Shot]) -> list[Finding]:
    """Find missing and wrong dates: at most one finding per picture, the surest reason first."""
    days = [s.taken.date() for s in shots if s.taken and s.taken.year >= FIRST_YEAR]
    middle = statistics.median_low(days) if days else None
    if middle is not None:
        agreeing = sum(abs((day - middle).days) <= FAR_DAYS for day in days)
        middle = middle if agreeing >= AGREEING_SHARE * len(days) else None
    findings = []
    for shot in shots:
        if shot.taken is None:
            if shot.quality == "ortho":
                continue  # a mosaic has no single time
            findings.append(_make_finding("no-time", shot, "the file has no time of capture"))
            continue
        day, gps_day = shot.taken.date(), shot.satellite_date
        if day.year < FIRST_YEAR:
            why = f"no drone took photographs before {FIRST_YEAR}: the clock was not set"
        elif gps_day and abs((day - gps_day).days) > DAYS_APART:
            why = f"the GPS date is {gps_day:%Y-%m-%d}"
        elif middle is not None and abs((day - middle).days) > FAR_DAYS:
            why = f"most of this drop was taken around {middle:%Y-%m-%d}"
        else:
            continue
        findings.append(_make_finding("wrong-year", shot, f"taken {day:%Y-%m-%d}, but {why}"))
    return findings


def _find_placeless(shots: Sequence[Shot]) -> list[Finding]:
    findings = []
    for shot in shots:
        if shot.corners is not None:
            continue
        if shot.latitude is None or shot.longitude is None:
            findings.append(_make_finding("no-gps", shot, "the file has no position"))
        elif find_position(shot) is None:
            findings.append(
                _make_finding("no-gps", shot, "the position is 0°, 0°: the receiver had no fix")
            )
        else:
            findings.append(
                _make_finding("no-place", shot, shot.place_reason or "the ground is unknown")
            )
    return findings


def find_position(shot: Shot) -> tuple[float, float] | None:
    """Return a shot's latitude and longitude; None if one is unknown.

    The result is also None if both are 0, as a receiver without a fix writes them.
    """
    if shot.latitude is None or shot.longitude is None:
        return None
    # A real position at 0°, 0° (in the Gulf of Guinea) is not expected.
    has_fix = max(abs(shot.latitude), abs(shot.longitude)) >= 1e-6
    return (shot.latitude, shot.longitude) if has_fix else None


def _find_edited(shots: Sequence[Shot]) -> list[Finding]:
    """Find pictures that a program wrote again, and say whether a neighbour proves how they were turned.

    Their files keep the angles of the shot. So without such a proof, their places may be wrong.
    """
    findings = []
    for shot in shots:
        if not shot.edited_by:
            continue
        why = f"written again by {shot.edited_by} after it was taken"
        if shot.turned_deg:
            why += (
                f", turned by {shot.turned_deg}° clockwise; its place is corrected by its neighbour"
            )
        elif shot.turned_deg == 0:
            why += ", not turned, as its neighbour proves"
        elif shot.corners is not None:
            why += "; no neighbour proves whether it was turned, so its place may be wrong"
        findings.append(
            _make_finding("turned" if shot.turned_deg else "edited", shot, why, shot.turn_proof)
        )
    return findings


def _find_far(shots: Sequence[Shot]) -> list[Finding]:
    """Find pictures far from the median position, if most pictures are near it."""
    placed = [(shot, at) for shot in shots if (at := find_position(shot)) is not None]
    if not placed:
        return []
    start = placed[0][1][1]
    # Relative to the first longitude, so that the 180th meridian does not split a drop.
    east = statistics.median((lon - start + 180) % 360 - 180 for _, (_, lon) in placed)
    middle = statistics.median(lat for _, (lat, _) in placed), start + east
    apart = [(shot, measure_distance_m(at, middle) / 1000) for shot, at in placed]
    if sum(km <= FAR_KM for _, km in apart) < AGREEING_SHARE * len(apart):
        return []
    return [
        _make_finding("far", shot, f"{km:,.0f} km from the middle of this drop's positions")
        for shot, km in apart
        if km > FAR_KM
    ]


def _find_bad_light(shots: Sequence[Shot]) -> list[Finding]:
    findings = []
    for shot in shots:
        exposure = shot.exposure_ev
        if shot.thermal or exposure is None:
            continue
        dark, bright = shot.dark_share or 0, shot.bright_share or 0
        side = "under" if exposure < 0 else "over"
        why = f"{abs(exposure):.1f} EV {side} middle gray"
        if dark > CLIPPED_SHARE or exposure < DARK_EV:
            findings.append(_make_finding("dark", shot, f"{why}, {dark:.0%} of the picture black"))
        elif bright > CLIPPED_SHARE or exposure > BRIGHT_EV:
            findings.append(
                _make_finding("bright", shot, f"{why}, {bright:.0%} of the picture white")
            )
    return findings


def is_smooth(shot: Shot) -> bool:
    """Check whether a picture has too little contrast to be judged by its sharpness alone."""
    return shot.contrast is not None and shot.contrast < LEAST_CONTRAST


def _find_blurred(shots: Sequence[Shot]) -> list[Finding]:
    """Find blurred pictures: softer than the drop and than their neighbours in flight, or far too soft.

    A smooth picture (see ``is_smooth``) among other smooth pictures is neither judged nor used for
    comparison. Of the others there must be ``FEWEST_FOR_MEDIAN``; otherwise nothing is found.
    """
    scored = [s for s in shots if s.sharpness is not None and not s.thermal]
    structured = [s.sharpness or 0.0 for s in scored if not is_smooth(s)]
    if len(structured) < FEWEST_FOR_MEDIAN:
        return []
    usual = statistics.median(structured)
    flown = _leave_out_smooth([scored[i] for i in order_flight(scored)])
    values = [shot.sharpness or 0.0 for shot in flown]
    findings = []
    for at, (shot, value) in enumerate(zip(flown, values, strict=True)):
        around = values[max(0, at - NEIGHBOURS) : at] + values[at + 1 : at + 1 + NEIGHBOURS]
        limit = _word_missed_limit(value, usual=usual, beside=statistics.median(around))
        if limit:
            findings.append(_make_finding("blurred", shot, f"sharpness {value:.3g}, {limit}"))
    return findings


def _leave_out_smooth(flown: Sequence[Shot]) -> list[Shot]:
    """Leave out the smooth shots of a flight that lie among other smooth shots."""
    smooth = [is_smooth(shot) for shot in flown]
    left = []
    for at, shot in enumerate(flown):
        around = smooth[max(0, at - NEIGHBOURS) : at] + smooth[at + 1 : at + 1 + NEIGHBOURS]
        if not smooth[at] or sum(around) <= SMOOTH_NEIGHBOURS_SHARE * len(around):
            left.append(shot)
    return left


def _word_missed_limit(value: float, *, usual: float, beside: float) -> str | None:
    """Word why a picture is blurred: the limit that its sharpness misses, and where this limit comes from.

    Return None if the picture is sharp enough. ``value`` is its sharpness, ``usual`` the median of the drop,
    and ``beside`` the median of its neighbours in flight.
    """
    if value <= BLURRED:
        return f"not above {BLURRED:g}: blurred, regardless of the other pictures"
    alone = BLURRED_ALONE * usual
    if value <= alone:
        return f"not above {alone:.3g}: {BLURRED_ALONE:g} of the drop's median of {usual:.3g}"
    to_drop, to_neighbours = BLURRED_TO_DROP * usual, BLURRED_TO_NEIGHBOURS * beside
    if value < to_drop and value < to_neighbours:
        return (
            f"below {to_drop:.3g}, {BLURRED_TO_DROP:g} of the drop's median of {usual:.3g}, and below "
            f"{to_neighbours:.3g}, {BLURRED_TO_NEIGHBOURS:g} of its neighbours' {beside:.3g}"
        )
    return None


def _find_duplicates(shots: Sequence[Shot]) -> list[Finding]:
    first: dict[str, Shot] = {}
    findings = []
    for shot in sorted((s for s in shots if s.image_id), key=lambda s: s.path):
        original = first.setdefault(str(shot.image_id), shot)
        if original is not shot:
            findings.append(
                _make_finding("duplicate", shot, "the same bytes under two names", original.path)
            )
    return findings


def _find_near_duplicates(shots: Sequence[Shot], near: Sequence[tuple[int, int]]) -> list[Finding]:
    findings = []
    for pair in near:
        first, second = sorted((shots[i] for i in pair), key=lambda shot: shot.path)
        if first.image_id is None or first.image_id != second.image_id:
            why = "similar to this earlier picture"
            if first.taken and second.taken:
                why += f", {_word_seconds(second.taken - first.taken)} apart"
            findings.append(_make_finding("near-duplicate", second, why, first.path))
    return findings


def _word_seconds(passed: timedelta) -> str:
    seconds = abs(passed.total_seconds())
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"


def _find_breaks(gaps: Sequence[Gap], roll_overs: Sequence[RollOver]) -> list[Finding]:
    missing = [
        Finding("gap", gap.folder or ".", None, f"{_word_numbers(gap)} missing from {gap.series}")
        for gap in gaps
    ]
    return missing + [
        Finding(
            "roll-over",
            new.folder or ".",
            new.from_folder or ".",
            f"after {new.last:04d} the counter of {new.series} continued at {new.first:04d}",
        )
        for new in roll_overs
    ]


def _word_numbers(gap: Gap) -> str:
    if gap.count == 1:
        return f"number {gap.first:04d} is"
    return f"{gap.count:,} numbers, {gap.first:04d} to {gap.last:04d}, are"
