"""Georeference of a mosaic, and ground positions of its windows."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.errors import ConfigError
from dino_assets.images.ground.camera import Places
from dino_assets.images.mosaics.opening import enter_gdal
from dino_assets.images.records import Georeference
from dino_assets.numerics.earth import measure_areas_m2

if TYPE_CHECKING:
    from rasterio import DatasetReader


def find_georeference(dataset: "DatasetReader") -> tuple[Georeference | None, list[str]]:
    """Find a mosaic's georeference (None if it has none), and notes that explain what is missing."""
    affine = dataset.transform
    if affine.is_identity:
        points = len(dataset.gcps[0])
        only = f", only {points} ground control points" if points else ""
        return None, [f"not placed: no georeference{only}"]
    if dataset.crs is None:
        return None, ["not placed: it has no coordinate system"]
    if affine.is_degenerate:
        return None, ["not placed: its pixels have no area"]
    # Only an exact match: by default rasterio may return a similar system for a custom one.
    code = dataset.crs.to_epsg(confidence_threshold=100)
    crs = f"EPSG:{code}" if code else dataset.crs.to_wkt()
    georeference = Georeference(crs, tuple(affine)[:6])
    whole = np.array([[0, 0, dataset.width, dataset.height]])
    try:
        places = place_mosaic_windows(georeference, whole)
    except ConfigError as err:
        return None, [f"not placed: {err}"]
    if not (np.abs(places.corners) <= (360, 90)).all():
        return None, ["not placed: its corners are outside its coordinate system"]
    if not np.isfinite(places.gsd_m).all():
        return georeference, ["too large for a single ground size per pixel"]
    return georeference, []


def place_mosaic_windows(georeference: Georeference, windows: NDArray[Any]) -> Places:
    """Compute the ground positions of windows (N, 4) of a mosaic, in WGS 84.

    The ground size per pixel is measured on the ellipsoid. It is NaN for a window of more than 1,000 km,
    whose pixels have no single size.

    Raises:
        ConfigError: the coordinate system cannot be converted to WGS 84.
        MissingExtraError: rasterio is not installed.
    """
    x, y, w, h = np.asarray(windows, np.float64).reshape(-1, 4).T
    columns = np.stack([x, x + w, x + w, x, x + w / 2], axis=1)
    rows = np.stack([y, y, y + h, y + h, y + h / 2], axis=1)
    a, b, c, d, e, f = georeference.transform
    east, north = a * columns + b * rows + c, d * columns + e * rows + f
    with enter_gdal():
        from rasterio._err import CPLE_BaseError
        from rasterio.errors import RasterioError
        from rasterio.warp import transform

        try:
            placed = transform(georeference.crs, "EPSG:4326", east.ravel(), north.ravel())
        except (RasterioError, CPLE_BaseError) as err:
            message = "its coordinate system cannot be converted to WGS 84"
            raise ConfigError(message, setting="crs", value=georeference.crs) from err
    points = np.asarray(placed[:2], np.float64).T.reshape(-1, 5, 2)
    east_of_180 = points[..., 0] > 180  # some systems count to 360
    points[..., 0] -= 360 * east_of_180
    corners, centers = points[:, :4], points[:, 4]
    return Places(corners, centers, np.sqrt(measure_areas_m2(corners, centers) / (w * h)))
