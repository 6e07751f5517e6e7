"""Footprints of a drop's images or tiles as a file for QGIS."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dino_assets.errors import ConfigError, MissingExtraError
from dino_assets.images.ground.geoparquet import encode_geojson
from dino_assets.store.commits.reading import CommittedTable

COLUMNS = {
    "images": (
        "drop", "path", "image_id", "label", "taken", "model", "relative_altitude_m", "height_m",
        "gsd_m", "place_quality", "thermal", "sharpness", "exposure_ev",
    ),
    "tiles": (
        "tile_id", "image_id", "path", "x", "y", "w", "h", "side_px", "span_px", "gsd_m",
        "place_quality", "is_padded",
    ),
}  # fmt: skip
SUFFIXES = (".geojson", ".json", ".gpkg")


def write_footprints(table: CommittedTable, drop: str, *, path: Path) -> tuple[int, int]:
    """Write all footprints; gives how many rows have one, and how many have none.

    A file of that name is replaced when the new one is complete.

    Raises:
        ConfigError: the asset has no footprints, or the file's ending says no known format.
        NotCommittedError: the drop is not committed.
        MissingExtraError: a GeoPackage, and pyogrio is not installed.
    """
    if table.asset not in COLUMNS:
        raise ConfigError(
            f"{table.asset!r} has no footprints; {' and '.join(COLUMNS)} have",
            setting="asset",
            value=table.asset,
        )
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"{path.name!r}: a name that ends in {', '.join(SUFFIXES)} is expected",
            setting="path",
            reason="format",
        )
    if not path.parent.is_dir():
        raise ConfigError(
            f"there is no folder {str(path.parent)!r} to write {path.name!r} into",
            setting="path",
            reason="no-folder",
        )
    rows = table.read(drop, [*COLUMNS[table.asset], "geometry"])
    placed = rows.filter(pc.is_valid(rows["geometry"]))
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        if path.suffix.lower() == ".gpkg":
            _write_geopackage(placed, unfinished, layer=f"{table.asset} {drop}")
        else:
            geometry = placed["geometry"].to_pylist()
            properties = placed.drop_columns(["geometry"]).to_pylist()
            unfinished.write_text(encode_geojson(geometry, properties), encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return placed.num_rows, rows.num_rows - placed.num_rows


def _write_geopackage(rows: pa.Table, path: Path, *, layer: str) -> None:
    try:
        from pyogrio.raw import write
    except ImportError:
        raise MissingExtraError("Writing a GeoPackage", extra="geo") from None
    columns: Mapping[str, Any] = {
        name: rows[name].to_numpy(zero_copy_only=False)
        for name in rows.column_names
        if name != "geometry"
    }
    write(
        str(path),
        geometry=np.array(rows["geometry"].to_pylist(), object),
        field_data=list(columns.values()),
        fields=np.array(list(columns), object),
        geometry_type="Unknown",  # polygons, and what crosses the antimeridian is two of them
        crs="EPSG:4326",
        driver="GPKG",
        layer=layer,
    )
