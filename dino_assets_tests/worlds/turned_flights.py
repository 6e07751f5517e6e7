"""Flights over one drawn ground, with pictures that somebody turned in a viewer afterwards."""

import io
from datetime import datetime, timedelta

import numpy as np
from PIL import Image

from dino_assets.demo.flights.camera import Camera, Pose, Site, take_picture
from dino_assets.demo.flights.tags import Exposure, write_exif, write_xmp
from dino_assets.demo.flights.terrain import Raster

CAMERA = Camera(400, 300)
PLACE = Site(47.0, 11.0, elevation_m=550.0, bearing_deg=38.0)
ALTITUDE_M = 50.0  # so a picture shows 85 m × 64 m
VIEWER = "Photo Viewer"
_RASTER = Raster(330.0, 330.0, 1 / CAMERA.ground_px_m(ALTITUDE_M))
_START = datetime(2024, 6, 14, 10)  # noqa: DTZ001 - EXIF has no zone
_TURNS = {
    90: Image.Transpose.ROTATE_270,  # Pillow turns against the clock
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}


def draw_ground(seed: int = 0, *, contrast: float = 1.0) -> Image.Image:
    """Draw fields, bushes and grain, coarse to fine; without contrast only the sensor's noise is seen."""
    rng = np.random.default_rng(seed)
    height, width = _RASTER.shape
    values = np.zeros((height, width), np.float32)
    for cells, strength in ((12, 40), (60, 30), (240, 25)):
        noise = rng.normal(0, strength, (cells, cells)).astype(np.float32)
        values += np.asarray(Image.fromarray(noise).resize((width, height)))
    gray = np.clip(120 + contrast * values, 0, 255).astype(np.uint8)
    return Image.fromarray(gray).convert("RGB")


def photograph(
    ground: Image.Image,
    number: int,
    *,
    at: tuple[float, float],
    heading_deg: float = 0.0,
    turned_deg: int | None = None,
) -> bytes:
    """A picture straight down from ``at`` (metres on the ground's map).

    ``turned_deg`` (clockwise): how a viewer turned the pixels and wrote the file anew, 0 too. All else
    that the file says stays as the camera wrote it.
    """
    pose = Pose(*at, ALTITUDE_M, heading_deg)
    rng = np.random.default_rng(number)
    picture = take_picture(rng, ground, _RASTER, camera=CAMERA, pose=pose)
    longitude, latitude = PLACE.to_degrees(np.array([at]))[0]
    taken_at = _START + timedelta(seconds=5 * number)
    yaw_deg = PLACE.bearing_deg + heading_deg
    position = float(latitude), float(longitude), PLACE.elevation_m + ALTITUDE_M, ALTITUDE_M
    capture = Exposure(f"DJI_{number:04d}.JPG", taken_at, *position, yaw_deg, 0.0, 0.0)
    sink = io.BytesIO()
    exif, xmp = write_exif(CAMERA, capture), write_xmp(capture)
    picture.save(sink, "JPEG", quality=92, exif=exif, xmp=xmp)
    data = sink.getvalue()
    return data if turned_deg is None else turn_in_viewer(data, turned_deg)


def turn_in_viewer(data: bytes, turned_deg: int, *, orientation: int = 1) -> bytes:
    """Turn a JPEG's pixels clockwise and write it anew, a day later by its EXIF.

    Other viewers leave the pixels alone and write an orientation.
    """
    with Image.open(io.BytesIO(data)) as picture:
        exif, xmp = picture.getexif(), picture.info["xmp"]
        exif[0x0112], exif[0x0131] = orientation, VIEWER
        written_at = datetime.strptime(exif[0x0132], "%Y:%m:%d %H:%M:%S") + timedelta(days=1)  # noqa: DTZ007
        exif[0x0132] = written_at.strftime("%Y:%m:%d %H:%M:%S")
        turned_picture = picture.transpose(_TURNS[turned_deg]) if turned_deg else picture
        sink = io.BytesIO()
        turned_picture.save(sink, "JPEG", quality=92, exif=exif, xmp=xmp)
    return sink.getvalue()
