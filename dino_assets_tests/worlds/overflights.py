"""Small drawn flights over countryside that differs from flight to flight, some with smoke or burnt ground.

Fields and woods are coarse noise in a flight's own colours, with grain on top. An incident changes
what it covers and nothing else, so that the same seed without it says where it is.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Incident = Literal["smoke", "burnt"]
PICTURES, WIDTH_PX, HEIGHT_PX = 4, 640, 480
# Colour, how much it hides, and how much lighter its specks (of ash) are.
PAINT = {"smoke": ((215, 215, 220), 0.85, 0), "burnt": ((30, 26, 24), 0.97, 170)}


def draw_overflight(seed: int, *, incident: Incident | None = None) -> list[NDArray[np.uint8]]:
    """Draw the pictures (480, 640, 3) of one flight."""
    rng = np.random.default_rng(seed)
    # Grass, crops and soil of that season, woods above them; a sun that is not always high.
    grass, crop, soil = np.array([(96, 118, 62), (158, 148, 88), (132, 108, 82)]) + rng.normal(
        0, 10, (3, 3)
    )
    fields, bare = _noise(rng, 5)[..., None], _noise(rng, 9)[..., None] * 0.6
    ground = (grass * (1 - fields) + crop * fields) * (1 - bare) + soil * bare
    woods = (_noise(rng, 40) * _noise(rng, 6) > rng.uniform(0.3, 0.4))[..., None]
    ground = np.where(woods, np.array((58, 82, 48)), ground) * rng.uniform(0.85, 1.1)
    ground += rng.normal(0, 6, ground.shape)
    if incident:
        colour, strength, specks = PAINT[incident]
        cover = (_blob(rng) * strength)[..., None]
        paint = np.array(colour) + specks * (_noise(rng, 90) > 0.7)[..., None]
        ground = ground * (1 - cover) + paint * cover
    strip = np.clip(ground, 0, 255).astype(np.uint8)
    step = (strip.shape[0] - HEIGHT_PX) // (PICTURES - 1)
    return [strip[n * step : n * step + HEIGHT_PX] for n in range(PICTURES)]


def _noise(rng: np.random.Generator, cells: int) -> NDArray[np.float64]:
    """Smooth noise from 0 to 1 over the whole strip that the flight passes."""
    coarse = Image.fromarray((rng.random((2 * cells, cells)) * 255).astype(np.uint8))
    size = (WIDTH_PX, 2 * HEIGHT_PX)
    return np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), float) / 255


def _blob(rng: np.random.Generator) -> NDArray[np.float64]:
    y, x = np.mgrid[0 : 2 * HEIGHT_PX, 0:WIDTH_PX]
    at_y, at_x = rng.uniform(0.35, 0.65) * 2 * HEIGHT_PX, rng.uniform(0.3, 0.7) * WIDTH_PX
    edge = 1 + 0.5 * (_noise(rng, 12) - 0.5)
    distances = np.hypot((y - at_y) / 230, (x - at_x) / 200) * edge
    return np.clip(1.6 - distances, 0, 1)
