"""Footprints on the ground, to scale and north up: laid out once, drawn as SVG and as PNG."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
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
from dino_assets.images.ground.wgs84 import SPHERE_M_PER_DEGREE
from dino_assets.images.report.findings import Shot, order_flight
from dino_assets.images.report.wording import shorten_name

MAX_FOOTPRINTS = 3000
BREAK_S = 300.0  # a longer pause is another battery: no line joins the two
FAR_M = 20_000.0  # another place: drawn together, neither would be seen
AREA_SIDE_PX = 600
FOOTPRINT_PX = 150  # of a usual footprint, where areas are measured; of thousands a third does
MAX_SHEETS = 2000
FILL = 0.3  # of the darkest pile, so that neither 6 nor 3,000 footprints are one gray
# From dark blue to orange: read in gray print and by most colour-blind readers, nothing pale.
RAMP = ((43, 48, 122), (38, 103, 170), (29, 150, 140), (120, 172, 50), (225, 130, 20))
UNTIMED = (120, 126, 135)
_SVG_PX, _PAD_PX = 1000, 44


@dataclass(frozen=True)
class Ground:
    """Footprints (N, 4, 2) in metres east and north, in the order of flight; ``far`` are left out."""

    rows: list[int]
    corners: np.ndarray
    far: list[int]


def lay_out(shots: Sequence[Shot]) -> Ground:
    """Footprints on a plane around the middle of most of them, on either side of the antimeridian."""
    placed = [
        i
        for i in order_flight(shots)
        if (c := shots[i].corners) is not None and len(c) == 4 and np.isfinite(c).all()
    ]
    if not placed:
        return Ground([], np.zeros((0, 4, 2)), [])
    degrees = np.array([shots[i].corners for i in placed], np.float64)
    turns = np.radians(degrees[:, 0, 0])
    around = math.degrees(math.atan2(np.sin(turns).sum(), np.cos(turns).sum()))
    degrees[..., 0] = (degrees[..., 0] - around + 180) % 360 - 180
    middle = np.median(degrees.mean(axis=1), axis=0)
    metres = (degrees - middle) * SPHERE_M_PER_DEGREE
    metres[..., 0] *= math.cos(math.radians(middle[1]))
    near = np.hypot(*metres.mean(axis=1).T) <= FAR_M
    if not near.any():  # two places as large as each other, the median between them
        near = np.hypot(*(metres - metres[0]).mean(axis=1).T) <= FAR_M
    rows = [row for row, is_near in zip(placed, near, strict=True) if is_near]
    far = [row for row, is_near in zip(placed, near, strict=True) if not is_near]
    return Ground(rows, metres[near], far)


def measure_area(shots: Sequence[Shot], ground: Ground) -> float:
    """Square metres under footprints that look down, each counted once; within some percent."""
    down = [i for i, row in enumerate(ground.rows) if shots[row].quality != "oblique"]
    if not down:
        return 0.0
    corners = ground.corners[down]
    low, high = corners.min(axis=1), corners.max(axis=1)
    # As fine as the footprints are small, sheet by sheet: flights of one drop may lie far apart.
    across_px = FOOTPRINT_PX if len(down) <= MAX_FOOTPRINTS else FOOTPRINT_PX / 3
    pixel_m = max(float(np.median((high - low).max(axis=1))) / across_px, 1e-3)
    sheet_m = pixel_m * AREA_SIDE_PX
    first, last = (np.floor(edge / sheet_m).astype(int) for edge in (low, high))
    # Four sheets at most touch a footprint that is smaller than they are.
    while np.prod(last - first + 1, axis=1).sum() > 4 * len(corners) + MAX_SHEETS:
        pixel_m, sheet_m = 2 * pixel_m, 2 * sheet_m
        first, last = (np.floor(edge / sheet_m).astype(int) for edge in (low, high))
    sheets: dict[tuple[int, int], list[int]] = {}
    for number, ((x0, y0), (x1, y1)) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        for place in product(range(x0, x1 + 1), range(y0, y1 + 1)):
            sheets.setdefault(place, []).append(number)
    covered = 0
    for place, numbers in sheets.items():
        mask = Image.new("1", (AREA_SIDE_PX, AREA_SIDE_PX))
        draw = ImageDraw.Draw(mask)
        # A pixel is drawn where its middle is inside, more or less: half a pixel off is as often over
        # as under.
        for shape in (corners[numbers] - np.array(place) * sheet_m) / pixel_m - 0.5:
            draw.polygon([tuple(point) for point in shape.tolist()], fill=1)
        covered += int(np.asarray(mask).sum())
    return covered * pixel_m**2


class _Plot(NamedTuple):
    """What both pictures draw: pixels of footprints (N, 4, 2) and centres, colours, where lines end."""

    rows: list[int]
    corners: np.ndarray
    lines: list[np.ndarray]
    colours: list[Colour]
    bar_m: float
    bar_px: float
    height_px: int


def _fit(shots: Sequence[Shot], ground: Ground, width_px: int, pad_px: int) -> _Plot:
    """The whole ground in a picture of that width, a third to three quarters as high."""
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


@dataclass(frozen=True)
class Shape:
    """One footprint of the page's plot: its photograph's row, outline, colour and description."""

    row: int
    path: str
    colour: str
    is_oblique: bool
    description: str


@dataclass(frozen=True)
class Plan:
    """The page's plot, as the template draws it: paths and points in a box 1000 wide."""

    width: int
    height: int
    opacity: float
    shapes: list[Shape]
    lines: list[str]
    start: tuple[float, float] | None
    dots: list[tuple[float, float]]
    bar_px: float
    bar: str


def lay_out_plan(
    shots: Sequence[Shot], ground: Ground, *, odd: Mapping[str, Sequence[str]]
) -> Plan:
    """Lay out footprints for the page; those with something odd about them have a red dot."""
    plot = _fit(shots, ground, _SVG_PX, _PAD_PX)
    shapes, dots = [], []
    for row, corners, colour in zip(plot.rows, plot.corners, plot.colours, strict=True):
        shot = shots[row]
        ink = "#{:02x}{:02x}{:02x}".format(*colour)
        path = f"M{_join_points(corners)}Z"
        shapes.append(Shape(row, path, ink, shot.quality == "oblique", _describe(shot, odd)))
        if odd.get(shot.path):
            x, y = corners.mean(axis=0).tolist()
            dots.append((x, y))
    start = plot.lines[0][0].tolist() if plot.lines else None
    return Plan(
        width=_SVG_PX,
        height=plot.height_px,
        opacity=max(FILL / math.sqrt(len(plot.rows)), 0.015),
        shapes=shapes,
        lines=[f"M{_join_points(line)}" for line in plot.lines],
        start=(start[0], start[1]) if start else None,
        dots=dots,
        bar_px=plot.bar_px,
        bar=_word_metres(plot.bar_m),
    )


def _join_points(points: np.ndarray) -> str:
    return "L".join(f"{x:.1f} {y:.1f}" for x, y in points.tolist())


def _describe(shot: Shot, odd: Mapping[str, Sequence[str]]) -> str:
    words = [shorten_name(shot.path)]
    if shot.taken:
        words.append(f"{shot.taken:%Y-%m-%d %H:%M:%S}")
    if shot.relative_altitude_m is not None:
        words.append(f"{shot.relative_altitude_m:.1f} m")
    if shot.gsd_m is not None:
        words.append(f"{shot.gsd_m * 100:.2f} cm/px")
    return " · ".join([*words, shot.quality, *odd.get(shot.path, ())])


# --- the picture for the UI -------------------------------------------------------------------------


def draw_footprints(shots: Sequence[Shot], *, title: str, caption: str) -> bytes:
    """A PNG of the footprints, to scale, north up; with no places the pictures themselves."""
    width, pad, text_px = 1200, 40, 22
    ground = lay_out(shots)
    sheet = _draw_ground(shots, ground, width, pad) if ground.rows else _draw_thumbs(shots, width)
    font, large = load_font(text_px), load_font(round(text_px * 1.5))
    lines = wrap(caption, font, width - 2 * pad, max_lines=3)
    if ground.far:
        lines.append(f"{len(ground.far):,} more lie over {FAR_M / 1000:g} km away")
    top = pad + round(text_px * 2.1) + len(lines) * round(text_px * 1.4)
    canvas = Image.new("RGB", (width, top + sheet.height), WHITE)
    canvas.paste(sheet, (0, top))
    draw = ImageDraw.Draw(canvas)
    draw.text((pad, pad // 2), shorten(title, large, width - 2 * pad), INK, large)
    for at, line in enumerate(lines):
        y = pad // 2 + round(text_px * 2.1) + at * round(text_px * 1.4)
        draw.text((pad, y), line, GREY, font)
    return encode_picture(canvas, "PNG", compress_level=6)


def _draw_ground(shots: Sequence[Shot], ground: Ground, width: int, pad: int) -> Image.Image:
    twice = 2  # Pillow's lines have no soft edges: drawn at twice the size, then halved
    plot = _fit(shots, ground, width * twice, 2 * pad * twice)
    picture = Image.new("RGB", (width * twice, plot.height_px), WHITE)
    draw = ImageDraw.Draw(picture, "RGBA")
    opacity = round(255 * max(FILL / math.sqrt(len(plot.rows)), 0.01))
    for row, corners, colour in zip(plot.rows, plot.corners, plot.colours, strict=True):
        points = [(x, y) for x, y in corners.tolist()]
        oblique = shots[row].quality == "oblique"
        if not oblique:
            draw.polygon(points, fill=(*colour, opacity))
        draw.line([*points, points[0]], (*colour, 70 if oblique else 200), 3)
    for line in plot.lines:
        draw.line([(x, y) for x, y in line.tolist()], (*INK, 130), 2)
    font, low = load_font(44), plot.height_px - 36
    draw.line((60, low, 60 + plot.bar_px, low), INK, 5)
    draw.text((60, low - 10), _word_metres(plot.bar_m), INK, font, anchor="lb")
    north = width * twice - 70
    draw.line((north, 100, north, 24), INK, 5)
    draw.polygon([(north - 12, 44), (north + 12, 44), (north, 16)], fill=INK)
    draw.text((width * twice - 90, 60), "N", INK, font, anchor="rm")
    return picture.resize((width, plot.height_px // twice), Image.Resampling.BOX)


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
