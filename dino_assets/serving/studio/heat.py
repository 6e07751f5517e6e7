"""Heat maps for the studio: each flight's grids as pictures with their place on the ground."""

from typing import Any

import numpy as np

from dino_assets.drawing.colour_scales import ColourScale
from dino_assets.errors import MissingExtraError
from dino_assets.probes.heat_maps import HeatGrid
from dino_assets.probes.heat_maps_files import read_cog, to_degrees
from dino_assets.probes.heat_maps_picture import SCALE, draw_grid
from dino_assets.serving.studio.problems import StudioProblem
from dino_assets.serving.studio.tile_lookup import TileLookup
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.objects import ObjectStore

_STOPS = 9  # colours of the bar that explains the picture


def describe_heat_maps(store: ObjectStore, lookup: TileLookup, drop: str) -> list[dict[str, Any]]:
    """Describe the heat maps of a drop: class, threshold, and the corners of the grid in degrees.

    The list is empty if there are none, or if they cannot be opened because rasterio is not installed.
    """
    described = []
    for space in list_spaces(store, "heat_maps"):
        table = lookup.open("heat_maps", space)
        for manifest in table.manifests:
            for row in table.read(manifest.recipe.output.drop).to_pylist():
                if row["drop"] != drop:
                    continue
                try:
                    grid, epsg = _read_grid(store, manifest, row["file"])
                except MissingExtraError:
                    return []
                described.append({
                    "space": space,
                    "file": row["file"],
                    "class": row["class_name"],
                    "source": row["source"],
                    "threshold": row["threshold"],
                    "highest": row["highest"],
                    "hot_m2": row["hot_m2"],
                    "cell_m": row["cell_m"],
                    "corners": _list_corners(grid, epsg),
                })  # fmt: skip
    return described


def draw_heat_map(store: ObjectStore, lookup: TileLookup, space: str, file: str) -> bytes:
    """Draw a grid as a PNG with a pixel per cell, north up; ground that no tile shows is transparent.

    Raises:
        StudioProblem: there is no such heat map; 404.
        CorruptObjectError: its file is damaged.
    """
    if space in list_spaces(store, "heat_maps"):
        for manifest in lookup.open("heat_maps", space).manifests:
            if file.endswith(".tif") and any(part.name == file for part in manifest.parts):
                return draw_grid(_read_grid(store, manifest, file)[0])
    raise StudioProblem(404, "no-such-file", f"there is no heat map {file!r}")


def describe_scale(scale: ColourScale = SCALE) -> dict[str, Any]:
    """Describe the colours of heat maps, from the lowest to the highest number."""
    numbers = np.linspace(scale.low, scale.high, _STOPS)
    colours = ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in scale.colour(numbers).tolist()]
    return {"colours": colours, "meaning": scale.meaning, "low": scale.low, "high": scale.high}


def _read_grid(store: ObjectStore, manifest: Manifest, file: str) -> tuple[HeatGrid, int]:
    (part,) = [part for part in manifest.parts if part.name == file]
    return read_cog(read_part(store, part))


def _list_corners(grid: HeatGrid, epsg: int) -> list[list[float]]:
    """List longitude and latitude of the corners: north-west, north-east, south-east, south-west."""
    height, width = grid.scores.shape
    east, south = grid.west + width * grid.cell_m, grid.north - height * grid.cell_m
    metres = [(grid.west, grid.north), (east, grid.north), (east, south), (grid.west, south)]
    corners: list[list[float]] = to_degrees(np.array(metres), epsg).tolist()
    return corners
