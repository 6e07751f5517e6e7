"""EXIF tables, and the position, altitude, date and editing program in them."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from PIL import ExifTags, Image

from dino_assets.images.capture.values import (
    STAMP,
    read_height_m,
    read_number,
    read_stamp,
    read_word,
)

Tags = Mapping[int, Any]
_BASE, _GPS = ExifTags.Base, ExifTags.GPS
UNNAMED_PROGRAM = "an unnamed program"
_WRITING = timedelta(minutes=1)  # a camera finishes writing its picture within this time


def load_exif(block: object) -> Image.Exif:
    """Read a block of EXIF; the result is empty for a damaged block."""
    exif = Image.Exif()
    try:
        if isinstance(block, bytes):
            exif.load(block)
            dict(exif)  # read now, because Pillow would read it at first use
    except Exception:  # noqa: BLE001 - struct, Syntax, Key and Value errors, depending on the damage
        return Image.Exif()
    return exif


def read_table(exif: Image.Exif, table: ExifTags.IFD | None = None) -> Tags:
    """Read one table of EXIF; the result is empty for a damaged table, which does not affect the others."""
    try:
        return dict(exif if table is None else exif.get_ifd(table))
    except Exception:  # noqa: BLE001 - as above
        return {}


def read_editor(main: Tags, taken: datetime | None) -> str | None:
    """Read the name of the program that wrote the file again after the shot; None if no program did.

    The file was written again if EXIF's time of the last change is more than a minute after the shot. This
    matters because a viewer that turns a picture leaves the camera's angles in the file unchanged.
    """
    written = read_stamp(read_word(main.get(_BASE.DateTime)), None)
    if taken is None or written is None or written - taken <= _WRITING:
        return None
    return read_word(main.get(_BASE.Software)) or UNNAMED_PROGRAM


def is_turned_unmarked(main: Tags, photo: Tags, size: tuple[int, int]) -> bool:
    """Check whether a picture was turned by a quarter, but EXIF states its width and height as before.

    The answer is no if the orientation means a quarter turn: the camera itself may have written such a file.
    """
    stated = [photo.get(tag) for tag in (_BASE.ExifImageWidth, _BASE.ExifImageHeight)]
    is_across = size[0] != size[1] and stated == [size[1], size[0]]
    return is_across and main.get(_BASE.Orientation, 1) not in (5, 6, 7, 8)


def read_satellite_date(gps: Tags) -> date | None:
    """Read the date that GPS gave, in UTC; None if it is missing or invalid."""
    match = STAMP.fullmatch(read_word(gps.get(_GPS.GPSDateStamp)) or "")
    try:
        return date(int(match[1]), int(match[2]), int(match[3])) if match else None
    except ValueError:
        return None


def read_exif_position(gps: Tags) -> tuple[float | None, float | None]:
    """Read latitude and longitude, each None if incomplete."""
    return (
        _read_degrees(gps.get(_GPS.GPSLatitude), gps.get(_GPS.GPSLatitudeRef), "NS"),
        _read_degrees(gps.get(_GPS.GPSLongitude), gps.get(_GPS.GPSLongitudeRef), "EW"),
    )


def _read_degrees(parts: Any, reference: object, signs: str) -> float | None:
    """Convert degrees, minutes and seconds to degrees; None if the hemisphere (N, S, E, W) is missing."""
    hemisphere = (read_word(reference) or "")[:1].upper()
    if hemisphere not in tuple(signs) or not isinstance(parts, tuple) or not 1 <= len(parts) <= 3:
        return None
    numbers = [read_number(part) for part in parts]
    if any(number is None or number < 0 for number in numbers):
        return None
    value = float(sum(n / 60.0**power for power, n in enumerate(numbers) if n is not None))
    return -value if hemisphere == signs[1] else value


def read_exif_altitude_m(gps: Tags) -> float | None:
    """Read the altitude in metres above the sea; None if it is missing or invalid."""
    value = read_height_m(gps.get(_GPS.GPSAltitude))
    if value is None:
        return None
    return -value if gps.get(_GPS.GPSAltitudeRef) in (1, b"\x01", "1") else value
