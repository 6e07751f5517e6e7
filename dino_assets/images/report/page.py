"""HTML page of a drop's report, for a drone team to read before labels are paid for."""

import base64
import heapq
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dino_assets.drawing.lettering import encode_picture
from dino_assets.drawing.templates import render_page
from dino_assets.images.report.advice import ADVICE
from dino_assets.images.report.findings import (
    MARKED,
    Finding,
    Kind,
    count_findings,
    is_smooth,
    list_kinds,
    order_flight,
)
from dino_assets.images.report.findings_table import FINDINGS_CSV, count_apostrophes
from dino_assets.images.report.footprints import RAMP, GroundPicture
from dino_assets.images.report.ground_plan import Ground, measure_area
from dino_assets.images.report.shots import Shot, walk_usable
from dino_assets.images.report.strips import Strip, lay_out_strip
from dino_assets.images.report.wording import (
    clean,
    shorten_name,
    shorten_sentence,
    word_area,
    word_bytes,
    word_range,
)

# Limits that keep the page of 100,000 photographs below 10 MB. All findings are in the CSV beside the page,
# and all photographs in the drop's table.
MAX_CARDS = 12  # findings shown per kind
MAX_ROWS = 3000
SAMPLES = 24
THUMBS_MAX_BYTES = 3_000_000


@dataclass(frozen=True)
class PagePicture:
    """A photograph's name, and its thumbnail as a data URI.

    ``uri`` is None if there is no thumbnail, or if the page's thumbnails have reached their total size.
    """

    name: str
    uri: str | None


def make_drop_page(
    shots: Sequence[Shot],
    findings: Sequence[Finding],
    ground: GroundPicture,
    *,
    drop: str,
    facts: Mapping[str, str],
) -> str:
    """Make the HTML page about a drop: facts, footprints, findings with advice, a table of photographs.

    The page needs no server and no network. Its scripts only sort the table, and find a footprint's row in
    it. ``facts`` are shown after the facts that are computed from the shots. The page stays below 10 MB for a
    drop of any size: it has at most ``MAX_CARDS`` findings of each kind and ``MAX_ROWS`` photographs.
    """
    counts = count_findings(findings)
    album = _Album({shot.path: shot.thumb for _, shot in walk_usable(shots) if shot.thumb})
    starts = [sum(list(counts.values())[:place]) for place in range(len(counts))]
    groups = [
        (kind, count, _make_cards(findings[start : start + min(count, MAX_CARDS)], album))
        for start, (kind, count) in zip(starts, counts.items(), strict=True)
    ]
    pictured = [i for i in order_flight(shots) if shots[i].thumb]
    picked = np.linspace(0, max(len(pictured) - 1, 0), min(SAMPLES, len(pictured)))
    first = heapq.nsmallest(MAX_ROWS, enumerate(shots), key=lambda each: each[1].path)
    # Kinds are listed only for files that are shown or marked, not for a million.
    named = {shot.path for _, shot in first}
    named |= {shots[row].path for row, _ in ground.outlines}
    named |= {finding.path for finding in findings if finding.kind in MARKED}
    odd = list_kinds(findings, paths=named)
    everything = {**_list_facts(shots, findings, ground.ground), **facts}
    return render_page(
        "dino_assets.images.report",
        "page.html",
        title=clean(f"Drop {drop}"),
        drop=clean(drop),
        verdict=clean(sum_up(shots, findings)),
        facts=[(clean(name), clean(str(value))) for name, value in everything.items()],
        ground=ground,
        ground_uri=_make_uri(encode_picture(ground.sheet, "PNG", compress_level=6), "png"),
        outlines=[
            (row, shots[row], odd.get(shots[row].path, ()), corners.tolist())
            for row, corners in ground.outlines
        ],
        marked=MARKED,
        has_marks=any(set(MARKED) & set(kinds) for kinds in odd.values()),
        ramp=",".join("rgb({},{},{})".format(*colour) for colour in RAMP),
        groups=groups,
        advice=ADVICE,
        findings_csv=FINDINGS_CSV,
        apostrophes=count_apostrophes(findings),
        sample=[album.show(shots[pictured[int(at)]].path) for at in picked],
        pictured=len(pictured),
        strips=_strips(shots, odd),
        rows=[(row, shot, odd.get(shot.path, ())) for row, shot in first],
        photographs=len(shots),
        clean=clean,
        shorten_name=shorten_name,
        word_bytes=word_bytes,
        write_number=_write_number,
    )


def sum_up(shots: Sequence[Shot], findings: Sequence[Finding]) -> str:
    """Summarise the report in a sentence or two."""
    if not shots:
        return "This drop has no photograph."
    usable = sum(1 for _ in walk_usable(shots))
    counts = [f"{n:,} × {ADVICE[k][0].lower()}" for k, n in count_findings(findings).items()]
    odd = "; ".join(counts) if counts else "there are no findings"
    return f"{usable:,} of {len(shots):,} photographs can be used. {odd[0].upper()}{odd[1:]}."


def _list_facts(
    shots: Sequence[Shot], findings: Sequence[Finding], ground: Ground
) -> dict[str, str]:
    usable = [shot for _, shot in walk_usable(shots)]
    wrong = {finding.path for finding in findings if finding.kind == "wrong-year"}
    times = [shot.taken for shot in usable if shot.taken and shot.path not in wrong]
    cameras = Counter(shot.camera or "unknown" for shot in usable)
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
        "taken": "unknown",
        "cameras": ", ".join(f"{name} ({n:,})" for name, n in named[:4]) or "–",
        "height above take-off": word_range(heights, "m"),
        "ground per pixel": word_range(scales, "cm"),
        "area covered": word_area(measure_area(shots, ground)),
        "places": ", ".join(f"{name} {n:,}" for name, n in sorted(places.items())) or "–",
    }
    smooth = sum(is_smooth(shot) for shot in usable)
    if smooth:
        facts["with very little contrast"] = f"{smooth:,}"
    if times:
        first, last = min(times), max(times)
        form = "%H:%M" if first.date() == last.date() else "%Y-%m-%d %H:%M"
        facts["taken"] = f"{first:%Y-%m-%d %H:%M} – {last.strftime(form)}"
    return facts


class _Album:
    """Thumbnails as data URIs, up to a total size; after that, pictures are shown without a thumbnail."""

    def __init__(self, thumbs: Mapping[str, bytes]) -> None:
        self._thumbs = thumbs
        self._left = THUMBS_MAX_BYTES

    def show(self, path: str) -> PagePicture:
        data = self._thumbs.get(path, b"")
        if not 0 < len(data) <= self._left:
            return PagePicture(shorten_name(path), None)
        self._left -= len(data)
        return PagePicture(shorten_name(path), _make_uri(data, "webp"))


def _make_uri(data: bytes, form: str) -> str:
    return f"data:image/{form};base64,{base64.b64encode(data).decode('ascii')}"


def _make_cards(findings: Sequence[Finding], album: _Album) -> list[tuple[list[PagePicture], str]]:
    """Make one card per finding: its one or two photographs, and its sentence."""
    return [
        (
            [album.show(path) for path in (finding.path, finding.other) if path],
            shorten_sentence(finding.detail),
        )
        for finding in findings
    ]


def _strips(shots: Sequence[Shot], odd: Mapping[str, Sequence[Kind]]) -> list[Strip]:
    flown = [shots[i] for i in order_flight(shots) if not shots[i].thermal]
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


def _write_number(value: float | None, form: str, factor: float = 1) -> str:
    return "" if value is None or not math.isfinite(value) else f"{factor * value:{form}}"
