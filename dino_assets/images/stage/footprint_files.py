"""Footprint files (GeoJSON, GeoPackage) of a drop's images or tiles, for QGIS."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dino_assets.errors import ConfigError, MissingExtraError, TargetError
from dino_assets.images.ground.geoparquet import encode_geojson, unify_kind
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.store.folders import check_room
from dino_assets.store.targets import write_target, writing

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
BOX_COLUMNS = ("box_class", "box_score")  # of tiles that are a detector's boxes
SUFFIXES = (".geojson", ".json", ".gpkg")
WGS_84 = "EPSG:4326"
_EMPTY_GEOPACKAGE_BYTES = 2**17
# The date of the last change, which GDAL would write: with it, equal layers would differ.
_DATE, _SAME_DATE = "OGR_CURRENT_DATE", "2000-01-01T00:00:00.000Z"


def write_footprints(table: CommittedTable, drop: str, *, path: Path) -> tuple[int, int]:
    """Write a drop's footprints to a file; return how many rows have a footprint, and how many have none.

    An existing file is replaced when the new one is complete.

    Raises:
        ConfigError: the asset has no footprints, the file's suffix is unknown, or its folder does not exist.
        NotCommittedError: the drop is not committed.
        MissingExtraError: the file is a GeoPackage, and pyogrio is not installed.
    """
    if table.asset not in COLUMNS:
        raise ConfigError(
            f"{table.asset!r} has no footprints; choose {' or '.join(COLUMNS)}",
            setting="asset",
            value=table.asset,
        )
    check_target(path)
    is_boxed = "boxes" in table.manifest(drop).recipe.inputs
    columns = [*COLUMNS[table.asset], *(BOX_COLUMNS if is_boxed else ())]
    rows = table.read(drop, [*columns, "geometry"])
    placed = rows.filter(pc.is_valid(rows["geometry"]))
    if path.suffix.lower() == ".gpkg":
        write_geopackage(path, {f"{table.asset} {drop}": placed})
    else:
        write_geojson(path, placed)
    return placed.num_rows, rows.num_rows - placed.num_rows


def check_target(path: Path) -> None:
    """Check the path of a footprint file that is to be written, before any rows are read.

    Raises:
        ConfigError: the suffix is unknown, or the folder does not exist.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"cannot write {path.name!r}: expected a name that ends in {', '.join(SUFFIXES)}",
            setting="path",
            reason="format",
        )
    if not path.parent.exists():
        raise ConfigError(
            f"cannot write {path.name!r}: there is no folder {str(path.parent)!r}. Create it first",
            setting="path",
            reason="no-folder",
        )


def write_geojson(path: Path, rows: pa.Table) -> None:
    """Write rows as GeoJSON; their column ``geometry`` holds WKB.

    Raises:
        TargetError: the file cannot be written.
        DiskFullError: the disk has too little room.
    """
    geometry = rows["geometry"].to_pylist()
    properties = rows.drop_columns(["geometry"]).to_pylist()
    write_target(path, encode_geojson(geometry, properties).encode())


def write_geopackage(path: Path, layers: Mapping[str, pa.Table], *, crs: str = WGS_84) -> None:
    """Write tables as layers of one GeoPackage; their column ``geometry`` holds WKB in the system ``crs``, or null.

    Tables without rows are left out. If no table has rows, all of them become empty layers. Equal tables give
    equal bytes.

    Raises:
        MissingExtraError: pyogrio is not installed.
        TargetError: the file cannot be written.
        DiskFullError: the disk has too little room.
    """
    try:
        from pyogrio import get_gdal_config_option, set_gdal_config_options
        from pyogrio.errors import DataLayerError, DataSourceError
        from pyogrio.raw import write
    except ImportError:
        raise MissingExtraError("Writing a GeoPackage", extra="geo") from None
    full = {name: rows for name, rows in layers.items() if rows.num_rows} or dict(layers)
    with writing(path) as aside:
        # The room is checked first, because on a full disk SQLite only reports a missing table.
        check_room(
            path.parent,
            _EMPTY_GEOPACKAGE_BYTES + sum(rows.nbytes for rows in full.values()),
            what=f"{str(path)!r}",
            advice="Free some, or choose a folder on another disk",
        )
        aside.touch()  # an error of the operating system is more precise than GDAL's
        aside.unlink()
        before = get_gdal_config_option(_DATE)
        try:
            set_gdal_config_options({_DATE: _SAME_DATE})
            for name, rows in full.items():
                _write_layer(write, rows, aside, layer=name, crs=crs)
        except (DataLayerError, DataSourceError) as err:
            raise TargetError(
                f"cannot write {str(path)!r}: {' '.join(str(err).split())}",
                path=str(path),
                reason="refused",
            ) from err
        finally:
            set_gdal_config_options({_DATE: before})


def _write_layer(
    write: Callable[..., None], rows: pa.Table, path: Path, *, layer: str, crs: str
) -> None:
    columns = [name for name in rows.column_names if name != "geometry"]
    # Map programs choose a layer's drawing style by its geometry type.
    stored = rows["geometry"].to_pylist()
    kind, areas = unify_kind([each for each in stored if each is not None])
    geometry = iter(areas)
    write(
        str(path),
        geometry=np.array([each and next(geometry) for each in stored], object),
        field_data=[_fill(rows[name]).to_numpy() for name in columns],
        field_mask=[pc.is_null(rows[name]).to_numpy() for name in columns],
        fields=np.array(columns, object),
        geometry_type=kind,
        crs=crs,
        driver="GPKG",
        layer=layer,
    )


def _fill(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Fill missing whole numbers with 0, so that the column keeps its type; the caller's mask marks them."""
    return pc.fill_null(column, 0) if pa.types.is_integer(column.type) else column
