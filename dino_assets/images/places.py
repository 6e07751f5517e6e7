"""Ground positions of an image's windows, and the table columns that hold them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.images.ground import camera as geo
from dino_assets.images.ground.geoparquet import describe_geometry, encode_wkb
from dino_assets.images.mosaics import place_mosaic_windows
from dino_assets.images.records import Georeference, ImageRow, Place, PlaceQuality, View
from dino_assets.store.commits.columns import columns_of

PLACE = pa.schema(columns_of(Place))
# The key that makes a Parquet file a GeoParquet file.
GEO_METADATA = {b"geo": describe_geometry()}
# Qualities of images with one known scale. Even if a picture was turned (edited-nadir), its scale is the
# same.
SCALED: tuple[PlaceQuality, ...] = ("ortho", "rtk-nadir", "gps-nadir", "edited-nadir")


@dataclass(frozen=True, slots=True)
class StoredView:
    """A camera view, as the columns of the table ``images`` store it.

    A row without ``height_m`` has no view.
    """

    latitude: float
    longitude: float
    height_m: float
    gimbal_yaw_deg: float
    gimbal_pitch_deg: float
    gimbal_roll_deg: float | None
    focal_px: float
    center_x_px: float
    center_y_px: float
    stored_width: int
    stored_height: int
    orientation: int
    turned_deg: int | None

    def restore(self) -> View:
        """Make a ``View`` from the stored columns."""
        return View(
            latitude=self.latitude,
            longitude=self.longitude,
            height_m=self.height_m,
            yaw_deg=self.gimbal_yaw_deg,
            pitch_deg=self.gimbal_pitch_deg,
            roll_deg=self.gimbal_roll_deg or 0.0,
            focal_px=self.focal_px,
            center_x_px=self.center_x_px,
            center_y_px=self.center_y_px,
            width=self.stored_width,
            height=self.stored_height,
            orientation=self.orientation,
            turned_deg=self.turned_deg or 0,
        )


def place_windows(
    windows: NDArray[Any], *, view: View | None, georeference: Georeference | None
) -> geo.Places | None:
    """Compute where windows (N, 4) of a photograph or mosaic lie on the ground.

    A photograph is placed by its ``view``, a mosaic by its ``georeference``. Return None if both are None.
    """
    if georeference is not None:
        return place_mosaic_windows(georeference, windows)
    return None if view is None else geo.place_windows(view, windows)


def describe_places(
    quality: PlaceQuality, places: geo.Places | None, *, count: int
) -> pa.RecordBatch:
    """Make the columns of ``PLACE`` for the ``count`` windows of one image, one row per window.

    If ``places`` is None, the quality is ``none`` in every row, and the other columns are null.
    """
    if places is None:
        nulls = [pa.nulls(count, column.type) for column in list(PLACE)[1:]]
        return pa.record_batch([pa.array(["none"] * count, pa.string()), *nulls], schema=PLACE)
    return pa.record_batch(
        [
            pa.array([quality] * count, pa.string()),
            *(
                pa.array(values, mask=~np.isfinite(values))
                for values in (*places.centers.T, places.gsd_m)
            ),
            pa.array(encode_wkb(places.corners), pa.binary()),
        ],
        schema=PLACE,
    )


def explain_unplaced(row: ImageRow) -> str | None:
    """Return why a photograph has no ground position; None if it has a position, or if its file is unusable."""
    if row.place.place_quality != "none":
        return None
    capture = row.capture
    for values, what in (
        ((capture.latitude, capture.longitude), "no GPS position"),
        ((capture.gimbal_pitch_deg, capture.gimbal_yaw_deg), "no gimbal angles"),
        ((capture.relative_altitude_m,), "no height above the ground"),
        ((capture.focal_px,), "no focal length"),
    ):
        if None in values:
            return what
    if row.height_m is None:
        return "not above the ground"
    return "the horizon is in view or close to it"
