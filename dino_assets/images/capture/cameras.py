"""Focal length of a camera in pixels, from a photograph's metadata.

With the focal length and the height, the size of the ground in the picture can be computed.
"""

import csv
import io
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_FULL_FRAME_DIAGONAL_MM = math.hypot(36, 24)
_WIDE = 1.55  # pictures wider than 3:2 are cropped from a taller sensor
_WHOLE_SENSOR = 4 / 3
_SAME_LENS = 0.05
_OFF_MIDDLE = 0.03  # of a side: no factory calibration's principal point is farther from the middle
_SAME_SCALE = 2 * _OFF_MIDDLE
# No drone's lens is outside these limits (in picture widths): 7 mm to 1,800 mm, 35 mm equivalent.
_LEAST_WIDTHS, _MOST_WIDTHS = 0.2, 50.0
_MOST_PX = 1e6
# Long sides of 640 thermal elements, 12 or 17 micrometres each; no colour camera has these.
_THERMAL_SENSORS_MM = (7.68, 10.88)
_PREFIXES = ("PHANTOM VISION ", "SKYDIO ", "DJI ")


@dataclass(frozen=True)
class Optics:
    """A photograph's metadata about its lens; calibrated values are in pixels of the picture as shot."""

    model: str | None = None
    focal_mm: float | None = None
    focal_35mm: float | None = None
    digital_zoom: float | None = None
    calibrated_px: float | None = None
    calibrated_center_x_px: float | None = None
    calibrated_center_y_px: float | None = None
    plane_px_per_mm: float | None = None
    shot_width: int | None = None  # the picture's width when it was shot, by EXIF


def find_focal_px(optics: Optics, *, width: int, height: int) -> tuple[float, str] | None:
    """Find the focal length in pixels of the picture as stored, and the name of its source; None if unknown.

    The first source that has a value counts: the factory's calibration, EXIF's focal plane, a table of drone
    cameras, the 35 mm equivalent. The 35 mm equivalent refers to the diagonal of the whole sensor. So a
    picture wider than 3:2 counts as cropped from the full width of a 4:3 sensor. For an FC300S at 4000×2250
    the result is 1.3 % off the sensor's data sheet; with the picture's own diagonal it would be 9 % off.
    """
    long_px = max(width, height)
    zoom = optics.digital_zoom or 1.0
    if not (math.isfinite(zoom) and 1 <= zoom <= 100):
        zoom = 1.0
    for focal_px, source in (
        (_calibrated(optics, width, height), "calibration"),
        (_from_plane(optics, long_px), "focal plane"),
        (_from_table(optics, long_px), "camera table"),
        (_from_35mm(optics, width, height), "35 mm equivalent"),
    ):
        # Outside these limits the metadata is wrong.
        if focal_px is None or not _LEAST_WIDTHS * long_px <= focal_px <= _MOST_WIDTHS * long_px:
            continue
        return (focal_px * zoom, source) if focal_px * zoom <= _MOST_PX else None
    return None


def find_resize(optics: Optics, *, width: int, height: int) -> float:
    """Find a picture's size relative to its size when it was shot: 0.5 if a tool halved its sides.

    The calibrated principal point lies in the middle of the picture as shot, within a few percent, so it
    tells the size of that picture. Tools that resize keep the point but rewrite EXIF's width. If the two
    sides have different scales, the picture was cropped. Then the larger scale counts, which is that of the
    uncropped side: 1 for 16:9 cropped from 3:2. If the point is unknown, EXIF's width is used. If that is
    unknown, too, the result is 1.
    """
    long_px = max(width, height)
    center = optics.calibrated_center_x_px
    sides = _compare_sides(optics, width=width, height=height)
    if sides is not None:
        scale = sides[0] if _are_alike(*sides) else max(sides)
    elif center is not None and center > 0:
        scale = long_px / (2 * center)
    else:
        return long_px / optics.shot_width if optics.shot_width else 1.0
    return 1.0 if _are_alike(scale, 1.0) else scale


def find_center_px(optics: Optics, *, width: int, height: int) -> tuple[float, float] | None:
    """Find a picture's calibrated principal point; None if unknown, or after a crop or a quarter turn.

    The metadata does not say which part was cut off, so callers then use the picture's middle.
    """
    x, y = optics.calibrated_center_x_px, optics.calibrated_center_y_px
    if x is None or y is None:
        return None
    scale = find_resize(optics, width=width, height=height)
    x, y = x * scale, y * scale
    is_near = abs(x / width - 0.5) <= _OFF_MIDDLE and abs(y / height - 0.5) <= _OFF_MIDDLE
    return (x, y) if is_near else None


def find_sensor_mm(model: str | None, focal_mm: float | None) -> float | None:
    """Find the length in mm of the sensor's long side; None if camera and lens are not in ``cameras.csv``."""
    if model is None or focal_mm is None:
        return None
    name = model.strip().upper()
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    for lens_mm, sensor_mm in _read_cameras().get(name, ()):
        if lens_mm is None or abs(focal_mm / lens_mm - 1) <= _SAME_LENS:
            return sensor_mm
    return None


@cache
def _read_cameras() -> dict[str, list[tuple[float | None, float]]]:
    """Read ``cameras.csv``: by EXIF model, each lens' focal length and its sensor's long side in mm.

    The values come from data sheets and calibrations. A camera with several lenses has one row per focal
    length; with interchangeable lenses, the focal length is empty. Zoom lenses have no row, because the
    millimetres that they state fit no sensor.
    """
    table = files("dino_assets.images.capture").joinpath("cameras.csv").read_text()
    cameras: dict[str, list[tuple[float | None, float]]] = {}
    for row in csv.DictReader(io.StringIO(table)):
        focal_mm = float(row["focal_mm"]) if row["focal_mm"] else None
        cameras.setdefault(row["model"], []).append((focal_mm, float(row["sensor_mm"])))
    return cameras


def is_thermal_lens(model: str | None, focal_mm: float | None) -> bool:
    """Check whether ``cameras.csv`` gives a thermal sensor for this camera and focal length."""
    return find_sensor_mm(model, focal_mm) in _THERMAL_SENSORS_MM


def _calibrated(optics: Optics, width: int, height: int) -> float | None:
    if optics.calibrated_px is None:
        return None
    return optics.calibrated_px * find_resize(optics, width=width, height=height)


def _compare_sides(optics: Optics, *, width: int, height: int) -> tuple[float, float] | None:
    """Divide a picture's long and short side by those that the calibrated principal point implies.

    Return None if the principal point is not known.
    """
    x, y = optics.calibrated_center_x_px, optics.calibrated_center_y_px
    if x is None or y is None or x <= 0 or y <= 0:
        return None
    # Compare long with long and short with short: a picture may be stored in portrait format, while its
    # calibration is always for landscape format.
    return max(width, height) / (2 * max(x, y)), min(width, height) / (2 * min(x, y))


def _are_alike(some: float, other: float) -> bool:
    return abs(some - other) <= _SAME_SCALE * other


def _from_plane(optics: Optics, long_px: int) -> float | None:
    if optics.plane_px_per_mm is None or optics.focal_mm is None:
        return None
    shot_px = optics.shot_width or long_px
    return optics.focal_mm * optics.plane_px_per_mm * long_px / shot_px


def _from_table(optics: Optics, long_px: int) -> float | None:
    sensor_mm = find_sensor_mm(optics.model, optics.focal_mm)
    if sensor_mm is None or optics.focal_mm is None:
        return None
    return optics.focal_mm / sensor_mm * long_px


def _from_35mm(optics: Optics, width: int, height: int) -> float | None:
    if optics.focal_35mm is None:
        return None
    long_px, short_px = max(width, height), min(width, height)
    whole_px = long_px / _WHOLE_SENSOR if long_px / short_px > _WIDE else short_px
    return optics.focal_35mm / _FULL_FRAME_DIAGONAL_MM * math.hypot(long_px, whole_px)
