"""Picture of footprints on the ground, to scale and north up."""

import io
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

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
from dino_assets.images.records import PlaceQuality
from dino_assets.images.report.findings import order_flight
from dino_assets.images.report.ground_plan import FAR_M, MAX_FOOTPRINTS, Ground, project_footprints
from dino_assets.images.report.shots import Shot

BREAK_S = 300.0  # after a longer pause (another battery) the flight line is interrupted
FILL = 0.3  # opacity of a pile of footprints, so that 6 and 3,000 of them both show their overlap
# From dark blue to orange: readable in gray print and for most colour-blind readers, without pale colours.
RAMP = ((43, 48, 122), (38, 103, 170), (29, 150, 140), (120, 172, 50), (225, 130, 20))
UNTIMED, RED = (120, 126, 135), (200, 32, 47)
# Qualities with a dashed footprint, and their legend.
ROUGH: dict[PlaceQuality, str] = {
    "oblique": "oblique",
    "edited-nadir": "edited, perhaps turned",
    "edited-oblique": "edited, perhaps turned",
}
_WIDTH_PX, _PAD_PX, _TEXT_PX = 1200, 40, 22
_TWICE = 2  # Pillow's lines are not antialiased: draw at twice the size, then halve
_DASH_PX = 16


@dataclass(frozen=True)
class GroundPicture:
    """A drawing of footprints, or of the photographs if none has a footprint.

    ``outlines`` are pairs: a shot's position in the list, and its corners (4, 2) in pixels of ``sheet``.
    ``bar`` is the scale bar's length in words. ``notes`` explain the picture to a reader.
    """

    ground: Ground
    sheet: Image.Image
    outlines: list[tuple[int, np.ndarray]]
    bar: str
    notes: list[str]


def draw_ground(shots: Sequence[Shot], marked: Collection[str] = ()) -> GroundPicture:
    """Draw footprints, the flight line, and a red dot on each photograph whose path is in ``marked``.

    If no shot has a footprint, thumbnails are drawn instead.
    """
    ground = project_footprints(shots)
    if not ground.rows:
        return GroundPicture(ground, _draw_thumbs(shots), [], "", [])
    pixels, px_per_m, height_px = _fit(ground.corners)
    # Draw every k-th footprint only: neighbours overlap, and the line includes all.
    step = -(-len(ground.rows) // MAX_FOOTPRINTS)
    rows, corners = ground.rows[::step], pixels[::step]
    drawn = [shots[row] for row in rows]
    picture = Image.new("RGB", (_WIDTH_PX * _TWICE, height_px), WHITE)
    draw = ImageDraw.Draw(picture, "RGBA")
    opacity = round(255 * max(FILL / math.sqrt(len(rows)), 0.01))
    for shot, area, colour in zip(drawn, corners, _colour_by_time(drawn), strict=True):
        points = _list_points(area)
        if shot.quality in ROUGH:
            draw.polygon(points, fill=(*colour, 4))
            for dash in _cut_dashes(area):
                draw.line(dash, (*colour, 115), 3)
        else:
            draw.polygon(points, fill=(*colour, opacity))
            draw.line([*points, points[0]], colour, 4)
    lines = _join([shots[row] for row in ground.rows], pixels.mean(axis=1))
    for line in lines:
        draw.line(_list_points(line), (*INK, 130), 2)
    if lines:
        draw.circle(lines[0][0].tolist(), 12, INK)
    for shot, middle in zip(drawn, corners.mean(axis=1).tolist(), strict=True):
        if shot.path in marked:
            draw.circle(middle, 18, RED, WHITE, 4)
    bar = _draw_bar_and_north(draw, picture.size, px_per_m)
    dashed = [words for quality, words in ROUGH.items() if any(s.quality == quality for s in drawn)]
    notes = [f"dashed: {', '.join(dict.fromkeys(dashed))}"] if dashed else []
    if step > 1:
        notes.append(f"one in {step} of {len(ground.rows):,} is drawn")
    if ground.far:
        notes.append(f"{len(ground.far):,} more are over {FAR_M / 1000:g} km away")
    sheet = picture.resize((_WIDTH_PX, height_px // _TWICE), Image.Resampling.BOX)
    return GroundPicture(ground, sheet, list(zip(rows, corners / _TWICE, strict=True)), bar, notes)


def draw_footprints(picture: GroundPicture, *, title: str, caption: str) -> bytes:
    """Write a title, a caption and the notes above the picture; return a PNG."""
    pad, text_px, sheet = _PAD_PX, _TEXT_PX, picture.sheet
    font, large = load_font(text_px), load_font(round(text_px * 1.5))
    lines = [*wrap(caption, font, sheet.width - 2 * pad, max_lines=3), *picture.notes]
    top = pad + round(text_px * 2.1) + len(lines) * round(text_px * 1.4)
    canvas = Image.new("RGB", (sheet.width, top + sheet.height), WHITE)
    canvas.paste(sheet, (0, top))
    draw = ImageDraw.Draw(canvas)
    draw.text((pad, pad // 2), shorten(title, large, sheet.width - 2 * pad), INK, large)
    for at, line in enumerate(lines):
        y = pad // 2 + round(text_px * 2.1) + at * round(text_px * 1.4)
        draw.text((pad, y), line, GREY, font)
    return encode_picture(canvas, "PNG", compress_level=6)


def _fit(corners: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Fit all corners (N, 4, 2) into a picture whose height is a third to three quarters of its width.

    Return their pixels, the pixels per metre, and the picture's height.
    """
    width_px, pad_px = _WIDTH_PX * _TWICE, 110
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    span = np.maximum(high - low, 1.0)
    room = width_px - 2 * pad_px
    shape = min(max(float(span[1] / span[0]), 0.35), 0.75)
    height_px = round(room * shape) + 2 * pad_px
    scale = float(min(room / span[0], (height_px - 2 * pad_px) / span[1]))
    pixels = (corners - (low + high) / 2) * [scale, -scale] + [width_px / 2, height_px / 2]
    return pixels, scale, height_px


def _round_down(metres: float) -> float:
    power = 10.0 ** math.floor(math.log10(max(metres, 1e-3)))
    return next(digit * power for digit in (5, 2, 1) if digit * power <= metres * 1.0001)


def _join(shots: Sequence[Shot], centers: np.ndarray) -> list[np.ndarray]:
    """Join the centres of shots to lines, one per part of the flight without a pause.

    Shots without a time are not joined.
    """
    times = [shot.taken for shot in shots]
    cuts = [
        at
        for at, (before, after) in enumerate(pairwise(times), start=1)
        if before is None or after is None or (after - before).total_seconds() > BREAK_S
    ]
    return [line for line in np.split(centers, cuts) if len(line) > 1]


def _colour_by_time(shots: Sequence[Shot]) -> list[Colour]:
    """Choose a colour for each shot by the rank of its time.

    If the colour followed the time itself, two flights a year apart would have only two colours.
    """
    times = sorted({shot.taken for shot in shots if shot.taken})
    stops = np.linspace(0, max(len(times) - 1, 1), len(RAMP))
    mixed = [np.interp(range(len(times)), stops, channel) for channel in zip(*RAMP, strict=True)]
    colours = {
        time: (r, g, b)
        for time, (r, g, b) in zip(times, np.rint(mixed).astype(int).T.tolist(), strict=True)
    }
    return [colours[shot.taken] if shot.taken else UNTIMED for shot in shots]


def _word_metres(metres: float) -> str:
    return f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"


def _draw_bar_and_north(draw: ImageDraw.ImageDraw, size: tuple[int, int], px_per_m: float) -> str:
    """Draw a scale bar and an arrow to the north; return the bar's length in words."""
    width, height = size
    length_m = _round_down(0.2 * width / px_per_m)
    words, font, low = _word_metres(length_m), load_font(38), height - 36
    draw.line((60, low, 60 + length_m * px_per_m, low), INK, 5)
    draw.text((60, low - 10), words, INK, font, anchor="lb")
    north = width - 70
    draw.line((north, 100, north, 24), INK, 5)
    draw.polygon([(north - 12, 44), (north + 12, 44), (north, 16)], fill=INK)
    draw.text((width - 90, 60), "N", INK, font, anchor="rm")
    return words


def _list_points(points: np.ndarray) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points.tolist()]


def _cut_dashes(corners: np.ndarray) -> Iterator[list[tuple[float, float]]]:
    """Cut each side into dashes with equal spaces."""
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        count = max(round(float(np.hypot(*(end - start))) / (2 * _DASH_PX)), 1)
        for share in (np.arange(count) / count).tolist():
            dash = start + (end - start) * [[share], [share + 0.5 / count]]
            yield _list_points(dash)


def _draw_thumbs(shots: Sequence[Shot]) -> Image.Image:
    across, side, high = 8, 140, 111
    thumbs = [shots[at].thumb for at in order_flight(shots) if shots[at].thumb]
    picked = np.linspace(0, len(thumbs) - 1, min(len(thumbs), 3 * across)).round().astype(int)
    sheet = Image.new("RGB", (_WIDTH_PX, max(-(-len(picked) // across) * high + 24, 240)), WHITE)
    draw = ImageDraw.Draw(sheet)
    if not thumbs:
        draw.text((_WIDTH_PX / 2, 110), "No photograph has a place", GREY, load_font(26), "mm")
        return sheet
    for at, number in enumerate(picked.tolist()):
        with Image.open(io.BytesIO(thumbs[number] or b"")) as thumb:
            small = thumb.convert("RGB").resize((side, side * 3 // 4))
        sheet.paste(small, (20 + at % across * (side + 6), 10 + at // across * high))
    draw.line((20, 2, _WIDTH_PX - 20, 2), LINE)
    return sheet
