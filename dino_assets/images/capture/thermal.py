"""Detection of thermal pictures from their camera's metadata."""

import re
from pathlib import PurePosixPath

from dino_assets.images.capture.cameras import is_thermal_lens
from dino_assets.images.capture.segments import walk_segments
from dino_assets.images.records import Capture

# "_T" is DJI's suffix for the thermal lens of a camera with several lenses; a waypoint's name may follow.
_DJI_NAME = re.compile(r"DJI_(\d{14}_)?\d{3,6}_T(_[^.]*)?\.(JPE?G|TIFF?)", re.IGNORECASE)
_AUTEL_NAME = re.compile(r"IRX_\d{3,6}\.(JPE?G|TIFF?)", re.IGNORECASE)  # beside MAX_0003.JPG
_THERMAL_SOURCE = re.compile(r"infrared|thermal|lwir|^ir(?:\b|_|camera)", re.IGNORECASE)
_LIGHT_SOURCE = re.compile(r"wide|zoom|visib|tele|rgb|night", re.IGNORECASE)
_DJI, _AUTEL = ("DJI", "HASSELBLAD"), ("AUTEL",)
# A DJI R-JPEG (radiometric JPEG) stores 16 bits per thermal element in segments APP3 (a Zenmuse XT S in
# APP4). The picture may have twice as many pixels per side. Previews and notes in these segments have other
# sizes.
_ELEMENTS = ((640, 512), (336, 256), (1280, 1024))
_TWICE = tuple((2 * long, 2 * short) for long, short in _ELEMENTS)
_MOST_SPARE = 0.02
_APP1, _APP3, _APP4 = 0xE1, 0xE3, 0xE4
_DJI_TEMPERATURES = b"\xaa\x55\x12\x06"  # how APP4 of an H20T's R-JPEG starts
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def find_thermal_signal(path: str, data: bytes, capture: Capture) -> str | None:
    """Find the evidence that a picture is thermal, as a readable text; None for a colour picture.

    If XMP names a thermal or a colour camera as image source, this decides. Otherwise the evidence is, in
    this order: temperatures in JPEG segments, a known thermal lens and a picture of its sensor's size, or a
    file name of DJI or Autel.
    """
    source = capture.image_source or ""
    if _THERMAL_SOURCE.search(source):
        return f"XMP image source {source}"
    if _LIGHT_SOURCE.search(source):
        return None
    maker = (capture.make or "").upper()
    size, segments = _read_jpeg(data, is_dji=maker.startswith(_DJI))
    if segments is not None:
        return segments
    if size in _ELEMENTS and is_thermal_lens(capture.model, capture.focal_mm):
        return f"thermal lens of {capture.model}, {size[0]} × {size[1]} px"
    name = PurePosixPath(path).name
    for pattern, makers in ((_DJI_NAME, _DJI), (_AUTEL_NAME, _AUTEL)):
        if pattern.fullmatch(name) and (not maker or maker.startswith(makers)):
            return f"name {name}"
    return None


def _read_jpeg(data: bytes, *, is_dji: bool) -> tuple[tuple[int, int], str | None]:
    """Read a JPEG's long and short side (0, 0 for other files), and evidence of thermal data."""
    raw_bytes, size = {_APP3: 0, _APP4: 0}, (0, 0)
    for marker, start, end in walk_segments(data):
        if marker == _APP1 and data[start : start + 5] == b"FLIR\0":
            return size, "R-JPEG segments of FLIR"
        if is_dji and marker == _APP4 and data[start : start + 4] == _DJI_TEMPERATURES:
            return size, "R-JPEG segments of DJI"
        if marker in raw_bytes:
            raw_bytes[marker] += end - start
        elif marker in _SIZES and end - start >= 5:
            height = int.from_bytes(data[start + 1 : start + 3], "big")
            width = int.from_bytes(data[start + 3 : start + 5], "big")
            size = max(width, height), min(width, height)
    is_radiometric = is_dji and any(
        size in (elements, twice) and _is_raw_of(elements, count)
        for elements, twice in zip(_ELEMENTS, _TWICE, strict=True)
        for count in raw_bytes.values()
    )
    return size, "R-JPEG segments of DJI" if is_radiometric else None


def _is_raw_of(elements: tuple[int, int], raw_bytes: int) -> bool:
    whole = 2 * elements[0] * elements[1]
    return whole <= raw_bytes <= whole * (1 + _MOST_SPARE)
