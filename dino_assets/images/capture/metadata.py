"""What a camera wrote beside the pixels: XMP before EXIF, and None for whatever is not there."""

import io
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Literal
from xml.parsers import expat

from PIL import ExifTags, Image

from dino_assets.images.capture.cameras import Optics, find_center_px, find_focal_px
from dino_assets.images.capture.segments import read_xmp_packets
from dino_assets.images.records import Capture

_Tags = Mapping[int, Any]
_BASE, _GPS = ExifTags.Base, ExifTags.GPS
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_RTK: dict[int, Literal["fixed", "float", "single"]] = {50: "fixed", 34: "float", 16: "single"}
_MAX_XMP_BYTES = 2**20  # DJI's is 4 KB; one segment of a JPEG holds 64 KB
_MAX_WORD = 200
# Other prefixes count too (Autel, Parrot, renamed ones), after these.
_KNOWN = frozenset({"tiff", "exif", "exifEX", "aux", "xmp", "drone-dji"})
_NOT_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_LOST = "\N{REPLACEMENT CHARACTER}"
_STAMP = re.compile(
    r"(\d{4})[:\-.](\d\d)[:\-.](\d\d)(?:[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6})\d*)?)?.*", re.DOTALL
)
_OFFSET = re.compile(r"[+-](?:0\d|1[0-4]):[0-5]\d")
_MOST_M = 20_000.0  # up or down: no drone flies higher
_WRITING = timedelta(minutes=1)  # a camera has written its picture by then
_DNG_VERSION = 0xC612


def read_capture(data: bytes) -> Capture:
    """What the file of one photograph says about its taking; never raises, never decodes pixels."""
    try:
        size, exif, packets = _open(data)
    except Exception:  # noqa: BLE001 - whatever is damaged, nothing is known
        return Capture()
    main = _read_table(exif)
    photo, gps = (_read_table(exif, t) for t in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo))
    words: dict[str, str] = {}
    for packet in packets:
        words = read_xmp(packet) | words  # the camera writes before any editor
    optics = _read_optics(main, photo, words)
    focal = find_focal_px(optics, width=size[0], height=size[1]) if min(size) > 0 else None
    center = find_center_px(optics, width=size[0], height=size[1]) if focal else None
    taken, offset = _read_time(main, photo, words)
    latitude, longitude = _read_position(gps, words)
    flag = _number(words.get("RtkFlag"))
    return Capture(
        taken=taken,
        utc_offset=offset,
        edited_by=_read_editor(main, taken),
        satellite_date=_read_satellite_date(gps),
        make=_first(words.get("Make"), main.get(_BASE.Make)),
        model=optics.model,
        lens=_first(words.get("LensModel"), words.get("Lens"), photo.get(_BASE.LensModel)),
        image_source=_word(words.get("ImageSource")),
        focal_mm=optics.focal_mm,
        focal_35mm=optics.focal_35mm,
        focal_px=focal[0] if focal else None,
        focal_from=focal[1] if focal else None,
        center_x_px=center[0] if center else None,
        center_y_px=center[1] if center else None,
        latitude=latitude,
        longitude=longitude,
        altitude_m=_read_altitude(gps, words),
        relative_altitude_m=_height(words.get("RelativeAltitude")),
        gimbal_yaw_deg=_angle(words, "GimbalYawDegree", "CameraYawDegree"),
        gimbal_pitch_deg=_angle(words, "GimbalPitchDegree", "CameraPitchDegree"),
        gimbal_roll_deg=_angle(words, "GimbalRollDegree", "CameraRollDegree"),
        flight_yaw_deg=_angle(words, "FlightYawDegree", "DroneYawDegree"),
        flight_pitch_deg=_angle(words, "FlightPitchDegree", "DronePitchDegree"),
        flight_roll_deg=_angle(words, "FlightRollDegree", "DroneRollDegree"),
        rtk=_RTK.get(round(flag)) if flag is not None else None,
    )


def read_xmp(packet: bytes) -> dict[str, str]:
    """Names (without prefix) and values of an XMP packet, written as attributes or as elements.

    Only what is said of the picture itself: the same names inside a property speak of a picture
    it was made from. Of a packet with bytes that are no text the values without them are read, a
    damaged one gives what stands before the damage. Nothing with a DOCTYPE is read: XMP has none, and
    entities are how a file of one kilobyte fills the memory.
    """
    packet = packet[:_MAX_XMP_BYTES].strip(b"\0 \t\r\n")
    found, is_whole = _parse_xmp(packet)
    if is_whole:
        return found
    # One odd byte in a serial number would cost the pose: DJI writes all into a single element.
    text = packet.decode("utf-8", "replace")
    repaired, _ = _parse_xmp(_NOT_XML.sub(_LOST, text[max(text.find("<"), 0) :]))
    # What was lost may have been a digit of a height: such a value is none.
    readable = {name: value for name, value in repaired.items() if _LOST not in value}
    return max(readable, found, key=len)


def _parse_xmp(packet: bytes | str) -> tuple[dict[str, str], bool]:
    """Names and values, and whether the packet was sound up to its end."""
    known: dict[str, str] = {}
    others: dict[str, str] = {}
    texts: list[list[str]] = []
    tops: list[int] = []  # how deep the description of the picture lies, while inside it
    parser = expat.ParserCreate()

    def keep(name: str, value: str) -> None:
        prefix, _, word = name.rpartition(":")
        (known if prefix in _KNOWN else others).setdefault(word, value)

    def refuse(*_: object) -> None:
        raise ValueError("a DOCTYPE in XMP")

    def start(name: str, attributes: dict[str, str]) -> None:
        texts.append([])
        if not tops and name.rpartition(":")[2] == "Description":
            tops.append(len(texts))
            for key, value in attributes.items():
                if not key.startswith("xmlns"):
                    keep(key, value)

    def end(name: str) -> None:
        value = "".join(texts.pop()).strip()
        if tops and len(texts) == tops[0] and value:
            keep(name, value)
        elif tops and len(texts) < tops[0]:
            tops.clear()

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = lambda text: texts[-1].append(text) if texts else None
    try:
        parser.Parse(packet, True)
    except (expat.ExpatError, ValueError, LookupError):
        return others | known, False
    return others | known, True


def _open(data: bytes) -> tuple[tuple[int, int], Image.Exif, list[bytes]]:
    """Size of the stored frame, EXIF and XMP packets, from headers only."""
    if data[4:8] == b"ftyp":
        return _open_heif(data)
    with Image.open(io.BytesIO(data)) as image:
        # Not getexif() for all: a PNG without one it decodes to the last pixel first.
        is_tiff = image.format == "TIFF"
        exif = image.getexif() if is_tiff else _load_exif(image.info.get("exif"))
        # Pillow keeps the last packet of a JPEG, and an editor's says nothing of the flight.
        packets = read_xmp_packets(data, most_bytes=_MAX_XMP_BYTES)
        packet = image.info.get("xmp") or exif.get(_BASE.XMLPacket) or b""
        size = _raw_size(data) if _DNG_VERSION in exif else None
        return size or image.size, exif, packets or [_to_bytes(packet)]


def _open_heif(data: bytes) -> tuple[tuple[int, int], Image.Exif, list[bytes]]:
    import pillow_heif

    heif = pillow_heif.open_heif(data)
    packet = _to_bytes(heif.info.get("xmp") or b"")
    return heif.size, _load_exif(heif.info.get("exif")), [packet]


def _raw_size(data: bytes) -> tuple[int, int] | None:
    """What developing will give; a DNG's own first picture is a small preview."""
    try:
        import rawpy

        with rawpy.imread(io.BytesIO(data)) as raw:
            return int(raw.sizes.width), int(raw.sizes.height)
    except Exception:  # noqa: BLE001 - an extra that is not installed, or a file LibRaw refuses
        return None


def _to_bytes(packet: object) -> bytes:
    if isinstance(packet, tuple):
        return bytes(packet)
    return packet.encode() if isinstance(packet, str) else bytes(packet)  # type: ignore[call-overload]


def _load_exif(block: object) -> Image.Exif:
    exif = Image.Exif()
    try:
        if isinstance(block, bytes):
            exif.load(block)
            dict(exif)  # read now what is read at first use
    except Exception:  # noqa: BLE001 - struct, Syntax, Key and Value errors, depending on the damage
        return Image.Exif()
    return exif


def _read_table(exif: Image.Exif, table: ExifTags.IFD | None = None) -> _Tags:
    """One table of EXIF; a damaged one is empty and does not spoil the others."""
    try:
        return dict(exif if table is None else exif.get_ifd(table))
    except Exception:  # noqa: BLE001 - as above
        return {}


def _read_optics(main: _Tags, photo: _Tags, words: Mapping[str, str]) -> Optics:
    per_unit = _positive(photo.get(_BASE.FocalPlaneXResolution))
    unit_mm = _MM_PER_UNIT.get(int(_number(photo.get(_BASE.FocalPlaneResolutionUnit, 2)) or 0))
    width = _positive(photo.get(_BASE.ExifImageWidth))
    height = _positive(photo.get(_BASE.ExifImageHeight))
    return Optics(
        model=_first(words.get("Model"), main.get(_BASE.Model)),
        focal_mm=_positive(words.get("FocalLength")) or _positive(photo.get(_BASE.FocalLength)),
        focal_35mm=_positive(photo.get(_BASE.FocalLengthIn35mmFilm)),
        digital_zoom=_positive(photo.get(_BASE.DigitalZoomRatio)),
        calibrated_px=_positive(words.get("CalibratedFocalLength")),
        calibrated_center_x_px=_positive(words.get("CalibratedOpticalCenterX")),
        calibrated_center_y_px=_positive(words.get("CalibratedOpticalCenterY")),
        plane_px_per_mm=per_unit / unit_mm if per_unit and unit_mm else None,
        shot_width=int(max(width, height or 0)) if width else None,
    )


def _read_time(
    main: _Tags, photo: _Tags, words: Mapping[str, str]
) -> tuple[datetime | None, str | None]:
    for stamp, offset, part in (
        (photo.get(_BASE.DateTimeOriginal), _BASE.OffsetTimeOriginal, _BASE.SubsecTimeOriginal),
        (photo.get(_BASE.DateTimeDigitized), _BASE.OffsetTimeDigitized, _BASE.SubsecTimeDigitized),
        (main.get(_BASE.DateTime), _BASE.OffsetTime, _BASE.SubsecTime),
        (words.get("DateTimeOriginal"), None, None),
        (words.get("CreateDate"), None, None),
    ):
        taken = _time(_word(stamp), _word(photo.get(part)) if part else None)
        if taken is not None:
            zone = _word(photo.get(offset)) if offset else (_word(stamp) or "")[19:][-6:]
            return taken, zone if zone and _OFFSET.fullmatch(zone) else None
    return None, None


def _read_editor(main: _Tags, taken: datetime | None) -> str | None:
    """Who changed the file later. A picture turned in a viewer keeps the angles of the one before."""
    written = _time(_word(main.get(_BASE.DateTime)), None)
    if taken is None or written is None or written - taken <= _WRITING:
        return None
    return _word(main.get(_BASE.Software)) or "an unnamed program"


def _time(stamp: str | None, part: str | None) -> datetime | None:
    found = _STAMP.fullmatch(stamp or "")
    if found is None or found[4] is None:
        return None
    digits = found[7] or (part if part and part.isascii() and part.isdigit() else "0")
    year, month, day, hour, minute, second = (int(n) for n in found.groups()[:6])
    micro = int(digits[:6].ljust(6, "0"))
    try:
        # The camera's own clock: a zone is known seldom, and kept beside it.
        return datetime(year, month, day, hour, minute, second, micro)  # noqa: DTZ001
    except ValueError:
        return None


def _read_satellite_date(gps: _Tags) -> date | None:
    found = _STAMP.fullmatch(_word(gps.get(_GPS.GPSDateStamp)) or "")
    try:
        return date(int(found[1]), int(found[2]), int(found[3])) if found else None
    except ValueError:
        return None


def _read_position(gps: _Tags, words: Mapping[str, str]) -> tuple[float | None, float | None]:
    east = words.get("GpsLongitude") or words.get("GpsLongtitude")  # older firmware's spelling
    for latitude, longitude in (
        (_number(words.get("GpsLatitude")), _number(east)),
        (
            _degrees(gps.get(_GPS.GPSLatitude), gps.get(_GPS.GPSLatitudeRef), "NS"),
            _degrees(gps.get(_GPS.GPSLongitude), gps.get(_GPS.GPSLongitudeRef), "EW"),
        ),
    ):
        if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
            continue  # no fix yet: DJI writes zeros
        if abs(latitude) <= 90 and abs(longitude) <= 180:
            return latitude, longitude
    return None, None


def _degrees(parts: Any, reference: object, signs: str) -> float | None:
    """Degrees, minutes, seconds; a position whose hemisphere is not told could be either."""
    hemisphere = (_word(reference) or "")[:1].upper()
    if hemisphere not in tuple(signs) or not isinstance(parts, tuple) or not 1 <= len(parts) <= 3:
        return None
    numbers = [_number(part) for part in parts]
    if any(number is None or number < 0 for number in numbers):
        return None
    value = float(sum(n / 60.0**power for power, n in enumerate(numbers) if n is not None))
    return -value if hemisphere == signs[1] else value


def _read_altitude(gps: _Tags, words: Mapping[str, str]) -> float | None:
    if (above_sea := _height(words.get("AbsoluteAltitude"))) is not None:
        return above_sea
    value = _height(gps.get(_GPS.GPSAltitude))
    if value is None:
        return None
    return -value if gps.get(_GPS.GPSAltitudeRef) in (1, b"\x01", "1") else value


def _angle(words: Mapping[str, str], *names: str) -> float | None:
    numbers = (_number(words.get(name)) for name in names)
    return next((n for n in numbers if n is not None and abs(n) <= 360), None)


def _number(value: Any) -> float | None:
    """A finite number of what EXIF and XMP write: ``+40.00``, ``361/100``; ``1/0`` and ``nan`` are none."""
    try:
        if isinstance(value, str):
            above, _, below = value.strip().partition("/")
            number = float(above) / float(below) if below else float(above)
        else:
            number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if math.isfinite(number) else None


def _height(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and abs(number) <= _MOST_M else None


def _positive(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _word(value: object) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    text = "".join(c for c in value.partition("\0")[0] if c.isprintable()).strip()
    return text[:_MAX_WORD] or None


def _first(*values: object) -> str | None:
    return next((word for word in map(_word, values) if word is not None), None)
