"""Export of heat maps for map programs: GeoTIFF, GeoPackage with a QGIS style, and a picture."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from dino_assets.images.stage.footprint_files import write_geopackage
from dino_assets.probes.heat_maps_files import make_style, to_degrees
from dino_assets.probes.heat_maps_picture import HeatPanel, draw_heat_maps
from dino_assets.probes.stage.heat_maps import HeatMap
from dino_assets.store.targets import write_target


def export_heat_map(heat_map: HeatMap, folder: Path, *, caveat: str = "") -> Iterator[Path]:
    """Write the files of a heat map; yield the path of each: .tif, .png, .gpkg and .qml.

    Raises:
        TargetError: the folder cannot be written.
        DiskFullError: the disk is full.
        MissingExtraError: pyogrio is not installed.
    """
    stem = folder / heat_map.stem
    source, threshold = heat_map.scores.source, heat_map.scores.threshold

    def name(suffix: str) -> Path:
        return stem.with_name(f"{stem.name}{suffix}")

    write_target(name(".tif"), heat_map.encode())
    yield name(".tif")
    panel = HeatPanel(heat_map.grid, f"{heat_map.drop}: {source.name}")
    title = f"{source.name} in {heat_map.drop}"
    notes = [f"hot from {threshold.score:.3f}, chosen by {threshold.chosen_by}"]
    write_target(name(".png"), draw_heat_maps([panel], title=title, notes=notes, caveat=caveat))
    yield name(".png")
    write_geopackage(
        name(".gpkg"), {stem.name: tabulate_hot_ground(heat_map)}, crs=f"EPSG:{heat_map.epsg}"
    )
    yield name(".gpkg")
    write_target(name(".qml"), make_style(threshold.score, label=source.name).encode())
    yield name(".qml")


def tabulate_hot_ground(heat_map: HeatMap) -> pa.Table:
    """List the hot ground of a map as rows with outlines, hottest first."""
    middles = np.array([(each.east, each.north) for each in heat_map.hot]).reshape(-1, 2)
    degrees = to_degrees(middles, heat_map.epsg) if len(middles) else middles
    hot = heat_map.hot
    return pa.table(
        {
            "class_name": pa.array([heat_map.scores.source.name] * len(hot), pa.string()),
            "score": pa.array([each.score for each in hot], pa.float64()),
            "mean_score": pa.array([each.mean_score for each in hot], pa.float64()),
            "photographs": pa.array([each.photographs for each in hot], pa.int32()),
            "area_m2": pa.array([each.area_m2 for each in hot], pa.float64()),
            "longitude": pa.array(degrees[:, 0]),
            "latitude": pa.array(degrees[:, 1]),
            "geometry": pa.array([each.outline for each in hot], pa.binary()),
        }
    )
