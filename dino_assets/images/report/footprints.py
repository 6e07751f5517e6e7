"""Footprints on the ground as a picture, to scale and north up."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from dino_assets.drawing.lettering import (
    GREY,
    INK,
    LINE,
    WHITE,
    Colour,
    encode_picture,
    load_font,
    shorten,
    wrap,
)
from dino_assets.images.report.findings import Finding, Kind, Shot, order_flight
from dino_assets.images.report.ground_plan import FAR_M, MAX_FOOTPRINTS, Ground, lay_out

MARKED: tuple[Kind, ...] = ("blurred", "dark", "bright", "wrong-year")
BREAK_S = 300.0  # a longer pause is another battery: no line joins the two
FILL = 0.3  # of the darkest pile, so that neither 6 nor 3,000 footprints are one gray
# From dark blue to orange: read in gray print and by most colour-blind readers, nothing pale.
RAMP = ((43, 48, 122), (38, 103, 170), (29, 150, 140), (120, 172, 50), (225, 130, 20))
UNTIMED, RED = (120, 126, 135), (200, 32, 47)
_WIDTH_PX, _PAD_PX, _TEXT_PX = 1200, 40, 22
_TWICE = 2  # Pillow's lines have no soft edges: drawn at twice the size, then halved
_DASH_PX = 16


@dataclass(frozen=True)
class GroundPicture:
    """Footprints as they are drawn; without any, the photographs themselves.

    ``outlines`` are rows of shots and corners (4, 2) in pixels of the sheet; ``bar`` is the length
    of the scale bar in words.
    """

    ground: Ground
    sheet: Image.Image
    outlines: list[tuple[int, np.ndarray]]
    bar: str


def draw_ground(shots: Sequence[Shot], findings: Sequence[Finding]) -> GroundPicture:
    """Draw footprints, the way between them, and a red dot where something is wrong with a picture."""
    ground = lay_out(shots)
    if not ground.rows:
        return GroundPicture(ground, _draw_thumbs(shots, _WIDTH_PX), [], "")
    plot = _fit(shots, ground)
    odd = {finding.path for finding in findings if finding.kind in MARKED}
    marked = [c for r, c in zip(plot.rows, plot.corners, strict=True) if shots[r].path in odd]
    sheet = _draw_plot(shots, plot, [corners.mean(axis=0).tolist() for corners in marked])
    outlines = list(zip(plot.rows, plot.corners / _TWICE, strict=True))
    return GroundPicture(ground, sheet, outlines, _word_metres(plot.bar_m))


def draw_footprints(picture: GroundPicture, *, title: str, caption: str) -> bytes:
    """Write a title and a caption above the picture; return a PNG."""
    pad, text_px = _PAD_PX, _TEXT_PX
    sheet, far = picture.sheet, picture.ground.far
    font, large = load_font(text_px), load_font(round(text_px * 1.5))
    lines = wrap(caption, font, sheet.width - 2 * pad, max_lines=3)
    if far:
        lines.append(f"{len(far):,} more lie over {FAR_M / 1000:g} km away")
    top = pad + round(text_px * 2.1) + len(lines) * round(text_px * 1.4)
    canvas = Image.new("RGB", (sheet.width, top + sheet.height), WHITE)
    canvas.paste(sheet, (0, top))
    draw = ImageDraw.Draw(canvas)
    draw.text((pad, pad // 2), shorten(title, large, sheet.width - 2 * pad), INK, large)
    for at, line in enumerate(lines):
        y = pad // 2 + round(text_px * 2.1) + at * round(text_px * 1.4)
        draw.text((pad, y), line, GREY, font)
    return encode_picture(canvas, "PNG", compress_level=6)


class _Plot(NamedTuple):
    """Footprints (N, 4, 2) and lines in pixels, colours, and how long the scale bar is."""

    rows: list[int]
    corners: np.ndarray
    lines: list[np.ndarray]
    colours: list[Colour]
    bar_m: float
    bar_px: float
    height_px: int


def _fit(shots: Sequence[Shot], ground: Ground) -> _Plot:
    """Fit the whole ground into the picture, a third to three quarters as high as wide."""
    width_px, pad_px = _WIDTH_PX * _TWICE, 110
    low, high = ground.corners.min(axis=(0, 1)), ground.corners.max(axis=(0, 1))
    span = np.maximum(high - low, 1.0)
    room = width_px - 2 * pad_px
    shape = min(max(float(span[1] / span[0]), 0.35), 0.75)
    height_px = round(room * shape) + 2 * pad_px
    scale = float(min(room / span[0], (height_px - 2 * pad_px) / span[1]))
    pixels = (ground.corners - (low + high) / 2) * [scale, -scale] + [width_px / 2, height_px / 2]
    # Every k-th: the line keeps them all, and neighbours show the same ground anyway.
    step = -(-len(ground.rows) // MAX_FOOTPRINTS)
    bar_m = _round_down(0.22 * room / scale)
    return _Plot(
        ground.rows[::step],
        pixels[::step],
        _join(shots, ground.rows, pixels.mean(axis=1)),
        _colour_by_time([shots[row] for row in ground.rows[::step]]),
        bar_m,
        bar_m * scale,
        height_px,
    )


def _round_down(metres: float) -> float:
    power = 10.0 ** math.floor(math.log10(max(metres, 1e-3)))
    return next(digit * power for digit in (5, 2, 1) if digit * power <= metres * 1.0001)


def _join(shots: Sequence[Shot], rows: list[int], centers: np.ndarray) -> list[np.ndarray]:
    """Lines through the centres, one per stretch without a pause; without times there is none."""
    lines, start = [], 0
    for at in range(1, len(rows) + 1):
        before = shots[rows[at - 1]].taken
        after = shots[rows[at]].taken if at < len(rows) else None
        if before is None or after is None or (after - before).total_seconds() > BREAK_S:
            lines.append(centers[start:at])
            start = at
    return [line for line in lines if len(line) > 1]


def _colour_by_time(shots: Sequence[Shot]) -> list[Colour]:
    """By rank, not by the clock: two flights a year apart would be two colours."""
    times = sorted({shot.taken for shot in shots if shot.taken})
    rank = {time: at / max(len(times) - 1, 1) for at, time in enumerate(times)}
    return [pick_ramp(rank[shot.taken]) if shot.taken else UNTIMED for shot in shots]


def pick_ramp(share: float) -> Colour:
    """The colour of a moment, from 0 (first) to 1 (last)."""
    at = min(max(share, 0.0), 1.0) * (len(RAMP) - 1)
    low = min(int(at), len(RAMP) - 2)
    mixed = [round(a + (b - a) * (at - low)) for a, b in zip(RAMP[low], RAMP[low + 1], strict=True)]
    return mixed[0], mixed[1], mixed[2]


def _word_metres(metres: float) -> str:
    return f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"


def _draw_plot(
    shots: Sequence[Shot], plot: _Plot, marked: Sequence[tuple[float, float]]
) -> Image.Image:
    width_px = _WIDTH_PX * _TWICE
    picture = Image.new("RGB", (width_px, plot.height_px), WHITE)
    draw = ImageDraw.Draw(picture, "RGBA")
    opacity = round(255 * max(FILL / math.sqrt(len(plot.rows)), 0.01))
    for row, corners, colour in zip(plot.rows, plot.corners, plot.colours, strict=True):
        points = [(x, y) for x, y in corners.tolist()]
        if shots[row].quality == "oblique":
            draw.polygon(points, fill=(*colour, 4))
            for dash in _cut_dashes(corners):
                draw.line(dash, (*colour, 115), 3)
        else:
            draw.polygon(points, fill=(*colour, opacity))
            draw.line([*points, points[0]], colour, 4)
    for line in plot.lines:
        draw.line([(x, y) for x, y in line.tolist()], (*INK, 130), 2)
    if plot.lines:
        draw.circle(plot.lines[0][0].tolist(), 12, INK)
    for middle in marked:
        draw.circle(middle, 18, RED, WHITE, 4)
    font, low = load_font(38), plot.height_px - 36
    draw.line((60, low, 60 + plot.bar_px, low), INK, 5)
    draw.text((60, low - 10), _word_metres(plot.bar_m), INK, font, anchor="lb")
    north = width_px - 70
    draw.line((north, 100, north, 24), INK, 5)
    draw.polygon([(north - 12, 44), (north + 12, 44), (north, 16)], fill=INK)
    draw.text((width_px - 90, 60), "N", INK, font, anchor="rm")
    return picture.resize((_WIDTH_PX, plot.height_px // _TWICE), Image.Resampling.BOX)


def _cut_dashes(corners: np.ndarray) -> Iterator[list[tuple[float, float]]]:
    """Cut each side into dashes, as long as the spaces between them."""
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        count = max(round(float(np.hypot(*(end - start))) / (2 * _DASH_PX)), 1)
        for share in (np.arange(count) / count).tolist():
            dash = start + (end - start) * [[share], [share + 0.5 / count]]
            yield [(x, y) for x, y in dash.tolist()]


def _draw_thumbs(shots: Sequence[Shot], width: int) -> Image.Image:
    across, side = 8, 140
    pictures = []
    thumbs = [shots[i].thumb for i in order_flight(shots) if shots[i].thumb]
    for at in np.linspace(0, len(thumbs) - 1, min(len(thumbs), 3 * across)).tolist():
        try:
            with Image.open(io.BytesIO(thumbs[round(at)] or b"")) as opened:
                pictures.append(opened.convert("RGB").resize((side, side * 3 // 4)))
        except OSError:
            continue
    if not pictures:
        sheet = Image.new("RGB", (width, 240), WHITE)
        ImageDraw.Draw(sheet).text(
            (width / 2, 110), "No photograph has a place", GREY, load_font(26), anchor="mm"
        )
        return sheet
    high = side * 3 // 4 + 6
    sheet = Image.new("RGB", (width, -(-len(pictures) // across) * high + 24), WHITE)
    for at, picture in enumerate(pictures):
        sheet.paste(picture, (20 + at % across * (side + 6), 10 + at // across * high))
    ImageDraw.Draw(sheet).line((20, 2, width - 20, 2), LINE)
    return sheet
