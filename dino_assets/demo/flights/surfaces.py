"""Surfaces of a drawn map: grass, fields, roads, water, burnt soil."""

from dataclasses import dataclass

import numpy as np

from dino_assets.demo.flights.terrain import (
    Canvas,
    Colour,
    Course,
    F,
    Outline,
    Plane,
    Window,
    fill_outline,
    fray,
    split,
)

SOIL = (0.47, 0.37, 0.27)


def blend(low: Colour, high: Colour, share: Plane) -> Plane:
    """Blend two colours per pixel (3, h, w): ``low`` where the share is 0, ``high`` where it is 1."""
    share = np.clip(share, 0, 1)
    return np.stack([F(a) + F(b - a) * share for a, b in zip(low, high, strict=True)])


def sow_grass(canvas: Canvas, *, lush: Colour, dry: Colour) -> None:
    """Cover the whole map with grass: lush and dry patches, tufts, some bare earth."""
    rows, columns = canvas.raster.shape
    for window in split((slice(0, rows), slice(0, columns))):
        broad, grain = canvas.broad[window], canvas.grain[window]
        canvas.colour[(slice(None), *window)] = blend(lush, dry, 0.45 + 0.33 * broad)
        canvas.paint(window, np.clip((broad + 0.5 * grain - 2.1) * 1.5, 0, 0.7), SOIL)
        canvas.vary(window, 0.12, grain)
        canvas.height[window] = np.clip(grain, -1, 3) * F(0.03)


def cover_floor(canvas: Canvas, outline: Outline) -> None:
    """Cover the ground of a wood, visible between the crowns, with needles, old leaves and ferns."""
    whole, coverage = fill_outline(canvas.raster, outline, edge_m=6.0)
    for window in split(whole):
        grain = canvas.grain[window]
        alpha = fray(_cut(coverage, whole, window), grain, amount=0.5, sharpness=1.5)
        canvas.paint(
            window, alpha * F(0.9), blend((0.21, 0.19, 0.11), (0.33, 0.32, 0.17), 0.5 + 0.4 * grain)
        )


def _cut(coverage: Plane, whole: Window, band: Window) -> Plane:
    return coverage[band[0].start - whole[0].start : band[0].stop - whole[0].start]


@dataclass(frozen=True)
class Crop:
    """Appearance of a field: rows every ``row_m`` along a bearing, wheel tracks every ``tramline_m``."""

    plant: Colour
    ground: Colour
    row_m: float
    bearing_deg: float
    plant_m: float = 0.6
    cover: float = 0.5
    tramline_m: float = 18.0


def plant_field(canvas: Canvas, outline: Outline, crop: Crop) -> None:
    """Draw rows of plants with earth between them, thinner on poor ground, and tractor tracks."""
    whole, coverage = fill_outline(canvas.raster, outline, edge_m=1.0)
    for window in split(whole):
        broad, grain = canvas.broad[window], canvas.grain[window]
        alpha = fray(_cut(coverage, whole, window), grain, amount=0.4, sharpness=3.0)
        across = measure_across(canvas, window, crop.bearing_deg)
        rows = np.sin((across + F(0.05) * broad) * F(2 * np.pi / crop.row_m))
        planted = np.clip(rows * 0.6 + 0.35 * grain + 0.2 * broad + 2.2 * (crop.cover - 0.3), 0, 1)
        beside = np.abs(np.mod(across, F(crop.tramline_m)) - F(crop.tramline_m / 2))
        track = np.clip(2.4 - np.abs(beside - 0.95) / 0.16, 0, 1) * (0.8 + 0.15 * grain)
        planted *= 1 - np.clip(track, 0, 1)
        canvas.paint(window, alpha, blend(crop.ground, crop.plant, planted))
        canvas.vary(window, alpha, 0.08 * broad + 0.08 * grain)
        grown = canvas.height[window]
        grown += alpha * (planted * F(crop.plant_m) - grown)


def measure_across(canvas: Canvas, window: Window, bearing_deg: float) -> Plane:
    """Measure each pixel's distance in metres to a line through the map's middle.

    The line's bearing is clockwise from the map's y axis; distances to its right are positive.
    """
    xs, ys = canvas.raster.xs[window[1]][None, :], canvas.raster.ys[window[0]][:, None]
    sin, cos = F(np.sin(np.radians(bearing_deg))), F(np.cos(np.radians(bearing_deg)))
    return xs * cos - ys * sin


def lay_road(canvas: Canvas, course: Course, *, half_width_m: float) -> None:
    """Draw asphalt with worn wheel lanes, white edge lines, a dashed middle line and gravel shoulders."""
    for window, across, along in course.measure(canvas.raster, reach_m=half_width_m + 3):
        grain, broad = canvas.grain[window], canvas.broad[window]
        side = np.abs(across)
        px = 1 / canvas.raster.px_per_m
        shoulder = np.clip((half_width_m + 1.3 + 0.25 * grain - side) / 0.4, 0, 1)
        canvas.paint(
            window, shoulder * 0.9, blend((0.50, 0.46, 0.39), (0.62, 0.58, 0.50), 0.5 + grain)
        )
        asphalt = np.clip((half_width_m - side) / px + 0.5, 0, 1)
        canvas.paint(
            window, asphalt, blend((0.37, 0.37, 0.385), (0.47, 0.465, 0.46), 0.5 + 0.3 * broad)
        )
        worn = np.exp(-(((side - half_width_m / 2) / F(0.9)) ** 2))
        canvas.vary(window, asphalt, 0.05 * grain + 0.07 * worn)
        dash = np.mod(along, 9.0) < 3.6
        edge = np.clip((0.1 - np.abs(side - half_width_m + 0.35)) / px + 0.5, 0, 1)
        middle = np.clip((0.09 - side) / px + 0.5, 0, 1) * dash
        rubbed = np.clip(0.9 + 0.15 * grain, 0, 1)
        canvas.paint(window, np.maximum(edge, middle) * rubbed, (0.90, 0.90, 0.87))
        flat = canvas.height[window]
        flat *= 1 - np.maximum(asphalt, shoulder)


def lay_track(canvas: Canvas, course: Course, *, half_width_m: float) -> None:
    """Draw a dirt track: two pale wheel ruts and grass in the middle."""
    for window, across, _ in course.measure(canvas.raster, reach_m=half_width_m + 2):
        grain = canvas.grain[window]
        side = np.abs(across)
        verge = np.clip((half_width_m + 0.35 * grain - side) / 0.5, 0, 1) * 0.6
        canvas.paint(window, verge, SOIL)
        rut = np.clip(1.25 - np.abs(side - half_width_m * 0.6) / 0.45 + 0.2 * grain, 0, 1)
        canvas.paint(window, rut, (0.66, 0.57, 0.44))
        canvas.vary(window, np.maximum(verge, rut), 0.06 * grain)
        canvas.height[window] *= 1 - rut


def flood_river(canvas: Canvas, course: Course, half_width_m: Plane) -> None:
    """Draw a river between pale gravel shores: clear and brown at the edge, dark green in the middle.

    ``half_width_m`` has one value per point of ``course.points``; the course runs along y.
    """
    middle = course.points(canvas.raster)[:, 1]
    for window, across, along in course.measure(
        canvas.raster, reach_m=float(half_width_m.max()) + 9
    ):
        width = np.interp(canvas.raster.ys[window[0]], middle, half_width_m).astype(F)[:, None]
        grain, broad = canvas.grain[window], canvas.broad[window]
        inside = width - np.abs(across) + 0.35 * broad + 0.12 * grain  # metres from the shoreline
        gravel = np.clip((inside + 4.5 + 1.4 * broad) / 1.2, 0, 1)
        canvas.paint(
            window, gravel, blend((0.56, 0.52, 0.45), (0.74, 0.70, 0.62), 0.5 + 0.3 * grain)
        )
        canvas.vary(window, gravel, 0.16 * grain)
        canvas.paint(window, np.clip((inside + 1.1) / 0.8, 0, 1) * 0.55, (0.38, 0.34, 0.28))
        wet = np.clip(inside / 0.15 + 0.5, 0, 1)
        depth = np.clip(inside / 9 + 0.06 * broad, 0, 1) ** F(0.6)
        canvas.paint(window, wet, blend((0.47, 0.46, 0.36), (0.13, 0.24, 0.25), depth))
        ripples = np.sin(along * 2.1 + 3 * broad + 1.2 * grain) * 0.5 + 0.5 * grain
        canvas.vary(window, wet, 0.10 * ripples + 0.06 * broad)
        foam = np.clip(1 - np.abs(inside - 0.2) / 0.12, 0, 1) * np.clip(grain, 0, 0.8)
        canvas.paint(window, foam, (0.80, 0.83, 0.82))
        level = canvas.height[window]
        level *= 1 - gravel
        level += gravel * (1 - wet) * np.clip(grain, 0, 2) * F(0.05) + wet * ripples * F(0.03)


def scorch(canvas: Canvas, outline: Outline) -> None:
    """Draw blackened ground with grey ash, and a rust-coloured edge that was heated but not burnt."""
    whole, coverage = fill_outline(canvas.raster, outline, edge_m=7.0)
    for window in split(whole):
        broad, grain = canvas.broad[window], canvas.grain[window]
        inside = _cut(coverage, whole, window)
        rough = 0.8 * broad + 0.35 * grain
        fringe = fray(np.clip(inside * 1.35, 0, 1), rough, amount=0.35, sharpness=2.0)
        canvas.paint(
            window, fringe * 0.75, blend((0.42, 0.27, 0.14), (0.55, 0.41, 0.24), 0.5 + 0.4 * grain)
        )
        black = fray(inside, rough, amount=0.3, sharpness=5.0)
        canvas.paint(
            window, black, blend((0.085, 0.08, 0.08), (0.22, 0.195, 0.18), 0.4 + 0.3 * grain)
        )
        # The same noise, mirrored: unrelated to the noise at this place.
        patches = canvas.broad[::-1, ::-1][window]
        ash = np.clip((0.8 * patches + 0.6 * grain - 1.1) * 0.7, 0, 0.65) * black
        canvas.paint(window, ash, (0.52, 0.51, 0.50))
        canvas.vary(window, black, 0.18 * grain)
        level = canvas.height[window]
        level += black * (np.clip(grain, -1, 3) * F(0.06) - level)
