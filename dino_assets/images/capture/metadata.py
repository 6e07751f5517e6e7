"""Capture metadata of a photograph, read from XMP and EXIF; None for missing values."""

import io
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from PIL import ExifTags, Image

from dino_assets.images.capture.cameras import Optics, find_center_px, find_focal_px
from dino_assets.images.capture.exif import (
    UNNAMED_PROGRAM,
    Tags,
    is_turned_unmarked,
    load_exif,
    read_editor,
    read_exif_altitude_m,
    read_exif_position,
    read_satellite_date,
    read_table,
)
from dino_assets.images.capture.poses import (
    is_fisheye,
    read_height_above_ground_m,
    read_pose,
)
from dino_assets.images.capture.segments import read_xmp_packets
from dino_assets.images.capture.values import (
    read_first_word,
    read_height_m,
    read_number,
    read_positive,
    read_stamp,
    read_word,
)
from dino_assets.images.capture.xmp import MAX_XMP_BYTES, read_xmp
from dino_assets.images.png import read_png_exif, read_png_xmp
from dino_assets.images.records import Capture

_BASE = ExifTags.Base
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_RTK: dict[int, Literal["fixed", "float", "single"]] = {50: "fixed", 34: "float", 16: "single"}
OFFSET = re.compile(r"[+-](?:0\d|1[0-4]):[0-5]\d")
_DNG_VERSION = 0xC612


def read_capture(data: bytes) -> Capture:
    """Read one photograph's capture metadata, without decoding pixels.

    No error is raised: if the file is damaged, all fields are None.
    """
    try:
        size, exif, packets = _open(data)
    except Exception:  # noqa: BLE001 - a damaged file has no metadata
        return Capture()
    main = read_table(exif)
    photo, gps = (read_table(exif, t) for t in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo))
    words: dict[str, str] = {}
    for packet in packets:
        words = (
            read_xmp(packet) | words
        )  # the first packet counts, because the camera writes before any editor
    optics = _read_optics(main, photo, words)
    has_focal = min(size) > 0 and not is_fisheye(words)
    focal = find_focal_px(optics, width=size[0], height=size[1]) if has_focal else None
    center = find_center_px(optics, width=size[0], height=size[1]) if focal else None
    taken, offset = _read_time(main, photo, words)
    latitude, longitude = _read_position(gps, words)
    make = read_first_word(words.get("Make"), main.get(_BASE.Make))
    gimbal_yaw, gimbal_pitch, gimbal_roll = _read_gimbal(words, make)
    flag = read_number(words.get("RtkFlag"))
    editor = read_editor(main, taken)
    # JPEG only: a HEIC's pixels are turned while they are read.
    if editor is None and data.startswith(b"\xff\xd8") and is_turned_unmarked(main, photo, size):
        editor = UNNAMED_PROGRAM
    return Capture(
        taken=taken,
        utc_offset=offset,
        edited_by=editor,
        satellite_date=read_satellite_date(gps),
        make=make,
        model=optics.model,
        lens=read_first_word(words.get("LensModel"), words.get("Lens"), photo.get(_BASE.LensModel)),
        image_source=read_word(words.get("ImageSource")),
        focal_mm=optics.focal_mm,
        focal_35mm=optics.focal_35mm,
        focal_px=focal[0] if focal else None,
        focal_from=focal[1] if focal else None,
        center_x_px=center[0] if center else None,
        center_y_px=center[1] if center else None,
        latitude=latitude,
        longitude=longitude,
        altitude_m=_read_altitude(gps, words),
        relative_altitude_m=_read_height(words),
        gimbal_yaw_deg=gimbal_yaw,
        gimbal_pitch_deg=gimbal_pitch,
        gimbal_roll_deg=gimbal_roll,
        flight_yaw_deg=_angle(words, "FlightYawDegree", "DroneYawDegree"),
        flight_pitch_deg=_angle(words, "FlightPitchDegree", "DronePitchDegree"),
        flight_roll_deg=_angle(words, "FlightRollDegree", "DroneRollDegree"),
        rtk=_RTK.get(round(flag)) if flag is not None else None,
    )


def _open(data: bytes) -> tuple[tuple[int, int], Image.Exif, list[bytes]]:
    """Read the size of the picture as stored, EXIF and XMP packets, from headers only."""
    if data[4:8] == b"ftyp":
        return _open_heif(data)
    with Image.open(io.BytesIO(data)) as image:
        # getexif() is called for TIFF only: in other formats, damaged EXIF would lose the XMP too.
        if image.format == "PNG":
            packet = read_png_xmp(data) or b""
            return image.size, load_exif(read_png_exif(data)), [packet]
        is_tiff = image.format == "TIFF"
        exif = image.getexif() if is_tiff else load_exif(image.info.get("exif"))
        # Pillow keeps only the last packet of a JPEG, and if an editor wrote it, it has no flight data.
        packets = read_xmp_packets(data, most_bytes=MAX_XMP_BYTES)
        packet = image.info.get("xmp") or exif.get(_BASE.XMLPacket) or b""
        size = _raw_size(data) if _DNG_VERSION in exif else None
        return size or image.size, exif, packets or [_to_bytes(packet)]


def _open_heif(data: bytes) -> tuple[tuple[int, int], Image.Exif, list[bytes]]:
    import pillow_heif

    heif = pillow_heif.open_heif(data)
    packet = _to_bytes(heif.info.get("xmp") or b"")
    return heif.size, load_exif(heif.info.get("exif")), [packet]


def _raw_size(data: bytes) -> tuple[int, int] | None:
    """Read the size that a DNG has when it is developed; None if rawpy is missing or refuses the file.

    The first picture in the file, whose size Pillow reads, is only a small preview.
    """
    try:
        import rawpy

        with rawpy.imread(io.BytesIO(data)) as raw:
            return int(raw.sizes.width), int(raw.sizes.height)
    except Exception:  # noqa: BLE001 - rawpy is not installed, or LibRaw refuses the file
        return None


def _to_bytes(packet: object) -> bytes:
    if isinstance(packet, tuple):
        return bytes(packet)
    return packet.encode() if isinstance(packet, str) else bytes(packet)  # type: ignore[call-overload]


def _read_optics(main: Tags, photo: Tags, words: Mapping[str, str]) -> Optics:
    per_unit = read_positive(photo.get(_BASE.FocalPlaneXResolution))
    unit_mm = _MM_PER_UNIT.get(int(read_number(photo.get(_BASE.FocalPlaneResolutionUnit, 2)) or 0))
    width = read_positive(photo.get(_BASE.ExifImageWidth))
    height = read_positive(photo.get(_BASE.ExifImageHeight))
    return Optics(
        model=read_first_word(words.get("Model"), main.get(_BASE.Model)),
        focal_mm=read_positive(words.get("FocalLength"))
        or read_positive(photo.get(_BASE.FocalLength)),
        focal_35mm=read_positive(photo.get(_BASE.FocalLengthIn35mmFilm)),
        digital_zoom=read_positive(photo.get(_BASE.DigitalZoomRatio)),
        calibrated_px=read_positive(words.get("CalibratedFocalLength")),
        calibrated_center_x_px=read_positive(words.get("CalibratedOpticalCenterX")),
        calibrated_center_y_px=read_positive(words.get("CalibratedOpticalCenterY")),
        plane_px_per_mm=per_unit / unit_mm if per_unit and unit_mm else None,
        shot_width=int(max(width, height or 0)) if width else None,
    )


def _read_time(
    main: Tags, photo: Tags, words: Mapping[str, str]
) -> tuple[datetime | None, str | None]:
    for stamp, offset, part in (
        (photo.get(_BASE.DateTimeOriginal), _BASE.OffsetTimeOriginal, _BASE.SubsecTimeOriginal),
        (photo.get(_BASE.DateTimeDigitized), _BASE.OffsetTimeDigitized, _BASE.SubsecTimeDigitized),
        (main.get(_BASE.DateTime), _BASE.OffsetTime, _BASE.SubsecTime),
        (words.get("DateTimeOriginal"), None, None),
        (words.get("CreateDate"), None, None),
    ):
        taken = read_stamp(read_word(stamp), read_word(photo.get(part)) if part else None)
        if taken is not None:
            zone = read_word(photo.get(offset)) if offset else (read_word(stamp) or "")[19:][-6:]
            return taken, zone if zone and OFFSET.fullmatch(zone) else None
    return None, None


def _read_position(gps: Tags, words: Mapping[str, str]) -> tuple[float | None, float | None]:
    east = words.get("GpsLongitude") or words.get("GpsLongtitude")  # older firmware's spelling
    for latitude, longitude in (
        (read_number(words.get("GpsLatitude")), read_number(east)),
        read_exif_position(gps),
    ):
        if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
            continue  # DJI writes zeros before the first GPS fix
        if abs(latitude) <= 90 and abs(longitude) <= 180:
            return latitude, longitude
    return None, None


def _read_altitude(gps: Tags, words: Mapping[str, str]) -> float | None:
    above_sea = read_height_m(words.get("AbsoluteAltitude"))
    return above_sea if above_sea is not None else read_exif_altitude_m(gps)


def _angle(words: Mapping[str, str], *names: str) -> float | None:
    numbers = (read_number(words.get(name)) for name in names)
    return next((n for n in numbers if n is not None and abs(n) <= 360), None)


def _read_gimbal(
    words: Mapping[str, str], make: str | None
) -> tuple[float | None, float | None, float | None]:
    """Read yaw, pitch and roll of the camera: of its gimbal, else of the aircraft that it is fixed to."""
    yaw, pitch, roll = (
        _angle(words, f"Gimbal{axis}Degree", f"Camera{axis}Degree")
        for axis in ("Yaw", "Pitch", "Roll")
    )
    pose = read_pose(words, make) if yaw is None or pitch is None else None
    return pose or (yaw, pitch, roll)


def _read_height(words: Mapping[str, str]) -> float | None:
    above_start = read_height_m(words.get("RelativeAltitude"))
    return above_start if above_start is not None else read_height_above_ground_m(words)
