"""The page itself: what a drone team wants to know about a card before paying for labels."""

import base64
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dino_assets.drawing.lettering import encode_picture
from dino_assets.drawing.templates import render_page
from dino_assets.images.report.advice import ADVICE
from dino_assets.images.report.findings import (
    FINDINGS_CSV,
    Finding,
    Kind,
    Shot,
    count_findings,
    order_flight,
)
from dino_assets.images.report.footprints import MARKED, RAMP, GroundPicture
from dino_assets.images.report.ground_plan import FAR_M, MAX_FOOTPRINTS, Ground, measure_area
from dino_assets.images.report.strips import Strip, lay_out_strip
from dino_assets.images.report.wording import (
    clean,
    shorten_name,
    shorten_sentence,
    word_area,
    word_bytes,
    word_range,
)

# What keeps the page of 100,000 photographs below 10 MB. Findings come first; all of each are in the
# CSV beside the page, all photographs in the drop's table.
MAX_CARDS = 12  # findings shown per kind
MAX_ROWS = 3000
SAMPLES = 24
THUMBS_MAX_BYTES = 3_000_000


@dataclass(frozen=True)
class Picture:
    """A photograph's thumbnail as a data URI; None where there is no room or no picture."""

    name: str
    uri: str | None


@dataclass(frozen=True)
class Card:
    """One finding: the photograph or the two that it is about, and a sentence."""

    pictures: list[Picture]
    detail: str


@dataclass(frozen=True)
class Group:
    """Findings of a kind, what to do about them, and the first of them as cards."""

    kind: Kind
    title: str
    advice: str
    count: int
    cards: list[Card]


@dataclass(frozen=True)
class Outline:
    """Where the pointer meets a footprint: its photograph's row, its path, and what is said of it."""

    row: int
    path: str
    description: str


@dataclass(frozen=True)
class Plan:
    """The picture of the footprints as a data URI, and what lies over and under it."""

    uri: str
    width: int
    height: int
    bar: str
    outlines: list[Outline]
    legend: list[str]
    has_marks: bool


@dataclass(frozen=True)
class Cell:
    """A cell of the table; ``value`` is what it is sorted by, where that is not its text."""

    text: str
    kind: str
    value: str | None = None


def make_drop_page(
    shots: Sequence[Shot],
    findings: Sequence[Finding],
    picture: GroundPicture,
    *,
    drop: str,
    facts: Mapping[str, str],
) -> str:
    """Write one HTML file about a drop: facts, footprints, findings with what to do, all photographs.

    It needs no server, no network and, but for sorting, no script. ``facts`` are shown after those
    that follow from the shots. However large the drop, the page stays below 10 MB.
    """
    odd: dict[str, list[str]] = {}
    for finding in findings:
        kinds = odd.setdefault(finding.path, [])
        if finding.kind not in kinds:
            kinds.append(finding.kind)
    album = _Album({shot.path: shot.thumb for shot in shots if shot.thumb})
    groups = [_group(kind, findings, album) for kind in count_findings(findings)]
    seen = [i for i in order_flight(shots) if shots[i].thumb and shots[i].is_usable]
    picked = np.linspace(0, max(len(seen) - 1, 0), min(SAMPLES, len(seen)))
    order = sorted(range(len(shots)), key=lambda i: shots[i].path)[:MAX_ROWS]
    everything = {**_list_facts(shots, findings, picture.ground), **facts}
    return render_page(
        "dino_assets.images.report",
        "page.html",
        title=clean(f"Drop {drop}"),
        drop=clean(drop),
        verdict=clean(sum_up(shots, findings)),
        facts=[(clean(name), clean(str(value))) for name, value in everything.items()],
        plan=_plan(shots, picture, odd) if picture.outlines else None,
        ramp=",".join("rgb({},{},{})".format(*colour) for colour in RAMP),
        groups=groups,
        findings_csv=FINDINGS_CSV,
        sample=[album.show(shots[seen[int(at)]].path) for at in picked],
        seen=len(seen),
        strips=_strips(shots, odd),
        columns=COLUMNS,
        rows=[(i, _cells(shots[i], odd.get(shots[i].path, []))) for i in order],
        photographs=len(shots),
    )


def sum_up(shots: Sequence[Shot], findings: Sequence[Finding]) -> str:
    """The report in a sentence or two."""
    if not shots:
        return "There is no photograph in this drop."
    usable = sum(shot.is_usable for shot in shots)
    counts = [f"{n:,} × {ADVICE[k][0].lower()}" for k, n in count_findings(findings).items()]
    odd = "; ".join(counts) if counts else "nothing odd was found"
    return f"{usable:,} of {len(shots):,} photographs can be used. {odd[0].upper()}{odd[1:]}."


# --- facts ------------------------------------------------------------------------------------------


def _list_facts(
    shots: Sequence[Shot], findings: Sequence[Finding], ground: Ground
) -> dict[str, str]:
    usable = [shot for shot in shots if shot.is_usable]
    wrong = {finding.path for finding in findings if finding.kind == "wrong-year"}
    times = [shot.taken for shot in usable if shot.taken and shot.path not in wrong]
    cameras = Counter(shot.camera or "not named" for shot in usable)
    heights = [s.relative_altitude_m for s in usable if s.relative_altitude_m is not None]
    scales = [s.gsd_m * 100 for s in usable if s.gsd_m is not None]
    places = Counter(shot.quality for shot in usable)
    named = sorted(cameras.items(), key=lambda item: (-item[1], item[0]))
    facts = {
        "photographs": f"{len(shots):,}",
        "usable": f"{len(usable):,}",
        "in quarantine": f"{len(shots) - len(usable):,}",
        "thermal": f"{sum(shot.thermal is not None for shot in usable):,}",
        "size": word_bytes(sum(shot.bytes for shot in shots)),
        "taken": "not known",
        "cameras": ", ".join(f"{name} ({n:,})" for name, n in named[:4]) or "–",
        "height above take-off": word_range(heights, "m"),
        "ground per pixel": word_range(scales, "cm"),
        "area covered": word_area(measure_area(shots, ground)),
        "places": ", ".join(f"{name} {n:,}" for name, n in sorted(places.items())) or "–",
    }
    if times:
        first, last = min(times), max(times)
        form = "%H:%M" if first.date() == last.date() else "%Y-%m-%d %H:%M"
        facts["taken"] = f"{first:%Y-%m-%d %H:%M} – {last.strftime(form)}"
    return facts


# --- findings ---------------------------------------------------------------------------------------


class _Album:
    """Pictures as data URIs until their bytes are spent; then a blank."""

    def __init__(self, thumbs: Mapping[str, bytes]) -> None:
        self._thumbs = thumbs
        self._left = THUMBS_MAX_BYTES

    def show(self, path: str) -> Picture:
        data = self._thumbs.get(path, b"")
        form = _name_format(data)
        if not form or len(data) > self._left:
            return Picture(shorten_name(path), None)
        self._left -= len(data)
        return Picture(shorten_name(path), _make_uri(data, form))


def _make_uri(data: bytes, form: str) -> str:
    return f"data:image/{form};base64,{base64.b64encode(data).decode('ascii')}"


def _name_format(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    return "jpeg" if data[:3] == b"\xff\xd8\xff" else None


def _group(kind: Kind, findings: Sequence[Finding], album: _Album) -> Group:
    of_kind = [finding for finding in findings if finding.kind == kind]
    cards = [
        Card(
            [album.show(path) for path in (finding.path, finding.other) if path],
            shorten_sentence(finding.detail),
        )
        for finding in of_kind[:MAX_CARDS]
    ]
    return Group(kind, *ADVICE[kind], len(of_kind), cards)


# --- plots and table --------------------------------------------------------------------------------


def _plan(shots: Sequence[Shot], picture: GroundPicture, odd: Mapping[str, list[str]]) -> Plan:
    marks = {path: [k for k in kinds if k in MARKED] for path, kinds in odd.items()}
    return Plan(
        uri=_make_uri(encode_picture(picture.sheet, "PNG", compress_level=6), "png"),
        width=picture.sheet.width,
        height=picture.sheet.height,
        bar=picture.bar,
        outlines=[
            Outline(row, _write_path(corners.tolist()), _describe(shots[row], marks))
            for row, corners in picture.outlines
        ],
        legend=_word_legend(shots, picture.ground),
        has_marks=any(marks.values()),
    )


def _write_path(corners: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners) + "Z"


def _describe(shot: Shot, marks: Mapping[str, Sequence[str]]) -> str:
    words = [shorten_name(shot.path)]
    if shot.taken:
        words.append(f"{shot.taken:%Y-%m-%d %H:%M:%S}")
    if shot.relative_altitude_m is not None:
        words.append(f"{shot.relative_altitude_m:.1f} m")
    if shot.gsd_m is not None:
        words.append(f"{shot.gsd_m * 100:.2f} cm/px")
    return " · ".join([*words, shot.quality, *marks.get(shot.path, ())])


def _word_legend(shots: Sequence[Shot], ground: Ground) -> list[str]:
    legend = []
    if any(shots[row].quality == "oblique" for row in ground.rows):
        legend.append("dashed: oblique")
    if len(ground.rows) > MAX_FOOTPRINTS:
        step = -(-len(ground.rows) // MAX_FOOTPRINTS)
        legend.append(f"one in {step} of {len(ground.rows):,} is drawn")
    if ground.far:
        legend.append(f"{len(ground.far):,} more lie over {FAR_M / 1000:g} km away")
    return legend


def _strips(shots: Sequence[Shot], odd: Mapping[str, list[str]]) -> list[Strip]:
    flown = [shots[i] for i in order_flight(shots) if shots[i].is_usable and not shots[i].thermal]
    sharp = [shot for shot in flown if shot.sharpness is not None]
    lit = [shot for shot in flown if shot.exposure_ev is not None]
    blurred = {at for at, shot in enumerate(sharp) if "blurred" in odd.get(shot.path, ())}
    extreme = {at for at, s in enumerate(lit) if {"dark", "bright"} & set(odd.get(s.path, ()))}
    sharpness = [shot.sharpness or 0.0 for shot in sharp]
    exposure = [shot.exposure_ev or 0.0 for shot in lit]
    strips = (
        lay_out_strip(sharpness, blurred, title="Sharpness", unit="", floor=0),
        lay_out_strip(exposure, extreme, title="Exposure", unit=" EV", floor=None),
    )
    return [strip for strip in strips if strip]


COLUMNS = (
    ("file", ""), ("taken", ""), ("camera", ""), ("pixels", "n"), ("size", "n"), ("height m", "n"),
    ("cm/px", "n"), ("place", ""), ("sharpness", "n"), ("EV", "n"), ("found", ""),
)  # fmt: skip


def _cells(shot: Shot, kinds: Sequence[str]) -> list[Cell]:
    pixels = (shot.width or 0) * (shot.height or 0)
    cells = (
        (shorten_name(shot.path), None),
        (f"{shot.taken:%Y-%m-%d %H:%M:%S}" if shot.taken else "", None),
        (clean((shot.camera or "")[:60]), None),
        (f"{shot.width}×{shot.height}" if pixels else "", str(pixels or "")),
        (word_bytes(shot.bytes), str(shot.bytes)),
        (_write_number(shot.relative_altitude_m, ".1f"), None),
        (_write_number(None if shot.gsd_m is None else shot.gsd_m * 100, ".2f"), None),
        ("" if shot.quality == "none" else shot.quality, None),
        (_write_number(shot.sharpness, ".3g"), None),
        (_write_number(shot.exposure_ev, "+.1f"), None),
        (", ".join(kinds), None),
    )
    return [
        Cell(text, kind, value) for (text, value), (_, kind) in zip(cells, COLUMNS, strict=True)
    ]


def _write_number(value: float | None, form: str) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:{form}}"
