"""Picture of heat maps: one panel per flight and class, in one colour scale."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dino_assets.drawing.colour_scales import ColourScale
from dino_assets.drawing.lettering import encode_picture
from dino_assets.drawing.panels import Panel, draw_panels
from dino_assets.probes.heat_maps import HeatGrid

PANEL_PX = 360
_COLUMNS = 3
_EMPTY = (255, 255, 255)
SCALE = ColourScale(
    0.0, 1.0, "probability; of a prototype: 0.5 in the top 10 % of tiles, 1 in the top 1 %"
)


@dataclass(frozen=True, eq=False)
class HeatPanel:
    """A grid to draw, with its caption."""

    grid: HeatGrid
    caption: str


def draw_heat_maps(
    panels: Sequence[HeatPanel], *, title: str, notes: Sequence[str], caveat: str = ""
) -> bytes:
    """Draw grids as a PNG, north up; ground that no tile shows is white."""
    drawn = [Panel(_draw(each.grid), each.caption) for each in panels]
    rows = [drawn[first : first + _COLUMNS] for first in range(0, len(drawn), _COLUMNS)]
    picture = draw_panels(rows, title=title, notes=notes, caveat=caveat, scale=SCALE)
    return encode_picture(picture, "PNG", optimize=True)


def draw_grid(grid: HeatGrid) -> bytes:
    """Draw a grid as a PNG with a pixel per cell, north up; ground that no tile shows is transparent."""
    is_shown = ~np.isnan(grid.scores)
    colours = SCALE.colour(np.nan_to_num(grid.scores))
    pixels = np.dstack([colours, np.where(is_shown, 255, 0).astype(np.uint8)])
    return encode_picture(Image.fromarray(pixels), "PNG", optimize=True)


def _draw(grid: HeatGrid) -> Image.Image:
    is_shown = ~np.isnan(grid.scores)
    pixels = np.where(is_shown[..., None], SCALE.colour(np.nan_to_num(grid.scores)), _EMPTY)
    picture = Image.fromarray(pixels.astype(np.uint8))
    factor = PANEL_PX / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    way = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX
    return picture.resize(size, way)
