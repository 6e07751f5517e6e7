"""Which pictures are of heat, not of light, by what their camera says."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from dino_assets.records import Capture

# "_T" is DJI's word for the thermal lens of a camera that has several; waypoints add their name.
_THERMAL_NAME = re.compile(r"DJI_(\d{14}_)?\d{3,6}_T(_[^.]*)?\.(JPE?G|TIFF?)", re.IGNORECASE)
_THERMAL_SOURCE = re.compile(r"infra|therm|lwir|^ir", re.IGNORECASE)
_LIGHT_SOURCE = re.compile(r"wide|zoom|visib|tele|rgb|night", re.IGNORECASE)
_DJI = ("DJI", "HASSELBLAD")
# A DJI R-JPEG keeps 16 bits per picture element in APP3; previews and notes there are far smaller.
_RAW_BYTES_PER_PX = 1.5
_APP1, _APP3, _APP4 = 0xE1, 0xE3, 0xE4
_DJI_TEMPERATURES = b"\xaa\x55\x12\x06"  # how APP4 of an H20T's R-JPEG starts
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_NO_LENGTH = frozenset(range(0xD0, 0xD8)) | {0x01}


def find_thermal_signal(path: str, data: bytes, capture: Capture) -> str | None:
    """What says that a picture is thermal, in words for people; None for one of light.

    The camera's own word decides both ways, then radiometric segments of a JPEG, then DJI's names.
    """
    source = capture.image_source or ""
    if _THERMAL_SOURCE.search(source):
        return f"XMP image source {source}"
    if _LIGHT_SOURCE.search(source):
        return None
    is_dji = capture.make is not None and capture.make.upper().startswith(_DJI)
    if (segments := _find_radiometric(data, is_dji=is_dji)) is not None:
        return segments
    if capture.make is not None and not is_dji:
        return None
    name = PurePosixPath(path).name
    return f"name {name}" if _THERMAL_NAME.fullmatch(name) else None


def _find_radiometric(data: bytes, *, is_dji: bool) -> str | None:
    raw_bytes, pixels = 0, 0
    for marker, start, end in _walk_segments(data):
        if marker == _APP1 and data[start : start + 5] == b"FLIR\0":
            return "R-JPEG segments of FLIR"
        if is_dji and marker == _APP4 and data[start : start + 4] == _DJI_TEMPERATURES:
            return "R-JPEG segments of DJI"
        if marker == _APP3:
            raw_bytes += end - start
        elif marker in _SIZES and end - start >= 5:
            pixels = int.from_bytes(data[start + 1 : start + 3], "big") * int.from_bytes(
                data[start + 3 : start + 5], "big"
            )
    if is_dji and pixels and raw_bytes >= _RAW_BYTES_PER_PX * pixels:
        return "R-JPEG segments of DJI"
    return None


def _walk_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, first and last byte of each segment before a JPEG's pixels; stops where it is damaged."""
    if data[:2] != b"\xff\xd8":
        return
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _NO_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (0xDA, 0xD9):  # pixels, or the end
            return
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + length
        if length < 2 or end > len(data):
            return
        yield marker, at + 4, end
        at = end
