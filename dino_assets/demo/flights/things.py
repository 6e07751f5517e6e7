"""Objects on a drawn map: houses, cars, bales, trunks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_assets.demo.flights.terrain import Canvas, Colour, F, Outline, Plane, Window


@dataclass(frozen=True)
class House:
    """A gabled house: middle, length and width in metres, the ridge's bearing on the map."""

    x: float
    y: float
    length_m: float
    width_m: float
    bearing_deg: float
    roof: Colour
    eaves_m: float = 3.5

    def outline(self) -> Outline:
        """Compute the four corners."""
        turn = np.radians(self.bearing_deg)
        ahead = np.array([np.sin(turn), np.cos(turn)]) * self.length_m / 2
        aside = np.array([np.cos(turn), -np.sin(turn)]) * self.width_m / 2
        corners = [ahead + aside, ahead - aside, -ahead - aside, -ahead + aside]
        return np.asarray(np.array(corners) + np.array([self.x, self.y]))


def build_house(canvas: Canvas, house: House) -> None:
    """Draw a house: two roof slopes with rows of tiles, a ridge, a gutter and a chimney."""
    window, aside, ahead = _around(canvas, house.outline(), (house.x, house.y), house.bearing_deg)
    grain = canvas.grain[window]
    roof = (np.abs(aside) < house.width_m / 2) & (np.abs(ahead) < house.length_m / 2)
    slope = house.width_m / 2 - np.abs(aside)
    courses, joints = np.sin(slope * F(2 * np.pi / 0.42)), np.sin(ahead * F(2 * np.pi / 0.3))
    tiles = 0.05 * np.sign(courses) + 0.05 * joints
    _raise(canvas, window, roof, house.eaves_m + 0.75 * slope)
    canvas.paint(window, roof.astype(F), house.roof)
    canvas.vary(window, roof.astype(F), tiles + 0.06 * grain + 0.08 * canvas.broad[window])
    for line in (np.abs(aside) < 0.16, slope < 0.14):
        canvas.paint(window, (roof & line) * F(0.5), (0.30, 0.26, 0.24))
    beside, before = aside - house.width_m * 0.2, ahead - house.length_m * 0.25
    chimney = (np.abs(beside) < 0.4) & (np.abs(before) < 0.5)
    _raise(canvas, window, chimney, np.full_like(slope, house.eaves_m + 0.4 * house.width_m))
    canvas.paint(window, chimney.astype(F), (0.50, 0.40, 0.36))


def park_car(canvas: Canvas, at: tuple[float, float], *, bearing_deg: float, paint: Colour) -> None:
    """Draw a car: body, cabin roof, dark windscreens."""
    corners = House(*at, 4.6, 1.9, bearing_deg, paint).outline()
    window, aside, ahead = _around(canvas, corners, at, bearing_deg)
    body = (np.abs(aside) < 0.9) & (np.abs(ahead) < 2.2)
    glass = (np.abs(aside) < 0.75) & (np.abs(ahead + 0.2) < 1.5)
    cabin = (np.abs(aside) < 0.7) & (np.abs(ahead + 0.25) < 0.85)
    _raise(canvas, window, body, np.full_like(aside, 0.9))
    for part, colour in ((body, paint), (glass, (0.10, 0.12, 0.14)), (cabin, paint)):
        canvas.paint(window, part.astype(F), colour)
    _raise(canvas, window, cabin, np.full_like(aside, 1.4))


def lay_bale(canvas: Canvas, at: tuple[float, float], *, bearing_deg: float) -> None:
    """Draw a round bale of straw on its side."""
    corners = House(*at, 1.5, 1.5, bearing_deg, (0, 0, 0)).outline()
    window, aside, ahead = _around(canvas, corners, at, bearing_deg)
    bale = (np.abs(aside) < 0.7) & (np.abs(ahead) < 0.65)
    _raise(canvas, window, bale, 0.7 + np.sqrt(np.maximum(0.49 - aside**2, 0)))
    canvas.paint(window, bale.astype(F), (0.80, 0.70, 0.44))
    canvas.vary(window, bale.astype(F), 0.12 * np.sin(ahead * F(30)))


def drop_trunk(
    canvas: Canvas, at: tuple[float, float], *, bearing_deg: float, length_m: float, colour: Colour
) -> None:
    """Draw a trunk on the ground."""
    corners = House(*at, length_m, 1.0, bearing_deg, colour).outline()
    window, aside, ahead = _around(canvas, corners, at, bearing_deg)
    # Thinner towards the top, never thinner than a pixel.
    half = np.maximum(0.34 - 0.2 * (ahead / F(length_m) + F(0.5)), 0.5 / canvas.raster.px_per_m)
    trunk = (np.abs(aside) < half) & (np.abs(ahead) < length_m / 2)
    _raise(canvas, window, trunk, np.sqrt(np.maximum(half**2 - aside**2, 0)) * 2)
    canvas.paint(window, trunk.astype(F), colour)
    canvas.vary(window, trunk.astype(F), 0.25 * canvas.grain[window])


def _around(
    canvas: Canvas, corners: Outline, at: tuple[float, float], bearing_deg: float
) -> tuple[Window, Plane, Plane]:
    """Find the window around ``corners``, and the position of its pixels relative to ``at`` and a bearing.

    Returns the window, and each pixel's metres to the right of the bearing and metres along it.
    """
    window = canvas.raster.window(corners, margin_m=0.5)
    xs = canvas.raster.xs[window[1]][None, :] - F(at[0])
    ys = canvas.raster.ys[window[0]][:, None] - F(at[1])
    sin, cos = F(np.sin(np.radians(bearing_deg))), F(np.cos(np.radians(bearing_deg)))
    return window, xs * cos - ys * sin, xs * sin + ys * cos


def _raise(canvas: Canvas, window: Window, where: NDArray[np.bool_], to_m: Plane) -> None:
    ground = canvas.height[window]
    ground[where] = to_m.astype(F)[where]
