"""Picture of the map as a PNG, drawn with NumPy and Pillow.

A million points are drawn by counting the points of each pixel (0.5 s), not as a million shapes. Equal input
gives equal bytes with the same version of Pillow. Axes have no ticks, because only distances between tiles
have a meaning.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from dino_assets.drawing.lettering import (
    GREY,
    INK,
    LINE,
    RED,
    WHITE,
    Colour,
    encode_picture,
    load_font,
    make_printable,
    shorten,
    wrap,
)
from dino_assets.errors import ConfigError
from dino_assets.projections.map.labels import place_labels
from dino_assets.projections.map.points import Points, check_points, check_rows

MAX_LABELS = 500  # more would be unreadable
PALE = 0.4  # factor for the opacity of dots on maps where rings matter most


def draw_map(
    coordinates: ArrayLike,
    *,
    groups: Sequence[int] | np.ndarray | None,
    group_names: Sequence[str],
    chosen: Sequence[int] | np.ndarray,
    title: str,
    caption: str,
    colours: Sequence[int] | None = None,
    labels: Mapping[int, str] | None = None,
    earlier: Sequence[int] | np.ndarray = (),
    is_pale: bool = False,
    caveat: str = "",
    width_px: int = 1200,
    height_px: int = 1000,
    dot_px: float | None = None,
) -> bytes:
    """Draw coordinates (N, 2) as a PNG: a dot per tile in its group's colour, rings around chosen rows.

    A row is a tile's index in ``coordinates``. Where dots overlap, their colours are mixed, and the opacity
    grows with the logarithm of their number. So differences stay visible in dense places, and no group is
    hidden. ``colours`` are the groups' colour numbers (``colours.number_colours``), by default 0, 1, 2 and
    so on.

    ``labels`` of chosen rows are written beside their rings where there is room, the first ones first.
    Rows chosen ``earlier`` get a thin grey ring. ``is_pale`` makes all dots paler, so that rings stand out.
    The ``caveat`` is written in red above the caption. Dots are at most ``dot_px`` wide, and smaller if there
    are many.

    Raises:
        ConfigError: the coordinates are not finite (N, 2), a group or a chosen row does not exist, or
            the picture is smaller than 240 × 200 px.
    """
    if width_px < 240 or height_px < 200:
        raise ConfigError(
            f"a map of {width_px}×{height_px} px is too small: at least 240×200 px is expected",
            setting="width_px" if width_px < 240 else "height_px",
            value=width_px if width_px < 240 else height_px,
        )
    points = check_points(coordinates, groups, group_names, chosen, earlier, colours=colours)
    check_rows("labels", list(labels or ()), len(points.coordinates))
    canvas = Image.new("RGB", (width_px, height_px), WHITE)
    draw = ImageDraw.Draw(canvas)
    text_px = max(11, round(min(width_px, height_px) / 52))
    margin = text_px
    top = _write_header(draw, title, caveat, caption, text_px, margin, width_px - 2 * margin)
    legend_px = max(90, round(width_px * 0.21))
    right = width_px - margin - legend_px - margin
    width, height = right - margin, max(height_px - margin - top, 40)
    largest_px = (width_px / 100 if dot_px is None else dot_px) / 2
    painted = _paint_points(points, width, height, width_px, largest_px, is_pale=is_pale)
    plot = Image.fromarray(painted.picture)
    _write_labels(plot, painted, points.chosen, labels or {}, text_px)
    canvas.paste(plot, (margin, top))
    draw.rectangle((margin, top, margin + width - 1, top + height - 1), outline=LINE)
    if not len(points.coordinates):
        font = load_font(text_px)
        middle = (margin + width / 2, top + height / 2)
        draw.text(middle, "No tiles to draw", fill=GREY, font=font, anchor="mm")
    box = (right + margin, top, width_px - margin, height_px - margin)
    _write_legend(canvas, points, box, text_px, crowded=painted.is_crowded)
    return encode_picture(canvas, "PNG", compress_level=6)


def place_points(
    coordinates: np.ndarray, width: int, height: int, *, pad: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compute pixel columns and rows (N,) int64 of points: one scale for both axes, centred, y upwards."""
    if not len(coordinates):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    room = np.maximum([width - 1 - 2 * pad, height - 1 - 2 * pad], 0)
    span = high - low
    scale = min((room[axis] / span[axis] for axis in (0, 1) if span[axis] > 0), default=0.0)
    offset = (coordinates - (low + span / 2)) * scale
    x = np.rint((width - 1) / 2 + offset[:, 0]).astype(np.int64)
    y = np.rint((height - 1) / 2 - offset[:, 1]).astype(np.int64)
    return x, y


class _Painted(NamedTuple):
    """The painted plot (height, width, 3), whether dots overlap much, each row's pixel, the rings' radius."""

    picture: NDArray[np.uint8]
    is_crowded: bool
    x: np.ndarray
    y: np.ndarray
    ring_px: float


def _paint_points(
    points: Points, width: int, height: int, page_px: int, largest_px: float, *, is_pale: bool
) -> _Painted:
    """Paint dots, then rings over them."""
    count = max(len(points.coordinates), 1)
    radius = min(max(math.sqrt(0.12 * width * height / (math.pi * count)), 0.7), largest_px)
    # Many rings are drawn smaller; a thousand rings of full size would cover the map.
    crowding = min(1.0, max(0.5, math.sqrt(150 / max(len(points.chosen), 1))))
    ring_radius = max(radius + max(page_px / 400, 2.5), page_px / 170) * crowding
    pad = math.ceil(ring_radius + 4)
    x, y = place_points(points.coordinates, width, height, pad=pad)
    # A border for the stamps, so that none continues in the next row of the flat array.
    shape = (height + 2 * pad, width + 2 * pad)
    at = (y + pad) * shape[1] + x + pad
    colours = points.colours[points.groups]
    amount, mean = _mix(at, colours, shape, _disc(radius))
    occupied = amount[amount >= 1]
    peak = float(np.quantile(occupied, 0.999)) if occupied.size else 1.0
    single = min(max(0.8 - 0.15 * math.log10(max(peak, 1.0)), 0.35), 0.8)
    strength = np.log(np.maximum(amount, 1)) / math.log(max(peak, math.e))
    opacity = np.minimum(amount, 1) * (single + (1 - single) * np.minimum(strength, 1))
    opacity *= PALE if is_pale else 1
    picture = _blend(np.full((*shape, 3), 255, np.float32), mean, opacity)
    if len(points.earlier):
        grey = np.array([GREY], np.float32)
        thin = _ring(ring_radius * 0.7, max(page_px / 1200, 1.0))
        ring, _ = _mix(at[points.earlier], grey, shape, thin)
        picture = _blend(picture, grey[0], np.minimum(ring, 1) * 0.8)
    if len(points.chosen):
        at = at[points.chosen]
        ring_px = max(page_px / 600 * crowding, 1.2)
        white, ink = (np.array([c], np.float32) for c in (WHITE, INK))
        halo, _ = _mix(at, white, shape, _disc(ring_radius + ring_px))
        picture = _blend(picture, white[0], np.minimum(halo, 1) * 0.75)
        dots, mean = _mix(at, colours[points.chosen], shape, _disc(max(radius, 1.5)))
        picture = _blend(picture, mean, np.minimum(dots, 1))
        ring, _ = _mix(at, ink, shape, _ring(ring_radius, ring_px))
        picture = _blend(picture, ink[0], np.minimum(ring, 1))
    inside = picture[pad : pad + height, pad : pad + width]
    reach = ring_radius + max(page_px / 600 * crowding, 1.2)
    return _Painted(np.rint(inside).astype(np.uint8), peak > 4, x, y, reach)


def _write_labels(
    plot: Image.Image,
    painted: _Painted,
    chosen: NDArray[np.int64],
    labels: Mapping[int, str],
    text_px: int,
) -> None:
    """Write labels beside the rings of chosen tiles, as many as fit; the letters have a white edge."""
    if not labels:
        return
    font, edge = load_font(max(10, round(text_px * 0.8))), 2
    rows = list(labels)[:MAX_LABELS]
    texts = [make_printable(labels[row]) for row in rows]
    drawn = [font.getbbox(text, anchor="mm") for text in texts]
    sizes = np.array([(box[2] - box[0], box[3] - box[1]) for box in drawn], np.float64)
    at = np.column_stack([painted.x, painted.y]).astype(np.float64)
    places = place_labels(
        at[rows],
        sizes + 2 * edge,
        rings=at[chosen],
        radius=painted.ring_px,
        gap=1,
        width=plot.width,
        height=plot.height,
    )
    draw = ImageDraw.Draw(plot)
    for text, place in zip(texts, places, strict=True):
        if place is not None:
            draw.text(place, text, INK, font, anchor="mm", stroke_width=edge, stroke_fill=WHITE)


def _mix(
    at: np.ndarray, colours: np.ndarray, shape: tuple[int, int], stamp: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add up a stamp (a small mask) around each position; return each pixel's coverage and mean colour.

    ``at`` holds positions as indices into the flattened picture. Equal positions are counted first, so that
    each occurs once. Then each pixel of the stamp is one shifted addition for all positions.
    """
    size = shape[0] * shape[1]
    counts = np.bincount(at, minlength=size)
    spots = np.flatnonzero(counts)
    values = np.empty((len(spots), 4), np.float32)
    values[:, 3] = counts[spots]
    for channel in range(3):
        weights = np.broadcast_to(colours[:, channel], at.shape)
        values[:, channel] = np.bincount(at, weights, minlength=size)[spots]
    sums = np.zeros((size, 4), np.float32)
    half = len(stamp) // 2
    for (row, column), cover in np.ndenumerate(stamp):
        if cover > 0:
            sums[spots + (row - half) * shape[1] + column - half] += values * np.float32(cover)
    amount = sums[:, 3].reshape(shape)
    mean = sums[:, :3].reshape(*shape, 3) / np.maximum(amount, 1e-9)[..., None]
    return amount, mean


def _blend(below: np.ndarray, colour: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    mixed: np.ndarray = below + (colour - below) * opacity[..., None].astype(np.float32)
    return mixed


def _distances(reach: float) -> np.ndarray:
    half = math.ceil(reach)
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1]
    distances: np.ndarray = np.hypot(rows, columns)
    return distances


def _disc(radius: float) -> np.ndarray:
    return np.clip(radius + 0.5 - _distances(radius), 0, 1)


def _ring(radius: float, thickness: float) -> np.ndarray:
    off = np.abs(_distances(radius + thickness) - radius)
    return np.clip(thickness / 2 + 0.5 - off, 0, 1)


def _write_header(
    draw: ImageDraw.ImageDraw,
    title: str,
    caveat: str,
    caption: str,
    text_px: int,
    margin: int,
    room: int,
) -> int:
    """Write the title, and up to three lines of the caveat and of the caption; return the top of the plot."""
    y = margin
    if make_printable(title).strip():
        font = load_font(round(text_px * 1.5))
        draw.text((margin, y), shorten(title, font, room), fill=INK, font=font)
        y += round(text_px * 2.1)
    font = load_font(text_px)
    for text, fill in ((caveat, RED), (caption, GREY)):
        for line in wrap(text, font, room, max_lines=3):
            draw.text((margin, y), line, fill=fill, font=font)
            y += round(text_px * 1.4)
    return y + round(text_px * 0.5) if y > margin else y


def _write_legend(
    canvas: Image.Image,
    points: Points,
    box: tuple[int, int, int, int],
    text_px: int,
    *,
    crowded: bool,
) -> None:
    left, top, right, bottom = box
    draw, font = ImageDraw.Draw(canvas), load_font(text_px)
    line_px = round(text_px * 1.6)
    indent = round(text_px * 1.3)

    def write(row: int, mark: np.ndarray | None, colour: Colour, name: str, tail: str) -> None:
        middle = top + row * line_px + line_px // 2
        if mark is not None:
            mask = Image.fromarray(np.rint(mark * 255).astype(np.uint8))
            canvas.paste(
                colour, (left + text_px // 2 - len(mark) // 2, middle - len(mark) // 2), mask
            )
        start = left + (indent if mark is not None else 0)
        room = right - start - font.getlength(tail) - text_px // 2
        fill = INK if mark is not None else GREY
        draw.text((start, middle), shorten(name, font, room), fill=fill, font=font, anchor="lm")
        draw.text((right, middle), tail, fill=GREY, font=font, anchor="rm")

    dot, ring = _disc(text_px * 0.36), _ring(text_px * 0.36, max(text_px / 10, 1.2))
    write(0, None, GREY, "tiles", f"{len(points.coordinates):,}")
    row = 1
    if len(points.chosen):
        write(row, ring, INK, "chosen", f"{len(points.chosen):,}")
        row += 1
    if len(points.earlier):
        thin = _ring(text_px * 0.28, 1.0)
        write(row, thin, GREY, "chosen earlier", f"{len(points.earlier):,}")
        row += 1
    fits = max((bottom - top) // line_px - row - (2 if crowded else 0), 1)
    shown = len(points.names) if len(points.names) <= fits else max(fits - 1, 0)
    for group in range(shown):
        colour = points.colours[group].tolist()
        write(row, dot, tuple(colour), points.names[group], f"{points.counts[group]:,}")
        row += 1
    if shown < len(points.names):
        more = len(points.names) - shown
        write(row, None, GREY, f"and {more:,} more", f"{sum(points.counts[shown:]):,}")
        row += 1
    if crowded:
        for line in wrap("stronger colour: more tiles", font, right - left, max_lines=2):
            write(row, None, GREY, line, "")
            row += 1
