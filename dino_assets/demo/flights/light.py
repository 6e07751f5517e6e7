"""Light of a drawn map: sun, sky, shadows and smoke, from colour and height to pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dino_assets.demo.flights.terrain import Canvas, Colour, F, Outline, Plane, Raster, draw_noise

# Shading in bands of rows keeps a dozen temporary arrays small and in the cache.
BAND_ROWS = 256
# Half the width of a plume at its source, and its growth per metre of drift.
SOURCE_M, SPREAD = 3.5, 0.24
SMOKE = (0.98, 0.97, 0.95)
STRAY = 0.14  # share of sunlight that reaches shadows, through leaves and by reflection


@dataclass(frozen=True)
class Light:
    """Position of the sun, clockwise from the map's y axis, and colours of sun and sky."""

    azimuth_deg: float
    elevation_deg: float
    sun: Colour
    sky: Colour
    haze: Colour = (0.035, 0.042, 0.052)

    def towards(self) -> tuple[float, float, float]:
        """Compute the unit vector to the sun: along the map's x axis, along its y axis, and up."""
        azimuth, elevation = np.radians((self.azimuth_deg, self.elevation_deg))
        flat = np.cos(elevation)
        x, y, z = flat * np.sin(azimuth), flat * np.cos(azimuth), np.sin(elevation)
        return float(x), float(y), float(z)


@dataclass(frozen=True)
class Plume:
    """Smoke that rises at a point and drifts: bearing on the map, length in metres."""

    source: tuple[float, float]
    bearing_deg: float
    length_m: float
    density: float = 3.2

    def outline(self) -> Outline:
        """Outline the area in which the smoke is visible."""
        along = np.linspace(0, self.length_m * 0.85, 12)
        half = 0.85 * (SOURCE_M + SPREAD * along)
        pairs = np.concatenate([np.stack([half, along], 1), np.stack([-half, along], 1)[::-1]])
        sin, cos = np.sin(np.radians(self.bearing_deg)), np.cos(np.radians(self.bearing_deg))
        aside, ahead = pairs.T
        turned = np.stack([aside * cos + ahead * sin, ahead * cos - aside * sin], 1)
        return np.asarray(turned + self.source)


def cast_shadows(height: Plane, light: Light, *, px_per_m: float) -> Plane:
    """Compute the share of sunlight that reaches each pixel, 0..1.

    A pixel is in shadow if any point between it and the sun is higher than the ray. Each step doubles the
    distance, so ten steps cover a thousand pixels. The work is done at half size, so shadows have soft edges.
    """
    rows, columns = height.shape
    small = np.asarray(Image.fromarray(height).reduce(2), F)
    right, ahead, up = light.towards()
    fall = up / np.hypot(right, ahead) / (px_per_m / 2)
    step = np.array([-ahead, right]) / np.hypot(right, ahead)  # row, column
    tops = small.copy()
    reach = 1.0
    while reach * fall < 40:  # no object is higher than this
        move = np.rint(step * reach).astype(int)
        moved = _shift(tops, int(move[0]), int(move[1])) - F(np.hypot(*move) * fall)
        tops = np.maximum(tops, moved)
        reach *= 2
    sun = Image.fromarray(np.clip(1 - (tops - small) / F(0.35), 0, 1).astype(F))
    return np.asarray(sun.resize((columns, rows), Image.Resampling.BILINEAR), F)


def _shift(field: Plane, rows: int, columns: int) -> Plane:
    """Shift a field: ``result[y, x] = field[y + rows, x + columns]``, zero beyond the edge."""
    moved = np.zeros_like(field)
    height, width = field.shape
    if abs(rows) >= height or abs(columns) >= width:
        return moved
    to_y, from_y = (
        slice(max(0, -rows), height - max(0, rows)),
        slice(max(0, rows), height + min(0, rows)),
    )
    to_x = slice(max(0, -columns), width - max(0, columns))
    from_x = slice(max(0, columns), width + min(0, columns))
    moved[to_y, to_x] = field[from_y, from_x]
    return moved


def draw_lit_map(
    canvas: Canvas, light: Light, smoke: tuple[Plane, Plane] | None = None
) -> NDArray[np.uint8]:
    """Draw the lit map from above, (rows, columns, 3).

    ``smoke`` is the opacity and the brightness of the smoke over it, or None.
    """
    px_per_m = canvas.raster.px_per_m
    height = canvas.height
    rows, columns = height.shape
    sunny = cast_shadows(height, light, px_per_m=px_per_m)
    around = _level_around(height, px_per_m=px_per_m)
    right, ahead, up = light.towards()
    picture = np.empty((rows, columns, 3), np.uint8)
    for top in range(0, rows, BAND_ROWS):
        band = slice(top, min(rows, top + BAND_ROWS))
        padded = height[max(0, top - 1) : band.stop + 1]
        first = min(top, 1)
        inner = slice(first, first + band.stop - top)
        # Leaves transmit and scatter light, so half the true slope looks right. With the full slope, leaves
        # look like stone.
        dx = F(0.5 * px_per_m) * np.gradient(padded, axis=1)[inner]
        dy = F(-0.5 * px_per_m) * np.gradient(padded, axis=0)[inner]
        facing = (F(up) - F(right) * dx - F(ahead) * dy) / np.sqrt(1 + dx * dx + dy * dy)
        direct = np.clip(facing / F(up), 0, 1.6) * (F(STRAY) + F(1 - STRAY) * sunny[band])
        # Little skylight reaches the ground between crowns.
        open_sky = np.exp(np.minimum(height[band] - around[band], 0) / F(7))
        for channel in range(3):
            lit = F(light.sun[channel]) * direct + F(light.sky[channel]) * open_sky
            lit *= canvas.colour[channel, band]
            lit += F(light.haze[channel])
            if smoke is not None and smoke[0][band].any():
                alpha, white = smoke[0][band], smoke[1][band]
                lit += alpha * (white * F(SMOKE[channel]) - lit)
            picture[band, :, channel] = np.clip(lit * F(255) + F(0.5), 0, 255)
    return picture


def _level_around(height: Plane, *, px_per_m: float) -> Plane:
    """Average the height in a square of about 2.8 m around each pixel, at 0.4 m resolution."""
    rows, columns = height.shape
    factor = max(1, round(px_per_m / 2.5))
    small = Image.fromarray(height).reduce(factor)
    around = np.asarray(small, F)
    for axis in (0, 1):  # Pillow does not blur floats
        reach = max(1, round(2.8 * px_per_m / factor / 2))
        around = np.stack([np.roll(around, s, axis) for s in range(-reach, reach + 1)]).mean(0)
    wide = Image.fromarray(around.astype(F)).resize((columns, rows), Image.Resampling.BILINEAR)
    return np.asarray(wide, F)


def draw_smoke(
    rng: np.random.Generator, raster: Raster, plume: Plume, light: Light
) -> tuple[Plane, Plane]:
    """Draw opacity and brightness of a plume over the whole map, with billows lit by the sun."""
    coarse = Raster(raster.width_m, raster.length_m, raster.px_per_m / 4)
    big, fine, swirl = rng.spawn(3)
    billow = draw_noise(big, coarse, coarse_m=20.0, fine_m=0.8, roughness=0.62)
    wisp = draw_noise(fine, coarse, coarse_m=6.0, fine_m=0.4, roughness=0.7)
    drift = draw_noise(swirl, coarse, coarse_m=40.0, fine_m=8.0)
    xs = coarse.xs[None, :] - F(plume.source[0])
    ys = coarse.ys[:, None] - F(plume.source[1])
    sin, cos = F(np.sin(np.radians(plume.bearing_deg))), F(np.cos(np.radians(plume.bearing_deg)))
    aside, ahead = xs * cos - ys * sin, xs * sin + ys * cos
    aside = aside + np.minimum(np.maximum(ahead, 0) * F(0.06), 5) * drift
    half = F(SOURCE_M) + F(SPREAD) * np.maximum(ahead, 0)
    body = np.exp(-((aside / half) ** 2) * np.maximum(1 + F(0.3) * billow, 0.3)) * np.clip(
        (ahead + 3) / 6, 0, 1
    )
    thin = np.exp(-np.maximum(ahead, 0) / F(plume.length_m * 0.75))
    rough = np.clip(F(0.75) + F(0.42) * billow + F(0.22) * wisp, 0, 2.5)
    dense = F(plume.density) * body * thin * rough * np.clip(1.35 - ahead / F(plume.length_m), 0, 1)
    alpha = 1 - np.exp(-dense)
    right, ahead_sun, _ = light.towards()
    dx, dy = (F(coarse.px_per_m) * np.gradient(rough * body, axis=axis) for axis in (1, 0))
    white = np.clip(0.82 - F(0.7) * (dx * F(right) - dy * F(ahead_sun)) + F(0.05) * wisp, 0.5, 1.0)
    size = raster.shape[::-1]
    alpha, white = (
        np.asarray(Image.fromarray(part.astype(F)).resize(size, Image.Resampling.BILINEAR), F)
        for part in (np.minimum(alpha, F(0.93)), white)
    )
    return alpha, white
