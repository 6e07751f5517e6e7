"""What is read of files as cameras, editors and bad cards leave them."""

import io
import tracemalloc
from dataclasses import fields
from datetime import date, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

from dino_assets.demo.flights.draw import draw_flights
from dino_assets.images.capture.metadata import read_capture, read_xmp
from dino_assets.images.records import Capture
from dino_assets_tests.conftest import REPOSITORY

BASE, GPS, IFD = ExifTags.Base, ExifTags.GPS, ExifTags.IFD
NOTHING = Capture()
clock = datetime  # a camera's own: it has no zone
DJI = {
    "AbsoluteAltitude": "+198.31",
    "RelativeAltitude": "+39.80",
    "GimbalRollDegree": "+0.00",
    "GimbalYawDegree": "+40.00",
    "GimbalPitchDegree": "-89.90",
    "FlightRollDegree": "+3.00",
    "FlightYawDegree": "-46.00",
    "FlightPitchDegree": "+1.80",
}


def packet(words: dict[str, str], *, prefix: str = "drone-dji", as_elements: bool = False) -> bytes:
    if as_elements:
        attributes, inside = (
            "",
            "".join(
                f"<{prefix}:{name}>\n {value}\n</{prefix}:{name}>" for name, value in words.items()
            ),
        )
    else:
        attributes = "".join(f'\n  {prefix}:{name}="{value}"' for name, value in words.items())
        inside = ""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="DJI Meta Data" xmlns:{prefix}="http://www.dji.com/drone-dji/1.0/"'
        f'{attributes}>{inside}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode() + b"\n" * 100


def make_exif(*, main: dict | None = None, photo: dict | None = None, gps: dict | None = None) -> Image.Exif:  # fmt: skip
    exif = Image.Exif()
    exif.update(main or {})
    exif.get_ifd(IFD.Exif).update(photo or {})
    exif.get_ifd(IFD.GPSInfo).update(gps or {})
    return exif


def photo_of(
    *,
    kind: str = "JPEG",
    size: tuple[int, int] = (400, 225),
    xmp: bytes | None = None,
    exif: Image.Exif | None = None,
) -> bytes:
    sink, options = io.BytesIO(), {}
    if exif is not None:
        options["exif"] = exif
    if xmp is not None and kind == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    elif xmp is not None and kind == "TIFF":
        options["tiffinfo"] = ImageFileDirectory_v2()
        options["tiffinfo"][700] = xmp
    elif xmp is not None:
        options["xmp"] = xmp
    Image.new("RGB", size, (90, 120, 60)).save(sink, kind, **options)
    return sink.getvalue()


def degrees(value: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    minutes = value % 1 * 60
    return (
        IFDRational(int(value)),
        IFDRational(int(minutes)),
        IFDRational(round(minutes % 1 * 60 * 10_000), 10_000),
    )


def gps_of(latitude: float, longitude: float, **changes) -> dict:
    tags = {
        GPS.GPSLatitudeRef: "N" if latitude >= 0 else "S",
        GPS.GPSLatitude: degrees(abs(latitude)),
        GPS.GPSLongitudeRef: "E" if longitude >= 0 else "W",
        GPS.GPSLongitude: degrees(abs(longitude)),
    }
    return {**tags, **{GPS[name]: value for name, value in changes.items()}}


# --- XMP --------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_elements", [False, True])
@pytest.mark.parametrize("prefix", ["drone-dji", "dji", "ns1"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_read_capture__xmp_of_every_container(kind, prefix, as_elements):
    found = read_capture(
        photo_of(kind=kind, xmp=packet(DJI, prefix=prefix, as_elements=as_elements))
    )
    assert (found.altitude_m, found.relative_altitude_m) == (198.31, 39.8)
    assert (found.gimbal_yaw_deg, found.gimbal_pitch_deg, found.gimbal_roll_deg) == (40, -89.9, 0)
    assert (found.flight_yaw_deg, found.flight_pitch_deg, found.flight_roll_deg) == (-46, 1.8, 3)


def test_read_capture__heic():
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = make_exif(main={BASE.Make: "DJI"}, gps=gps_of(46.5, -91.25))
    heif = pillow_heif.from_pillow(Image.new("RGB", (400, 226)))
    sink = io.BytesIO()
    heif.save(sink, exif=exif.tobytes(), xmp=packet(DJI))
    found = read_capture(sink.getvalue())
    assert (found.make, found.relative_altitude_m) == ("DJI", 39.8)
    assert (found.latitude, found.longitude) == pytest.approx((46.5, -91.25))


def test_read_capture__xmp_after_other_segments():
    data = photo_of(xmp=packet(DJI))
    padding = (b"\xff\xe2" + (60_002).to_bytes(2, "big") + bytes(60_000)) * 8
    assert read_capture(data[:2] + padding + data[2:]).relative_altitude_m == 39.8


def test_read_capture__xmp_in_an_mpo():
    sink = io.BytesIO()
    picture = Image.new("RGB", (400, 225))
    picture.save(sink, "MPO", save_all=True, append_images=[picture.resize((96, 54))], xmp=packet(DJI))  # fmt: skip
    found = read_capture(sink.getvalue())
    assert found.relative_altitude_m == 39.8


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("+40.00", 40.0), ("-40", -40.0), (" 40.5 ", 40.5), ("81/2", 40.5), ("1/0", None),
        ("nan", None), ("inf", None), ("-inf", None), ("", None), ("forty", None), ("1e400", None),
        ("1/2/3", None), ("0", 0.0), ("+-3", None),
    ],
)  # fmt: skip
def test_read_capture__numbers_as_cameras_write_them(written, expected):
    found = read_capture(photo_of(xmp=packet({"RelativeAltitude": written})))
    assert found.relative_altitude_m == expected


def test_read_xmp__a_damaged_tail_keeps_what_came_before():
    whole = packet(DJI)
    assert read_xmp(whole[: whole.index(b"</rdf:RDF>")])["GimbalYawDegree"] == "+40.00"
    assert read_xmp(whole[: whole.index(b"FlightYaw")]) == {}
    assert read_xmp(b"") == read_xmp(b"no xml") == {}


def test_read_xmp__sixteen_bits():
    text = packet(DJI).decode().replace("\ufeff", "")
    assert read_xmp(text.encode("utf-16"))["RelativeAltitude"] == "+39.80"


def test_read_xmp__bytes_that_are_no_utf8():
    """A Latin-1 name of a place, and a control character: all the rest stands in the same element."""
    odd = packet({"City": "Z@rich", "Note": "a#b", "Height": "+1#9.80"} | DJI)
    found = read_xmp(odd.replace(b"@", b"\xfc").replace(b"#", b"\x07"))
    assert {name: found.get(name) for name in DJI} == DJI
    # What was lost may have been a digit.
    assert not found.keys() & {"City", "Note", "Height"}
    after = read_xmp(packet(DJI | {"City": "Z@rich"}, as_elements=True).replace(b"@", b"\xfc"))
    assert {name: after.get(name) for name in DJI} == DJI
    assert read_xmp(b"\xff\xff" + odd.replace(b"#", b"-"))["Note"] == "a-b"


def test_read_capture__a_damaged_model_gives_way_to_exif():
    xmp = packet(DJI | {"Model": "FC@00S"}, prefix="tiff").replace(b"@", b"\xfc")
    found = read_capture(photo_of(xmp=xmp, exif=make_exif(main={BASE.Model: "FC300S"})))
    assert (found.model, found.relative_altitude_m) == ("FC300S", 39.8)


@pytest.mark.parametrize("use", [b"", b"\xfc"])
def test_read_xmp__repair_reads_no_doctype(use):
    assert read_xmp(BOMB + b'<rdf:Description Model="' + use + b'">&g;</rdf:Description>') == {}


def test_read_xmp__of_the_picture_and_not_of_what_it_was_made_from():
    inner = (
        '<m:Ingredients><rdf:Bag><rdf:li q:Model="Other" q:RelativeAltitude="9">'
        '<tiff:Make>Other</tiff:Make><rdf:Description tiff:Software="Other"/></rdf:li></rdf:Bag>'
        "</m:Ingredients>"
    )
    first = '<rdf:Description drone-dji:RelativeAltitude="+39.80">'
    second = '<rdf:Description tiff:Make="DJI"><xmp:Rating>3</xmp:Rating></rdf:Description>'
    whole = f"<rdf:RDF>{first}{inner}</rdf:Description>{second}</rdf:RDF>"
    assert read_xmp(whole.encode()) == {"RelativeAltitude": "+39.80", "Make": "DJI", "Rating": "3"}
    exif = make_exif(main={BASE.Model: "FC300S"})
    found = read_capture(photo_of(xmp=whole.encode(), exif=exif))
    assert (found.model, found.relative_altitude_m) == ("FC300S", 39.8)


def test_read_xmp__known_prefixes_before_others():
    bare = b'<rdf:Description my:Model="Mine" tiff:Model="FC300S" my:Make="DJI"/>'
    assert read_xmp(bare) == {"Model": "FC300S", "Make": "DJI"}


def test_read_xmp__undeclared_prefixes():
    bare = b'<rdf:Description drone-dji:ImageSource="WideCamera"/>'
    assert read_xmp(bare) == {"ImageSource": "WideCamera"}


BOMB = (
    b'<!DOCTYPE x [<!ENTITY a "'
    + b"0" * 1000
    + b'">'
    + b"".join(
        b'<!ENTITY %c "%s">' % (c, b"&%c;" % (c - 1) * 20) for c in range(ord("b"), ord("h"))
    )
    + b'<!ENTITY file SYSTEM "file:///etc/passwd">]>'
)


@pytest.mark.parametrize("use", [b"&g;", b"&file;", b"fine"])
def test_read_capture__entities_are_harmless(use):
    xmp = BOMB + b'<x RelativeAltitude="+39.80"><Make>' + use + b"</Make></x>"
    tracemalloc.start()
    found = read_capture(photo_of(xmp=xmp))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.make, found.relative_altitude_m) == (None, None)
    assert peak < 20e6


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


XMP_NAME = b"http://ns.adobe.com/xap/1.0/\0"


@pytest.mark.parametrize("is_camera_first", [True, False])
def test_read_capture__an_editors_packet_beside_the_cameras(is_camera_first):
    data = photo_of(exif=make_exif(main={BASE.Make: "DJI"}))
    packets = [
        packet(DJI, as_elements=True),
        packet({"Rating": "3", "Lens": "24 mm"}, prefix="xmp"),
    ]
    found = read_capture(
        data[:2]
        + b"".join(
            segment(0xE1, XMP_NAME + body) for body in packets[:: 1 if is_camera_first else -1]
        )
        + data[2:]
    )
    assert (found.relative_altitude_m, found.gimbal_yaw_deg) == (39.8, 40.0)
    assert (found.make, found.lens) == ("DJI", "24 mm")


def test_read_capture__the_first_of_two_packets_wins():
    data = photo_of()
    bodies = (XMP_NAME + packet({"RelativeAltitude": height}) for height in ("+39.80", "+1.00"))
    found = read_capture(data[:2] + b"".join(segment(0xE1, body) for body in bodies) + data[2:])
    assert found.relative_altitude_m == 39.8


def test_read_capture__packets_without_end():
    data = photo_of()
    first = segment(0xE1, XMP_NAME + packet(DJI))
    more = segment(0xE1, XMP_NAME + packet({"Lens": "x" * 60_000}))
    assert read_capture(data[:2] + first + more * 40 + data[2:]).relative_altitude_m == 39.8


# --- position ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("latitude", "longitude"), [(46.84, -91.99), (-33.9, 18.4), (0.0, 12.0)])
def test_read_capture__position_of_exif(latitude, longitude):
    found = read_capture(photo_of(exif=make_exif(gps=gps_of(latitude, longitude))))
    assert (found.latitude, found.longitude) == pytest.approx((latitude, longitude), abs=1e-7)


@pytest.mark.parametrize("spelling", ["GpsLongitude", "GpsLongtitude"])
def test_read_capture__xmp_before_exif(spelling):
    xmp = packet({"GpsLatitude": "+46.123456789", spelling: "-91.987654321"})
    found = read_capture(photo_of(xmp=xmp, exif=make_exif(gps=gps_of(1.0, 2.0))))
    assert (found.latitude, found.longitude) == (46.123456789, -91.987654321)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [("0", "0"), ("+0.0", "-0.000"), ("nan", "2"), ("91", "2"), ("2", "-180.5"), ("3", ""), ("x", "1")],
)  # fmt: skip
def test_read_capture__positions_that_are_none(latitude, longitude):
    xmp = packet({"GpsLatitude": latitude, "GpsLongitude": longitude})
    found = read_capture(photo_of(xmp=xmp))
    assert (found.latitude, found.longitude) == (None, None)
    both = read_capture(photo_of(xmp=xmp, exif=make_exif(gps=gps_of(1.0, 2.0))))
    assert (both.latitude, both.longitude) == pytest.approx((1.0, 2.0))


@pytest.mark.parametrize(
    "gps",
    [
        gps_of(0.0, 0.0),
        gps_of(1.0, 2.0, GPSLatitudeRef=""),
        gps_of(1.0, 2.0, GPSLongitudeRef="N"),
        gps_of(1.0, 2.0, GPSLatitude=(IFDRational(1, 0), IFDRational(0), IFDRational(0))),
        gps_of(1.0, 2.0, GPSLatitude=(IFDRational(200), IFDRational(0), IFDRational(0))),
        {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: degrees(1.0)},
    ],
)
def test_read_capture__exif_positions_that_are_none(gps):
    found = read_capture(photo_of(exif=make_exif(gps=gps)))
    assert (found.latitude, found.longitude) == (None, None)


@pytest.mark.parametrize(
    ("reference", "expected"), [(b"\0", 198.5), (b"\1", -198.5), (None, 198.5)]
)
def test_read_capture__altitude_of_exif(reference, expected):
    tags = {GPS.GPSAltitude: IFDRational(397, 2)}
    if reference is not None:
        tags[GPS.GPSAltitudeRef] = reference
    found = read_capture(photo_of(exif=make_exif(gps=tags)))
    assert (found.altitude_m, found.relative_altitude_m) == (expected, None)
    assert read_capture(photo_of(xmp=packet(DJI), exif=make_exif(gps=tags))).altitude_m == 198.31


@pytest.mark.parametrize("written", ["1e308", "-1e308", "20000.5", "-1e7"])
def test_read_capture__heights_that_are_none(written):
    xmp = packet({"RelativeAltitude": written, "AbsoluteAltitude": written})
    found = read_capture(photo_of(xmp=xmp))
    assert (found.relative_altitude_m, found.altitude_m) == (None, None)
    exif = make_exif(gps={GPS.GPSAltitude: IFDRational(397, 2)})
    assert read_capture(photo_of(xmp=xmp, exif=exif)).altitude_m == 198.5
    absurd = make_exif(gps={GPS.GPSAltitude: IFDRational(2_000_001, 100)})
    assert read_capture(photo_of(exif=absurd)).altitude_m is None


@pytest.mark.parametrize(
    ("flag", "expected"),
    [("50", "fixed"), ("34", "float"), ("16", "single"), ("0", None), ("17", None), ("x", None)],
)
def test_read_capture__rtk(flag, expected):
    assert read_capture(photo_of(xmp=packet({"RtkFlag": flag}))).rtk == expected


# --- time -------------------------------------------------------------------------------------

ORIGINAL, DIGITIZED, PLAIN = "2024:01:23 17:27:45", "2024:01:23 17:27:46", "2024:01:24 09:00:00"
NONE = "0000:00:00 00:00:00"


@pytest.mark.parametrize(
    ("original", "digitized", "plain", "expected"),
    [
        (ORIGINAL, DIGITIZED, PLAIN, clock(2024, 1, 23, 17, 27, 45)),
        (NONE, DIGITIZED, PLAIN, clock(2024, 1, 23, 17, 27, 46)),
        (None, None, PLAIN, clock(2024, 1, 24, 9)),
        ("2024:13:40 17:27:45", None, PLAIN, clock(2024, 1, 24, 9)),
        (NONE, NONE, NONE, None),
        ("    :  :     :  :  ", None, None, None),
        ("2024-01-23 17:27:45", None, None, clock(2024, 1, 23, 17, 27, 45)),
        ("2024:01:23", None, None, None),
        (None, None, None, None),
    ],
)
def test_read_capture__time(original, digitized, plain, expected):
    photo = {BASE.DateTimeOriginal: original, BASE.DateTimeDigitized: digitized}
    exif = make_exif(
        main={BASE.DateTime: plain} if plain else {},
        photo={tag: stamp for tag, stamp in photo.items() if stamp},
    )
    assert read_capture(photo_of(exif=exif)).taken == expected


@pytest.mark.parametrize(
    ("offset", "expected"), [("+02:00", "+02:00"), ("-09:30", "-09:30"), ("02:00", None), ("  :  ", None)]
)  # fmt: skip
def test_read_capture__offset_and_parts_of_a_second(offset, expected):
    photo = {
        BASE.DateTimeOriginal: ORIGINAL,
        BASE.OffsetTimeOriginal: offset,
        BASE.SubsecTimeOriginal: "25",
    }
    found = read_capture(photo_of(exif=make_exif(photo=photo)))
    assert found.taken == clock(2024, 1, 23, 17, 27, 45, 250_000)
    assert found.utc_offset == expected


@pytest.mark.parametrize(
    ("software", "written", "expected"),
    [
        ("Photo Viewer", "2024:06:14 13:00:00", "Photo Viewer"),
        (None, "2024:06:14 13:00:00", "an unnamed program"),
        ("v01.07.0000", "2024:06:14 10:00:00", None),  # a camera's firmware
        ("v01.07.0000", "2024:06:14 10:00:45", None),  # still writing
        ("Photo Viewer", "2024:06:13 10:00:00", None),
        ("Photo Viewer", "no time", None),
    ],
)
def test_read_capture__edited_later(software, written, expected):
    main = {BASE.DateTime: written} | ({BASE.Software: software} if software else {})
    exif = make_exif(main=main, photo={BASE.DateTimeOriginal: "2024:06:14 10:00:00"})
    assert read_capture(photo_of(exif=exif)).edited_by == expected


def test_read_capture__time_of_xmp():
    xmp = packet({"CreateDate": "2024-01-23T17:27:45.5+02:00"}, prefix="xmp")
    found = read_capture(photo_of(xmp=xmp))
    assert found.taken == clock(2024, 1, 23, 17, 27, 45, 500_000)
    assert found.utc_offset == "+02:00"
    assert read_capture(photo_of(xmp=packet({"CreateDate": "2016-06-23"}))).taken is None


@pytest.mark.parametrize(
    ("stamp", "expected"), [("2016:06:23", date(2016, 6, 23)), ("2016:02:30", None), ("0000:00:00", None)]
)  # fmt: skip
def test_read_capture__satellite_date(stamp, expected):
    found = read_capture(photo_of(exif=make_exif(gps={GPS.GPSDateStamp: stamp})))
    assert found.satellite_date == expected


# --- camera -----------------------------------------------------------------------------------


def test_read_capture__words_without_padding():
    exif = make_exif(
        main={BASE.Make: "DJI" + "\0" * 28, BASE.Model: "FC300S  \0\0"},
        photo={BASE.LensModel: "24mm F1.7"},
    )
    found = read_capture(photo_of(exif=exif))
    assert (found.make, found.model, found.lens) == ("DJI", "FC300S", "24mm F1.7")
    assert read_capture(photo_of(exif=make_exif(main={BASE.Make: "\0\0 "}))).make is None


def test_read_capture__image_source():
    assert read_capture(photo_of(xmp=packet({"ImageSource": "WideCamera"}))).image_source == "WideCamera"  # fmt: skip


def test_read_capture__focal_length_of_the_table():
    exif = make_exif(
        main={BASE.Model: "FC300S"},
        photo={BASE.FocalLength: IFDRational(361, 100), BASE.FocalLengthIn35mmFilm: 20},
    )
    found = read_capture(photo_of(exif=exif))
    assert (found.focal_mm, found.focal_35mm) == (3.61, 20)
    assert (found.focal_px, found.focal_from) == (pytest.approx(3.61 / 6.17 * 400), "camera table")
    assert (found.center_x_px, found.center_y_px) == (None, None)


@pytest.mark.parametrize(("unit", "per_unit"), [(2, 25.4), (3, 10.0), (4, 1.0), (None, 25.4)])
def test_read_capture__focal_plane(unit, per_unit):
    photo = {
        BASE.FocalLength: IFDRational(5),
        BASE.FocalPlaneXResolution: 60.0 * per_unit,
        BASE.ExifImageWidth: 400,
        BASE.ExifImageHeight: 225,
    }
    if unit is not None:
        photo[BASE.FocalPlaneResolutionUnit] = unit
    found = read_capture(photo_of(exif=make_exif(photo=photo)))
    assert (found.focal_px, found.focal_from) == (pytest.approx(300, rel=1e-4), "focal plane")


def test_read_capture__digital_zoom():
    photo = {BASE.FocalLengthIn35mmFilm: 24, BASE.DigitalZoomRatio: IFDRational(3, 2)}
    plain = read_capture(photo_of(exif=make_exif(photo={BASE.FocalLengthIn35mmFilm: 24})))
    assert read_capture(photo_of(exif=make_exif(photo=photo))).focal_px == plain.focal_px * 1.5
    photo[BASE.DigitalZoomRatio] = IFDRational(0, 0)
    assert read_capture(photo_of(exif=make_exif(photo=photo))).focal_px == plain.focal_px


CALIBRATED = {
    "CalibratedFocalLength": "366.6",
    "CalibratedOpticalCenterX": "201.0",
    "CalibratedOpticalCenterY": "149.0",
}


@pytest.mark.parametrize(
    ("size", "focal_px", "center"),
    [
        ((400, 300), 366.6, (201.0, 149.0)),
        ((400, 225), 366.6, (None, None)),  # a cut: the calibrated row is of the whole frame
        ((400, 267), 366.6, (None, None)),
        ((350, 300), 366.6, (None, None)),  # not made smaller: it is as high as before
        ((200, 150), 366.6 * 200 / 402, (100.0, 149 * 200 / 402)),  # made smaller by a tool
    ],
)
def test_read_capture__calibration(size, focal_px, center):
    found = read_capture(photo_of(size=size, xmp=packet(CALIBRATED)))
    assert (found.focal_px, found.focal_from) == (pytest.approx(focal_px), "calibration")
    assert (found.center_x_px, found.center_y_px) == (
        center if center[0] is None else pytest.approx(center)
    )


# --- what never raises ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        b"\xff\xd8\xff\xe1",
        b"\xff\xd8\xff\xd9",
        b"\x89PNG\r\n\x1a\n",
        b"II*\0\xff\xff\xff\xff",
        b"\0\0\0\x18ftypheic" + bytes(100),
        bytes(1000),
    ],
)
def test_read_capture__not_a_picture(data):
    assert read_capture(data) == NOTHING


def test_read_capture__a_picture_that_says_nothing():
    for kind in ("JPEG", "PNG", "TIFF", "WEBP", "BMP"):
        assert read_capture(photo_of(kind=kind)) == NOTHING


FULL = photo_of(
    xmp=packet(DJI | {"GpsLatitude": "1", "GpsLongitude": "2"}),
    exif=make_exif(
        main={BASE.Make: "DJI", BASE.Model: "FC300S"},
        photo={BASE.DateTimeOriginal: ORIGINAL, BASE.FocalLengthIn35mmFilm: 20},
        gps=gps_of(3.0, 4.0),
    ),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.integers(2, 2000), st.integers(0, 255)), min_size=1, max_size=30))
def test_read_capture__damage_gives_a_capture(changes):
    data = bytearray(FULL)
    for at, value in changes:
        data[at % len(data)] = value
    found = read_capture(bytes(data))
    for field in fields(found):
        value = getattr(found, field.name)
        assert not isinstance(value, float) or np.isfinite(value)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, len(FULL)))
def test_read_capture__cut_off(end):
    assert isinstance(read_capture(FULL[:end]), Capture)


@pytest.mark.parametrize("table", [0x8769, 0x8825])
def test_read_capture__a_table_that_points_nowhere_spoils_no_other(table):
    exif = make_exif(main={BASE.Make: "DJI"}, photo={BASE.FocalLengthIn35mmFilm: 20}, gps=gps_of(3.0, 4.0))  # fmt: skip
    block = bytearray(exif.tobytes())
    at = block.index(table.to_bytes(2, "big" if block[6:8] == b"MM" else "little"))
    block[at + 8 : at + 12] = b"\xff\xff\xff\x7f"
    found = read_capture(photo_of(exif=bytes(block)))
    assert found.make == "DJI"
    assert (found.focal_35mm == 20) == (table == 0x8825)
    assert (found.latitude == 3) == (table == 0x8769)


@pytest.mark.parametrize("exif", [None, make_exif(main={BASE.Make: "DJI"})])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_read_capture__decodes_no_pixels(kind, exif):
    """The pixels are not all there: whoever asked for them would get an error, and know nothing."""
    data = photo_of(kind=kind, size=(3000, 2000), xmp=packet(DJI), exif=exif)
    found = read_capture(data[:-2000])
    assert found.relative_altitude_m == 39.8
    assert found.make == (None if exif is None else "DJI")


def test_read_capture__a_dng_that_cannot_be_developed_is_as_large_as_its_picture():
    tags = ImageFileDirectory_v2()
    tags[0xC612] = b"\1\4\0\0"
    tags[700] = packet(CALIBRATED | DJI)
    sink = io.BytesIO()
    Image.new("RGB", (400, 300)).save(sink, "TIFF", tiffinfo=tags)
    found = read_capture(sink.getvalue())
    assert (found.relative_altitude_m, found.focal_px) == (39.8, 366.6)


# --- drawn and real flights -------------------------------------------------------------------


def test_read_capture__drawn_flights(tmp_path):
    draw_flights(tmp_path, scale=0.1)
    found = read_capture((tmp_path / "river-burn/DCIM/100MEDIA/DJI_0002.JPG").read_bytes())
    assert (found.make, found.model) == ("DJI", "FC300S")
    assert found.taken == clock(2024, 1, 23, 17, 27, 45)
    assert found.focal_px == pytest.approx(3.61 / 6.17 * 400, rel=1e-3)
    assert found.focal_from == "focal plane"
    assert found.latitude == pytest.approx(-38.7, abs=0.1)
    assert found.relative_altitude_m == pytest.approx(90, abs=0.3)
    assert (found.gimbal_pitch_deg, found.gimbal_roll_deg) == (-90, 0)


def test_read_capture__a_real_photograph():
    path = REPOSITORY.parent / "shared" / "flight" / "DJI_0018.JPG"
    if not path.exists():
        pytest.skip("the six real photographs are not beside this checkout (shared/flight)")
    found = read_capture(path.read_bytes())
    assert found == Capture(
        taken=clock(2016, 6, 23, 16, 31, 59),
        make="DJI",
        model="FC300S",
        focal_mm=3.61,
        focal_35mm=20.0,
        focal_px=pytest.approx(2340.36, abs=0.01),
        focal_from="camera table",
        latitude=pytest.approx(46 + 50 / 60 + 33.3855 / 3600),
        longitude=pytest.approx(-(91 + 59 / 60 + 40.4156 / 3600)),
        altitude_m=198.31,
        relative_altitude_m=39.8,
        gimbal_yaw_deg=45.0,
        gimbal_pitch_deg=-89.9,
        gimbal_roll_deg=0.0,
        flight_yaw_deg=46.0,
        flight_pitch_deg=1.8,
        flight_roll_deg=3.0,
    )
