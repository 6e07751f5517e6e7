"""Where the windows of an ``images`` row lie on the ground, and the columns that say so."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.images.ground import camera as geo
from dino_assets.images.ground.geoparquet import describe_geometry, encode_wkb
from dino_assets.images.mosaics import place_mosaic_windows
from dino_assets.images.records import Georeference, PlaceQuality, View

Row = dict[str, Any]
# What of an image's row decides where its pixels lie.
POSE = (
    "latitude", "longitude", "height_m", "gimbal_yaw_deg", "gimbal_pitch_deg", "gimbal_roll_deg",
    "focal_px", "center_x_px", "center_y_px", "stored_width", "stored_height", "orientation",
    "crs", "transform", "place_quality",
)  # fmt: skip
FIELDS = (
    pa.field("place_quality", pa.string()),
    pa.field("center_longitude", pa.float64()),
    pa.field("center_latitude", pa.float64()),
    pa.field("gsd_m", pa.float64()),
    pa.field("geometry", pa.binary()),
)
# The key that makes a Parquet file a GeoParquet file.
GEO_METADATA = {b"geo": describe_geometry()}
SCALED: tuple[PlaceQuality, ...] = ("ortho", "rtk-nadir", "gps-nadir")


def pose_columns(view: View | None) -> Row:
    """A camera's view as columns of an image's row; the angles are there already."""
    if view is None:
        return {}
    return {
        "height_m": view.height_m,
        "focal_px": view.focal_px,
        "center_x_px": view.center_x_px,
        "center_y_px": view.center_y_px,
    }


def view_of(row: Row) -> View | None:
    """The camera that ``pose_columns`` wrote down, if there was one."""
    if row["height_m"] is None:
        return None
    return View(
        latitude=row["latitude"],
        longitude=row["longitude"],
        height_m=row["height_m"],
        yaw_deg=row["gimbal_yaw_deg"],
        pitch_deg=row["gimbal_pitch_deg"],
        roll_deg=row["gimbal_roll_deg"] or 0.0,
        focal_px=row["focal_px"],
        center_x_px=row["center_x_px"],
        center_y_px=row["center_y_px"],
        width=row["stored_width"],
        height=row["stored_height"],
        orientation=row["orientation"],
    )


def place_windows(row: Row, windows: NDArray[np.int32]) -> geo.Places | None:
    """Where windows (N, 4) of an image lie; None where that is not known."""
    if row["place_quality"] == "ortho":
        return place_mosaic_windows(Georeference(row["crs"], tuple(row["transform"])), windows)
    view = view_of(row)
    if view is None:
        return None
    return geo.place_windows(view, windows)


def place_columns(quality: PlaceQuality, places: geo.Places | None, count: int) -> dict[str, Any]:
    """Columns of ``FIELDS`` for some windows of one image."""
    if places is None:
        empty = [None] * count
        return {"place_quality": ["none"] * count} | {field.name: empty for field in FIELDS[1:]}
    return {
        "place_quality": [quality] * count,
        "center_longitude": _or_null(places.centers[:, 0]),
        "center_latitude": _or_null(places.centers[:, 1]),
        "gsd_m": _or_null(places.gsd_m),
        "geometry": encode_wkb(places.corners),
    }


def _or_null(values: NDArray[np.float64]) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]


def say_why_unplaced(row: Row) -> str | None:
    """What a photograph would have needed to be placed; None if it is, or is none."""
    if row.get("place_quality") != "none":
        return None
    for names, what in (
        (("latitude", "longitude"), "no GPS position"),
        (("gimbal_pitch_deg", "gimbal_yaw_deg"), "no gimbal angles"),
        (("relative_altitude_m",), "no height above the ground"),
        (("focal_px",), "no focal length"),
    ):
        if any(row.get(name) is None for name in names):
            return what
    if row.get("height_m") is None:
        return "not above the ground"
    return "the horizon is in view, or nearly"
