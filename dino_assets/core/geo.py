"""Where a picture, and a pixel of it, lies on the ground: flat ground, camera straight down."""

import io
import math
import re
from dataclasses import dataclass

from PIL import Image

_EARTH_M_PER_DEG = 111_320.0  # along a meridian; 0.5 % off at worst, far below a drone's GPS
_FULL_FRAME_DIAGONAL_MM = math.hypot(36, 24)
_NADIR_TOLERANCE_DEG = 10
_XMP_NUMBER = r"drone-dji:{}\s*(?:=\s*[\"']|>)\s*([+-]?[0-9.]+)"
_GPS_IFD, _EXIF_IFD, _FOCAL_35MM = 0x8825, 0x8769, 0xA405


@dataclass(frozen=True)
class Pose:
    """A nadir camera: position, height above take-off, heading of the picture's upper edge."""

    latitude: float
    longitude: float
    height_m: float
    yaw_deg: float
    m_per_px: float
    width: int
    height: int


def read_pose(data: bytes) -> Pose | None:
    """The pose a DJI photograph carries (XMP first, then EXIF); None where it is not known.

    None too when the camera does not look down: without a ground model an oblique pixel lies
    nowhere.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            exif = image.getexif()
            gps, detail = exif.get_ifd(_GPS_IFD), exif.get_ifd(_EXIF_IFD)
            width, height = image.size
        xmp = _read_xmp(data)
        pitch = float(xmp["GimbalPitchDegree"])
        if abs(pitch + 90) > _NADIR_TOLERANCE_DEG:
            return None
        # DJI writes a gimbal turned over at nadir as roll 180: the picture is then turned, too.
        turned = 180.0 if abs(abs(float(xmp.get("GimbalRollDegree", "0"))) - 180) < 45 else 0.0
        above = float(xmp["RelativeAltitude"])
        latitude = _degrees(gps[2], gps[1])
        longitude = _degrees(gps[4], gps[3])
        focal_35mm = float(detail[_FOCAL_35MM])
    except Exception:  # noqa: BLE001 - whatever is missing or damaged, the place is not known
        return None
    if not (above > 0 and focal_35mm > 0 and abs(latitude) <= 90 and abs(longitude) <= 180):
        return None
    diagonal_m = above * _FULL_FRAME_DIAGONAL_MM / focal_35mm
    return Pose(
        latitude,
        longitude,
        above,
        (float(xmp.get("GimbalYawDegree", "0")) + turned) % 360,
        diagonal_m / math.hypot(width, height),
        width,
        height,
    )


def locate_pixel(pose: Pose, x: float, y: float) -> tuple[float, float]:
    """Latitude and longitude of a pixel (from the upper left corner)."""
    right_m = (x - pose.width / 2) * pose.m_per_px
    ahead_m = (pose.height / 2 - y) * pose.m_per_px
    yaw = math.radians(pose.yaw_deg)
    east_m = right_m * math.cos(yaw) + ahead_m * math.sin(yaw)
    north_m = ahead_m * math.cos(yaw) - right_m * math.sin(yaw)
    latitude = pose.latitude + north_m / _EARTH_M_PER_DEG
    per_degree = _EARTH_M_PER_DEG * math.cos(math.radians(pose.latitude))
    longitude = pose.longitude + east_m / max(per_degree, 1e-6)
    return latitude, (longitude + 180) % 360 - 180


def _read_xmp(data: bytes) -> dict[str, str]:
    start = data.find(b"<x:xmpmeta")
    end = data.find(b"</x:xmpmeta>", start)
    packet = data[start:end].decode("utf-8", "replace") if 0 <= start < end else ""
    names = ("GimbalPitchDegree", "GimbalRollDegree", "GimbalYawDegree", "RelativeAltitude")
    found = {name: re.search(_XMP_NUMBER.format(name), packet) for name in names}
    return {name: match[1] for name, match in found.items() if match}


def _degrees(parts: tuple[float, float, float], reference: str) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    value = degrees + minutes / 60 + seconds / 3600
    return -value if reference in ("S", "W") else value
