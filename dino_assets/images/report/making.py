"""Report of a drop: findings, HTML page, table and picture of footprints."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from dino_assets.drawing.thumbnails import draw_thumbnail
from dino_assets.images.places import explain_unplaced
from dino_assets.images.report import draw_footprints, draw_ground, make_drop_page
from dino_assets.images.report.findings import (
    MARKED,
    count_findings,
    find_position,
    find_problems,
)
from dino_assets.images.report.findings_table import FINDINGS_CSV, write_findings_csv
from dino_assets.images.report.numbering import find_gaps, find_roll_overs
from dino_assets.images.report.shots import Shot, walk_usable
from dino_assets.images.rows import InspectedFile
from dino_assets.images.scores import LOOK_BYTES, find_near_duplicates
from dino_assets.numerics.earth import place_on_sphere
from dino_assets.store.commits.protocol import NamedBytes

PAGE, TABLE, PICTURE, PREVIEW = (
    "report.html", FINDINGS_CSV, "footprints.png", "preview.png",
)  # fmt: skip
# Pictures this close show the same ground. A flight with 80 % overlap moves by a fifth of the short side per
# picture, so by more. A hovering drone moves only by GPS noise.
REACH_SHARE = 0.1
REACH_M = 5.0


@dataclass(frozen=True)
class DropReport:
    """A drop's findings by kind, and the report's files."""

    counts: Mapping[str, int]
    files: Sequence[NamedBytes]


def make_shot(file: InspectedFile, *, with_thumb: bool) -> Shot:
    """Make the report's record of one file, with or without its thumbnail."""
    row, facts, capture, scores = file.row, file.row.facts, file.row.capture, file.row.scores
    return Shot(
        path=row.path,
        image_id=facts.image_id if facts else None,
        bytes=row.bytes,
        is_usable=row.is_usable,
        reason=row.reason,
        detail=row.detail or "",
        taken=capture.taken,
        satellite_date=capture.satellite_date,
        latitude=capture.latitude,
        longitude=capture.longitude,
        relative_altitude_m=capture.relative_altitude_m,
        camera=" ".join(filter(None, (capture.make, capture.model))) or None,
        width=facts.width if facts else None,
        height=facts.height if facts else None,
        thermal=row.thermal,
        sharpness=scores.sharpness,
        contrast=scores.contrast,
        exposure_ev=scores.exposure_ev,
        dark_share=scores.dark_share,
        bright_share=scores.bright_share,
        look=scores.look,
        thumb=scores.thumb if with_thumb else None,
        gsd_m=row.place.gsd_m,
        quality=row.place.place_quality or "none",
        corners=file.corners,
        place_reason=explain_unplaced(row),
        edited_by=capture.edited_by,
        turned_deg=row.turned_deg,
        turn_proof=file.turn_proof,
    )


def pair_similar_pictures(shots: Sequence[Shot]) -> list[tuple[int, int]]:
    """Pair each picture with the first similar picture of the same ground; return positions in ``shots``.

    The first picture of a pair has the earlier path. Two pictures show the same ground if their footprints
    have similar size and place. The shorter sides differ by a fifth at most, and the middles are at most a
    tenth of the shorter side apart. The rule is strict because crop rows, solar panels and glint look similar
    along a whole flight, where neighbours share 80 % of their ground. Pictures without footprints must be at
    most 5 m apart. Of pictures without positions, only the pixels are compared. Copies of the same bytes are
    left out: they are duplicates.
    """
    first: dict[str, int] = {}
    distinct = []
    for number, shot in sorted(walk_usable(shots), key=lambda each: each[1].path):
        image_id = shot.image_id or str(number)
        if shot.look is not None and first.setdefault(image_id, number) == number:
            distinct.append(number)
    hashes = np.frombuffer(b"".join(shots[n].look or b"" for n in distinct), np.uint8).reshape(
        -1, LOOK_BYTES
    )
    grounds = np.array([_measure_ground(shots[n]) for n in distinct]).reshape(-1, 4)
    pairs = find_near_duplicates(hashes, places_m=grounds[:, 1:], reach_m=grounds[:, 0])
    return [(distinct[i], distinct[j]) for i, j in pairs]


def _measure_ground(shot: Shot) -> tuple[float, float, float, float]:
    """Compute a picture's reach, and the middle of its ground as x, y, z on the globe, all in metres.

    The reach is the largest distance to a picture of the same ground. All are NaN if the position is unknown.
    """
    unknown = (math.nan,) * 4
    if shot.corners is None:
        position = find_position(shot)
        return unknown if position is None else (REACH_M, *place_on_sphere(*position))
    corners = [place_on_sphere(latitude, longitude) for longitude, latitude in shot.corners]
    sides = [math.dist(one, other) for one, other in pairwise([*corners, corners[0]])]
    x, y, z = (sum(axis) / len(corners) for axis in zip(*corners, strict=True))
    return REACH_SHARE * min(sides), x, y, z


def make_report(
    drop: str, shots: Sequence[Shot], *, others: Sequence[str], facts: Mapping[str, Any]
) -> DropReport:
    """Make a drop's report: find problems, and show them as a page, a table and a picture.

    ``others`` are the paths of files that are not read as photographs. ``facts`` has their number, their
    numbers by suffix, and the number of raw files. Today's date is not used, so the same files give the same
    bytes on any day. Dates in the future are found by ``judge_findings``.
    """
    photos = [shot.path for shot in shots]
    findings = find_problems(
        shots,
        gaps=find_gaps(photos, others),
        roll_overs=find_roll_overs(photos),
        near=pair_similar_pictures(shots),
    )
    del photos
    marked = {finding.path for finding in findings if finding.kind in MARKED}
    ground = draw_ground(shots, marked)
    page = make_drop_page(shots, findings, ground, drop=drop, facts=_word_facts(facts))
    placed = sum(shot.corners is not None for _, shot in walk_usable(shots))
    caption = f"{placed} of {len(shots)} pictures have a place on the ground, assumed flat"
    if marked:
        caption += "; red: blurred, too dark or bright, wrong date"
    picture = draw_footprints(ground, title=drop, caption=caption)
    return DropReport(
        {str(kind): count for kind, count in count_findings(findings).items()},
        (
            NamedBytes(PAGE, page.encode()),
            NamedBytes(TABLE, write_findings_csv(findings)),
            NamedBytes(PICTURE, picture),
            NamedBytes(PREVIEW, draw_thumbnail(picture)),
        ),
    )


def _word_facts(facts: Mapping[str, Any]) -> dict[str, str]:
    """Word the numbers of raw files and of other files for the page; leave out zeros."""
    suffixes = ", ".join(f"{count} {name}" for name, count in facts["other_suffixes"].items())
    counts = {"raw files beside them": facts["raw_twins"], "other files": facts["other_files"]}
    words = {name: f"{count:,}" for name, count in counts.items() if count}
    if suffixes:
        words["other files"] += f" ({suffixes})"
    return words
