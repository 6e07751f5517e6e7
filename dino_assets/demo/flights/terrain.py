"""Drawn terrain: colour and height over a map in metres, with noise, areas and curves."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

F = np.float32  # 20 Mpx maps: double precision would double the memory and the time
Plane = NDArray[np.floating[Any]]  # always float32, but numpy's type stubs cannot express it
Colour = tuple[float, float, float]
Window = tuple[slice, slice]
Outline = NDArray[np.float64]  # (N, 2) metres, not closed


@dataclass(frozen=True)
class Raster:
    """Square pixels over a map in metres, with (0, 0) in the middle, x to the right and y upwards.

    Row 0 is the top row, which has the highest y.
    """

    width_m: float
    length_m: float
    px_per_m: float

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and of columns."""
        return round(self.length_m * self.px_per_m), round(self.width_m * self.px_per_m)

    @property
    def xs(self) -> Plane:
        """The x in metres of each column's middle."""
        columns = np.arange(self.shape[1], dtype=F)
        return (columns + F(0.5)) / F(self.px_per_m) - F(self.width_m / 2)

    @property
    def ys(self) -> Plane:
        """The y in metres of each row's middle."""
        rows = np.arange(self.shape[0], dtype=F)
        return F(self.length_m / 2) - (rows + F(0.5)) / F(self.px_per_m)

    def to_px(self, points: Outline) -> Outline:
        """Convert points (N, 2) from metres on the map to column and row in pixels."""
        flipped = np.stack([points[:, 0] + self.width_m / 2, self.length_m / 2 - points[:, 1]], 1)
        return np.asarray(flipped * self.px_per_m)

    def window(self, points: Outline, *, margin_m: float = 0.0) -> Window:
        """Find the window around points, cut at the map's edge."""
        low = np.floor(self.to_px(points).min(0) - margin_m * self.px_per_m).astype(int)
        high = np.ceil(self.to_px(points).max(0) + margin_m * self.px_per_m).astype(int)
        rows, columns = self.shape
        left, right = np.clip((low[0], high[0]), 0, columns)
        top, bottom = np.clip((low[1], high[1]), 0, rows)
        return slice(int(top), int(bottom)), slice(int(left), int(right))


@dataclass(frozen=True)
class Canvas:
    """Arrays to paint on: reflectance (3, rows, columns), height in metres, and two noises.

    ``broad`` varies over metres (patches), ``grain`` over decimetres (leaves, clods); mean 0, spread 1.
    """

    raster: Raster
    colour: Plane
    height: Plane
    broad: Plane
    grain: Plane

    def paint(self, window: Window, alpha: Plane | float, colour: Colour | Plane) -> None:
        """Paint a colour, or one per pixel (3, h, w), over a window with the opacity ``alpha``."""
        for plane, value in zip(self.colour, colour, strict=True):
            part = plane[window]
            part += alpha * (np.asarray(value, F) - part)

    def vary(self, window: Window, alpha: Plane | float, by: Plane) -> None:
        """Brighten a window by the share ``by`` of each pixel; negative shares darken it."""
        self.colour[(slice(None), *window)] *= 1 + alpha * by


def split(window: Window, *, rows: int = 256) -> Iterator[Window]:
    """Split a window into bands of rows; small temporary arrays are twice as fast."""
    for top in range(window[0].start, window[0].stop, rows):
        yield slice(top, min(top + rows, window[0].stop)), window[1]


def blank_canvas(rng: np.random.Generator, raster: Raster) -> Canvas:
    """Make a flat black map with its noises."""
    broad, grain = rng.spawn(2)
    return Canvas(
        raster,
        colour=np.zeros((3, *raster.shape), F),
        height=np.zeros(raster.shape, F),
        broad=draw_noise(broad, raster, coarse_m=48.0, fine_m=1.5),
        grain=draw_noise(grain, raster, coarse_m=1.6, fine_m=0.05, roughness=0.9),
    )


def draw_noise(
    rng: np.random.Generator,
    raster: Raster,
    *,
    coarse_m: float,
    fine_m: float,
    roughness: float = 0.6,
    aspect: float = 1.0,
) -> Plane:
    """Draw noise of several scales, each half the one before; mean 0, spread 1.

    ``aspect`` stretches the noise along y.

    The scales are drawn from coarse to fine, on lattices that are fixed to the map. So the same generator
    gives the same landscape at every resolution, and finer rasters only add detail.
    """
    cell, strength, total = coarse_m, 1.0, 0.0
    across = int(np.ceil(raster.width_m / coarse_m))
    ahead = int(np.ceil(raster.length_m / (coarse_m * aspect)))
    field = np.zeros((ahead, across), F)
    while True:
        octave = rng.random(field.shape, dtype=F)
        octave -= F(0.5)
        octave *= F(strength)
        field = np.add(octave, field, out=octave)
        total += strength**2 / 12
        if cell / 2 < max(fine_m, 1 / raster.px_per_m):
            break
        cell, strength = cell / 2, strength * roughness
        field = _resize(field, (field.shape[0] * 2, field.shape[1] * 2))
    box = (0.0, 0.0, raster.width_m / cell, raster.length_m / (cell * aspect))
    # Smooth interpolation between lattice points removes about a third of the variance.
    field *= F(1 / (0.8 * np.sqrt(total)))
    return _resize(field, raster.shape, box=box)


def _resize(
    field: Plane, shape: tuple[int, int], *, box: tuple[float, float, float, float] | None = None
) -> Plane:
    image = Image.fromarray(field).resize(shape[::-1], Image.Resampling.BICUBIC, box=box)
    return np.asarray(image, F)


def fill_outline(raster: Raster, outline: Outline, *, edge_m: float) -> tuple[Window, Plane]:
    """Compute an area's coverage of each pixel, 0..1; return the window around the area, and the coverage.

    The edge fades over ``edge_m``, and the coverage is 0.5 on the outline.
    """
    window = raster.window(outline, margin_m=edge_m)
    shape = window[0].stop - window[0].start, window[1].stop - window[1].start
    if min(shape) <= 0:
        return window, np.zeros((max(shape[0], 0), max(shape[1], 0)), F)
    # A soft edge needs only a few pixels; blurring at full size would cost more than all other steps.
    shrink = max(1.0, edge_m * raster.px_per_m / 4)
    size = max(1, round(shape[1] / shrink)), max(1, round(shape[0] / shrink))
    points = raster.to_px(outline) - (window[1].start, window[0].start)
    points = points * (size[0] / shape[1], size[1] / shape[0])
    image = Image.new("L", size)
    ImageDraw.Draw(image).polygon([(float(x), float(y)) for x, y in points], fill=255)
    image = image.filter(ImageFilter.GaussianBlur(edge_m * raster.px_per_m / shrink / 3))
    return window, _resize(np.asarray(image, F) / 255, shape)


def fray(coverage: Plane, noise: Plane, *, amount: float, sharpness: float) -> Plane:
    """Turn a soft edge into a ragged one that follows the noise."""
    inside = (coverage * (1 - coverage)) * F(4 * amount) * noise
    return np.asarray(np.clip((coverage + inside - F(0.5)) * F(sharpness) + F(0.5), 0, 1))


@dataclass(frozen=True)
class Course:
    """A smooth curve across the whole map: a road, a river, a hedge.

    It passes through the points ``knots``, (x, y) in metres, and runs mainly along ``axis``.
    """

    knots: tuple[tuple[float, float], ...]
    axis: Literal["x", "y"]

    def points(self, raster: Raster, *, step_m: float = 2.0) -> Outline:
        """Compute the curve's points (N, 2), a little longer than the map."""
        reach = (raster.length_m if self.axis == "y" else raster.width_m) / 2 + 10
        ahead = np.linspace(-reach, reach, int(2 * reach / step_m))
        curve, _ = self._follow(ahead)
        pair = (curve, ahead) if self.axis == "y" else (ahead, curve)
        return np.stack(pair, 1)

    def outline(self, raster: Raster, half_width_m: float | Plane) -> Outline:
        """Outline the band within ``half_width_m`` of the curve: one width, or one for each of ``points``."""
        points = self.points(raster)
        along = np.gradient(points, axis=0)
        normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.hypot(*along.T)[:, None]
        reach = normal * np.reshape(half_width_m, (-1, 1))
        return np.concatenate([points + reach, (points - reach)[::-1]])

    def measure(self, raster: Raster, *, reach_m: float) -> Iterator[tuple[Window, Plane, Plane]]:
        """Yield windows along the curve, with each pixel's metres to its side and metres along it.

        The windows contain all pixels within ``reach_m`` of the curve, measured along the map's other axis.
        """
        xs, ys = raster.xs, raster.ys
        main, other = (ys, xs) if self.axis == "y" else (xs, ys)
        curve, slope = self._follow(main)
        arc = np.cumsum(np.sqrt(1 + slope**2)) / F(raster.px_per_m)
        for start in range(0, len(main), 256):
            piece = slice(start, min(start + 256, len(main)))
            near = (other > curve[piece].min() - reach_m) & (other < curve[piece].max() + reach_m)
            if not near.any():
                continue
            aside = slice(int(near.argmax()), len(near) - int(near[::-1].argmax()))
            # An approximate distance, within 1 % for a curve that bends over 100 m.
            across = (other[None, aside] - curve[piece, None]) / np.sqrt(1 + slope**2)[piece, None]
            along = np.broadcast_to(arc[piece, None], across.shape)
            if self.axis == "y":
                yield (piece, aside), across, along
            else:
                yield (aside, piece), across.T, along.T

    def _follow(self, ahead: NDArray[np.floating]) -> tuple[Plane, Plane]:
        knots = np.asarray(self.knots)
        main, other = (1, 0) if self.axis == "y" else (0, 1)
        fit = np.polynomial.Polynomial.fit(knots[:, main], knots[:, other], len(knots) - 1)
        return fit(ahead).astype(F), fit.deriv()(ahead).astype(F)


def grow_blob(
    rng: np.random.Generator, centre: tuple[float, float], *, radii_m: tuple[float, float]
) -> Outline:
    """Make a closed irregular outline of 96 points around a centre."""
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    lumps = np.ones_like(angle)
    for waves in range(2, 8):
        lumps += rng.normal(0, 0.18 / waves) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    ring = np.stack([np.cos(angle) * radii_m[0], np.sin(angle) * radii_m[1]], 1) * lumps[:, None]
    return np.asarray(ring + centre)


def roughen(rng: np.random.Generator, outline: Outline, *, by_m: float) -> Outline:
    """Roughen an outline, since no wood has straight edges: add points, each moved a little."""
    ahead = np.roll(outline, -1, axis=0)
    sides = [
        start
        + np.linspace(0, 1, max(2, int(np.hypot(*(end - start)) / 5)), endpoint=False)[:, None]
        * (end - start)
        for start, end in zip(outline, ahead, strict=True)
    ]
    points = np.concatenate(sides)
    return np.asarray(points + rng.normal(0, by_m, points.shape))


def lies_inside(points: Outline, outline: Outline) -> NDArray[np.bool_]:
    """Check whether each point (N, 2) is inside the outline, by the even-odd rule."""
    x, y = points[:, :1], points[:, 1:]
    (x1, y1), (x2, y2) = outline.T, np.roll(outline, -1, axis=0).T
    crosses = (y1 > y) != (y2 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = x < (x2 - x1) * (y - y1) / (y2 - y1) + x1
    return np.asarray((crosses & left).sum(1) % 2 == 1)
