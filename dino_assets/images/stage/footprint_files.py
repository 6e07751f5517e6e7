"""Footprints of a drop's images or tiles as a file for QGIS."""

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
SUFFIXES = (".geojson", ".json", ".gpkg")
_EMPTY_GEOPACKAGE_BYTES = 2**17


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
    check_target(path)
    rows = table.read(drop, [*COLUMNS[table.asset], "geometry"])
    placed = rows.filter(pc.is_valid(rows["geometry"]))
    if path.suffix.lower() == ".gpkg":
        write_geopackage(path, {f"{table.asset} {drop}": placed})
    else:
        write_geojson(path, placed)
    return placed.num_rows, rows.num_rows - placed.num_rows


def check_target(path: Path) -> None:
    """Refuse a file before anything is read for it.

    Raises:
        ConfigError: its ending says no known format, or there is no such folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"{path.name!r}: a name that ends in {', '.join(SUFFIXES)} is expected",
            setting="path",
            reason="format",
        )
    if not path.parent.exists():
        raise ConfigError(
            f"there is no folder {str(path.parent)!r} to write {path.name!r} into",
            setting="path",
            reason="no-folder",
        )


def write_geojson(path: Path, rows: pa.Table) -> None:
    """Write rows with a ``geometry`` each.

    Raises:
        TargetError: it cannot be written.
        DiskFullError: there is no room.
    """
    geometry = rows["geometry"].to_pylist()
    properties = rows.drop_columns(["geometry"]).to_pylist()
    write_target(path, encode_geojson(geometry, properties).encode())


def write_geopackage(path: Path, layers: Mapping[str, pa.Table]) -> None:
    """Write rows with a ``geometry`` each, as layers of one file; layers without rows are left out.

    Raises:
        MissingExtraError: pyogrio is not installed.
        TargetError: it cannot be written.
        DiskFullError: there is no room.
    """
    try:
        from pyogrio.errors import DataLayerError, DataSourceError
        from pyogrio.raw import write
    except ImportError:
        raise MissingExtraError("Writing a GeoPackage", extra="geo") from None
    full = {name: rows for name, rows in layers.items() if rows.num_rows} or dict(layers)
    with writing(path) as aside:
        # SQLite says of a full disk only that some table is missing.
        check_room(
            path.parent,
            _EMPTY_GEOPACKAGE_BYTES + sum(rows.nbytes for rows in full.values()),
            what=f"{str(path)!r}",
            advice="Free some, or name a place on another disk",
        )
        aside.touch()  # the operating system's own refusal says more than GDAL's
        aside.unlink()
        try:
            for name, rows in full.items():
                _write_layer(write, rows, aside, layer=name)
        except (DataLayerError, DataSourceError) as err:
            raise TargetError(
                f"cannot write {str(path)!r}: {' '.join(str(err).split())}",
                path=str(path),
                reason="refused",
            ) from err


def _write_layer(write: Callable[..., None], rows: pa.Table, path: Path, *, layer: str) -> None:
    columns = [name for name in rows.column_names if name != "geometry"]
    # By its kind a program for maps chooses how a layer is drawn.
    kind, geometry = unify_kind(rows["geometry"].to_pylist())
    write(
        str(path),
        geometry=np.array(geometry, object),
        field_data=[_fill(rows[name]).to_numpy() for name in columns],
        field_mask=[pc.is_null(rows[name]).to_numpy() for name in columns],
        fields=np.array(columns, object),
        geometry_type=kind,
        crs="EPSG:4326",
        driver="GPKG",
        layer=layer,
    )


def _fill(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whole numbers stay whole where some are missing; the mask says which."""
    return pc.fill_null(column, 0) if pa.types.is_integer(column.type) else column
