"""Crops of photographs for labelling programs: their geometry, and EXIF with the photograph's position."""

import math
from dataclasses import dataclass
from datetime import datetime

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from dino_assets.labels.records import Window

Box = tuple[float, float, float, float]  # left, top, width, height
WHOLE_PX = 1.0  # a box whose edges are so near to the crop's edges is a label of the whole crop
_SECONDS = 10**7  # parts of a second of arc: 3 micrometres
_START, _APP0, _APP1, _EXIF = b"\xff\xd8", b"\xff\xe0", b"\xff\xe1", b"Exif\0\0"


@dataclass(frozen=True, slots=True)
class CropFrame:
    """A crop's window in its photograph, and how the window is scaled to the crop's pixels.

    ``shown_w`` and ``shown_h`` are the photograph's pixels along the sides of the crop. They exceed the
    window's sides if the crop is padded by reflection at the right or below.
    """

    window: Window
    shown_w: int
    shown_h: int
    width: int
    height: int

    def to_crop(self, window: Window) -> Box | None:
        """Convert the visible part of a window of the photograph to pixels of the crop; None if it is empty."""
        left, top = max(window.x, self.window.x), max(window.y, self.window.y)
        right = min(window.x + window.w, self.window.x + self.window.w)
        bottom = min(window.y + window.h, self.window.y + self.window.h)
        if right <= left or bottom <= top:
            return None
        across, down = self.width / self.shown_w, self.height / self.shown_h
        return (
            (left - self.window.x) * across,
            (top - self.window.y) * down,
            (right - left) * across,
            (bottom - top) * down,
        )

    def to_photograph(self, box: Box) -> Window | None:
        """Convert a box in pixels of the crop to whole pixels of the photograph; None if it is outside."""
        across, down = self.shown_w / self.width, self.shown_h / self.height
        moved = (
            self.window.x + box[0] * across,
            self.window.y + box[1] * down,
            box[2] * across,
            box[3] * down,
        )
        return round_box(moved, self.window)

    def is_whole(self, box: Box) -> bool:
        """Check whether a box in pixels of the crop is the whole crop."""
        edges = (box[0], box[1], box[0] + box[2] - self.width, box[1] + box[3] - self.height)
        return all(abs(edge) <= WHOLE_PX for edge in edges)


def round_box(box: Box, within: Window) -> Window | None:
    """Round a box to whole pixels and cut it at the edges of a window; None if it lies outside.

    A box that is thinner than a pixel becomes one pixel wide.
    """
    left, right = _round_side(box[0], box[2], within.x, within.x + within.w)
    top, bottom = _round_side(box[1], box[3], within.y, within.y + within.h)
    if right <= left or bottom <= top:
        return None
    return Window(left, top, right - left, bottom - top)


def _round_side(start: float, length: float, least: int, most: int) -> tuple[int, int]:
    if start >= most or start + length <= least:
        return least, least
    # Halves are rounded up, since rounding to even numbers would change lengths.
    first = min(max(math.floor(start + 0.5), least), most - 1)
    last = min(max(math.floor(start + length + 0.5), first + 1), most)
    return first, last


@dataclass(frozen=True, slots=True)
class ShotFacts:
    """What a photograph's EXIF says about its shot; an unknown value is None."""

    latitude: float | None = None
    longitude: float | None = None
    altitude_m: float | None = None
    taken: datetime | None = None
    make: str | None = None
    model: str | None = None


def add_exif(jpeg: bytes, shot: ShotFacts, *, description: str = "") -> bytes:
    """Add EXIF to a JPEG without it: where and when the photograph was taken. The pixels stay as they are."""
    block = _make_exif(shot, description)
    segment = _APP1 + (len(block) + 2).to_bytes(2, "big") + block
    at = len(_START)
    if jpeg[at : at + 2] == _APP0:  # JFIF demands to be the first
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return jpeg[:at] + segment + jpeg[at:]


def _make_exif(shot: ShotFacts, description: str) -> bytes:
    exif = Image.Exif()
    words = {
        ExifTags.Base.ImageDescription: description,
        ExifTags.Base.Make: shot.make,
        ExifTags.Base.Model: shot.model,
    }
    for tag, word in words.items():
        if word and word.isascii():  # EXIF knows no other letters
            exif[tag] = word
    if shot.taken is not None:
        stamp = {ExifTags.Base.DateTimeOriginal: f"{shot.taken:%Y:%m:%d %H:%M:%S}"}
        exif[ExifTags.IFD.Exif] = stamp
    if shot.latitude is not None and shot.longitude is not None:
        gps: dict[int, object] = {
            ExifTags.GPS.GPSVersionID: b"\x02\x03\x00\x00",
            ExifTags.GPS.GPSLatitudeRef: "S" if shot.latitude < 0 else "N",
            ExifTags.GPS.GPSLatitude: _split_degrees(shot.latitude),
            ExifTags.GPS.GPSLongitudeRef: "W" if shot.longitude < 0 else "E",
            ExifTags.GPS.GPSLongitude: _split_degrees(shot.longitude),
        }
        if shot.altitude_m is not None:
            gps[ExifTags.GPS.GPSAltitudeRef] = b"\x01" if shot.altitude_m < 0 else b"\x00"
            gps[ExifTags.GPS.GPSAltitude] = IFDRational(round(abs(shot.altitude_m) * 1000), 1000)
        exif[ExifTags.IFD.GPSInfo] = gps
    block = exif.tobytes()
    return block if block.startswith(_EXIF) else _EXIF + block


def _split_degrees(value: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    parts = round(abs(value) * 3600 * _SECONDS)
    minutes, seconds = divmod(parts, 60 * _SECONDS)
    degrees, minutes = divmod(minutes, 60)
    return IFDRational(degrees, 1), IFDRational(minutes, 1), IFDRational(seconds, _SECONDS)
