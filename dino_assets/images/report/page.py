"""The page itself: what a drone team wants to know about a card before paying for labels."""

import base64
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files

import numpy as np

from dino_assets.images.report.advice import ADVICE
from dino_assets.images.report.findings import (
    FINDINGS_CSV,
    KINDS,
    Finding,
    Kind,
    Shot,
    count_findings,
    order_flight,
)
from dino_assets.images.report.footprints import (
    FAR_M,
    MAX_FOOTPRINTS,
    RAMP,
    Ground,
    lay_out,
    measure_area,
    write_svg,
)
from dino_assets.images.report.strips import write_strip
from dino_assets.images.report.wording import (
    escape,
    word_area,
    word_bytes,
    word_range,
    write_name,
    write_sentence,
)

# What keeps the page of 100,000 photographs below 10 MB. Findings come first; all of each are in the
# CSV beside the page, all photographs in the drop's table.
MAX_CARDS = 12  # findings shown per kind
MAX_ROWS = 3000
SAMPLES = 24
THUMBS_MAX_BYTES = 3_000_000
ON_PLOT: tuple[Kind, ...] = ("blurred", "dark", "bright", "wrong-year")


def make_drop_page(
    shots: Sequence[Shot], findings: Sequence[Finding], *, drop: str, facts: Mapping[str, str]
) -> str:
    """One HTML file about a drop: facts, footprints, findings with what to do, all photographs.

    It needs no server, no network and, but for sorting, no script. ``facts`` are shown after those
    that follow from the shots. However large the drop, the page stays below 10 MB.
    """
    odd: dict[str, list[str]] = {}
    for finding in findings:
        kinds = odd.setdefault(finding.path, [])
        if finding.kind not in kinds:
            kinds.append(finding.kind)
    ground = lay_out(shots)
    album = _Album({shot.path: shot.thumb for shot in shots if shot.thumb})
    values = {
        "title": escape(f"Drop {drop}"),
        "verdict": escape(sum_up(shots, findings)),
        "facts": _write_facts({**_list_facts(shots, findings, ground), **facts}),
        "ground": _write_ground(shots, ground, odd),
        "index": _write_index(findings),
        "findings": "\n".join(_write_group(kind, findings, album) for kind in KINDS),
        "sample": _write_sample(shots, album),
        "strips": _write_strips(shots, odd),
        "table": _write_table(shots, odd, drop),
    }
    template = files("dino_assets.images.report").joinpath("page.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def sum_up(shots: Sequence[Shot], findings: Sequence[Finding]) -> str:
    """The report in a sentence or two."""
    if not shots:
        return "There is no photograph in this drop."
    usable = sum(shot.is_usable for shot in shots)
    told = [f"{n:,} × {ADVICE[k][0].lower()}" for k, n in count_findings(findings).items()]
    found = "; ".join(told) if told else "nothing odd was found"
    return f"{usable:,} of {len(shots):,} photographs can be used. {found[0].upper()}{found[1:]}."


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


def _write_facts(facts: Mapping[str, str]) -> str:
    return "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in facts.items()
    )


# --- findings ---------------------------------------------------------------------------------------


class _Album:
    """Pictures as data URIs until their bytes are spent; then a blank."""

    def __init__(self, thumbs: Mapping[str, bytes]) -> None:
        self._thumbs = thumbs
        self._left = THUMBS_MAX_BYTES

    def show(self, path: str) -> str:
        data = self._thumbs.get(path, b"")
        form = _name_format(data)
        if not form or len(data) > self._left:
            return '<span class="blank"></span>'
        self._left -= len(data)
        uri = f"data:image/{form};base64,{base64.b64encode(data).decode('ascii')}"
        return f'<img alt="" title="{write_name(path)}" src="{uri}">'


def _name_format(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    return "jpeg" if data[:3] == b"\xff\xd8\xff" else None


def _write_index(findings: Sequence[Finding]) -> str:
    rows = [
        f'<li><a href="#{kind}"><span>{ADVICE[kind][0]}</span><b>{count:,}</b></a></li>'
        for kind, count in count_findings(findings).items()
    ]
    return f'<ul class="index">{"".join(rows)}</ul>' if rows else "<p>Nothing odd was found.</p>"


def _write_group(kind: Kind, findings: Sequence[Finding], album: _Album) -> str:
    mine = [finding for finding in findings if finding.kind == kind]
    if not mine:
        return ""
    title, advice = ADVICE[kind]
    cards = "".join(_write_card(finding, album) for finding in mine[:MAX_CARDS])
    more = ""
    if len(mine) > MAX_CARDS:
        more = (
            f'<p class="soft">and {len(mine) - MAX_CARDS:,} more, all of them in {FINDINGS_CSV}</p>'
        )
    return (
        f'<section class="group" id="{kind}"><h3>{title} <span class="count">{len(mine):,}</span></h3>'
        f'<p class="soft">{advice}</p><div class="cards">{cards}</div>{more}</section>'
    )


def _write_card(finding: Finding, album: _Album) -> str:
    pictures = album.show(finding.path)
    names = f"<b>{write_name(finding.path)}</b>"
    if finding.other:
        pictures += album.show(finding.other)
        names += f" and <b>{write_name(finding.other)}</b>"
    detail = write_sentence(finding.detail)
    return f'<div class="card">{pictures}<div>{names}<br>{detail}</div></div>'


def _write_sample(shots: Sequence[Shot], album: _Album) -> str:
    seen = [i for i in order_flight(shots) if shots[i].thumb and shots[i].is_usable]
    if not seen:
        return ""
    picked = [seen[int(at)] for at in np.linspace(0, len(seen) - 1, min(SAMPLES, len(seen)))]
    pictures = "".join(album.show(shots[i].path) for i in picked)
    told = "every photograph" if len(picked) == len(seen) else f"{len(picked)} of {len(seen):,}"
    return (
        f'<section><h2>The flight <span class="count">{told}, in order</span></h2>'
        f'<div class="sheet">{pictures}</div></section>'
    )


# --- plots and table --------------------------------------------------------------------------------


def _write_ground(shots: Sequence[Shot], ground: Ground, odd: Mapping[str, list[str]]) -> str:
    if not ground.rows:
        return "<p>No photograph has a place on the ground.</p>"
    on_plot = {p: [k for k in kinds if k in ON_PLOT] for p, kinds in odd.items()}
    colours = ",".join("rgb({},{},{})".format(*colour) for colour in RAMP)
    legend = [
        f'<span>first<i class="ramp" style="background:linear-gradient(90deg,{colours})"></i>last</span>'
    ]
    if any(on_plot.values()):
        legend.append('<span><i class="dot"></i>blurred, too dark or bright, wrong date</span>')
    if any(shots[row].quality == "oblique" for row in ground.rows):
        legend.append("<span>dashed: oblique</span>")
    if len(ground.rows) > MAX_FOOTPRINTS:
        step = -(-len(ground.rows) // MAX_FOOTPRINTS)
        legend.append(f"<span>one in {step} of {len(ground.rows):,} is drawn</span>")
    if ground.far:
        legend.append(f"<span>{len(ground.far):,} more lie over {FAR_M / 1000:g} km away</span>")
    return (
        f'<figure>{write_svg(shots, ground, odd=on_plot)}<figcaption><div class="legend">'
        f'{"".join(legend)}</div><div id="said">Point at a footprint to see which photograph it is.'
        "</div></figcaption></figure>"
    )


def _write_strips(shots: Sequence[Shot], odd: Mapping[str, list[str]]) -> str:
    flown = [shots[i] for i in order_flight(shots) if shots[i].is_usable and not shots[i].thermal]
    sharp = [shot for shot in flown if shot.sharpness is not None]
    lit = [shot for shot in flown if shot.exposure_ev is not None]
    blurred = {at for at, shot in enumerate(sharp) if "blurred" in odd.get(shot.path, ())}
    extreme = {at for at, s in enumerate(lit) if {"dark", "bright"} & set(odd.get(s.path, ()))}
    strips = write_strip(
        [shot.sharpness or 0.0 for shot in sharp], blurred, title="Sharpness", unit="", floor=0
    ) + write_strip(
        [shot.exposure_ev or 0.0 for shot in lit], extreme, title="Exposure", unit=" EV", floor=None
    )
    return (
        f'<section><h2>Over the flight</h2><div class="strips">{strips}</div></section>'
        if strips
        else ""
    )


COLUMNS = (
    ("file", ""),
    ("taken", ""),
    ("camera", ""),
    ("pixels", "n"),
    ("size", "n"),
    ("height m", "n"),
    ("cm/px", "n"),
    ("place", ""),
    ("sharpness", "n"),
    ("EV", "n"),
    ("found", ""),
)


def _write_table(shots: Sequence[Shot], odd: Mapping[str, list[str]], drop: str) -> str:
    if not shots:
        return "<p>None.</p>"
    order = sorted(range(len(shots)), key=lambda i: shots[i].path)
    heads = "".join(
        f'<th tabindex="0" scope="col"{_of_class(kind)}>{name}</th>' for name, kind in COLUMNS
    )
    rows = "\n".join(_write_row(i, shots[i], odd.get(shots[i].path, [])) for i in order[:MAX_ROWS])
    cut = ""
    if len(shots) > MAX_ROWS:
        cut = (
            f'<p class="soft">The first {MAX_ROWS:,} of {len(shots):,}. All of them: '
            f"<code>dino-assets parts images {escape(drop)}</code></p>"
        )
    return (
        f'<p class="soft">Click a column to sort by it.</p>{cut}<div class="scroll"><table><thead><tr>'
        f"{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _write_row(at: int, shot: Shot, kinds: Sequence[str]) -> str:
    pixels = (shot.width or 0) * (shot.height or 0)
    cells = (
        (write_name(shot.path), None),
        (f"{shot.taken:%Y-%m-%d %H:%M:%S}" if shot.taken else "", None),
        (escape((shot.camera or "")[:60]), None),
        (f"{shot.width}×{shot.height}" if pixels else "", str(pixels or "")),
        (word_bytes(shot.bytes), str(shot.bytes)),
        (_write_number(shot.relative_altitude_m, ".1f"), None),
        (_write_number(None if shot.gsd_m is None else shot.gsd_m * 100, ".2f"), None),
        ("" if shot.quality == "none" else shot.quality, None),
        (_write_number(shot.sharpness, ".3g"), None),
        (_write_number(shot.exposure_ev, "+.1f"), None),
        (", ".join(kinds), None),
    )
    written = "".join(
        f"<td{_of_class(kind)}{_of_value(value)}>{text}</td>"
        for (text, value), (_, kind) in zip(cells, COLUMNS, strict=True)
    )
    return f'<tr id="shot-{at}">{written}</tr>'


def _of_class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _of_value(value: str | None) -> str:
    return "" if value is None else f' data-v="{value}"'


def _write_number(value: float | None, form: str) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:{form}}"
