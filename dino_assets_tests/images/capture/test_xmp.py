"""XMP of every container and of every writer, whole, odd and hostile."""

import io
import tracemalloc

import pytest
from PIL import Image

from dino_assets.images.capture.metadata import read_capture
from dino_assets.images.capture.xmp import read_xmp
from dino_assets_tests.worlds.camera_photographs import (
    BASE,
    DJI,
    gps_of,
    make_exif,
    packet,
    photo_of,
)


@pytest.mark.parametrize("as_elements", [False, True])
@pytest.mark.parametrize("prefix", ["drone-dji", "dji", "ns1"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_read_capture__xmp_of_every_container(kind, prefix, as_elements):
    capture = read_capture(
        photo_of(kind=kind, xmp=packet(DJI, prefix=prefix, as_elements=as_elements))
    )
    assert (capture.altitude_m, capture.relative_altitude_m) == (198.31, 39.8)
    assert (capture.gimbal_yaw_deg, capture.gimbal_pitch_deg, capture.gimbal_roll_deg) == (
        40,
        -89.9,
        0,
    )
    assert (capture.flight_yaw_deg, capture.flight_pitch_deg, capture.flight_roll_deg) == (
        -46,
        1.8,
        3,
    )


def test_read_capture__heic():
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = make_exif(main={BASE.Make: "DJI"}, gps=gps_of(46.5, -91.25))
    heif = pillow_heif.from_pillow(Image.new("RGB", (400, 226)))
    sink = io.BytesIO()
    heif.save(sink, exif=exif.tobytes(), xmp=packet(DJI))
    capture = read_capture(sink.getvalue())
    assert (capture.make, capture.relative_altitude_m) == ("DJI", 39.8)
    assert (capture.latitude, capture.longitude) == pytest.approx((46.5, -91.25))


def test_read_capture__xmp_after_other_segments():
    data = photo_of(xmp=packet(DJI))
    padding = (b"\xff\xe2" + (60_002).to_bytes(2, "big") + bytes(60_000)) * 8
    assert read_capture(data[:2] + padding + data[2:]).relative_altitude_m == 39.8


def test_read_capture__xmp_in_an_mpo():
    sink = io.BytesIO()
    picture = Image.new("RGB", (400, 225))
    picture.save(sink, "MPO", save_all=True, append_images=[picture.resize((96, 54))], xmp=packet(DJI))  # fmt: skip
    capture = read_capture(sink.getvalue())
    assert capture.relative_altitude_m == 39.8


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("+40.00", 40.0), ("-40", -40.0), (" 40.5 ", 40.5), ("81/2", 40.5), ("1/0", None),
        ("nan", None), ("inf", None), ("-inf", None), ("", None), ("forty", None), ("1e400", None),
        ("1/2/3", None), ("0", 0.0), ("+-3", None),
    ],
)  # fmt: skip
def test_read_capture__numbers_as_cameras_write_them(written, expected):
    capture = read_capture(photo_of(xmp=packet({"RelativeAltitude": written})))
    assert capture.relative_altitude_m == expected


def test_read_xmp__damaged_tail_keeps_earlier_values():
    xmp = packet(DJI)
    assert read_xmp(xmp[: xmp.index(b"</rdf:RDF>")])["GimbalYawDegree"] == "+40.00"
    assert read_xmp(xmp[: xmp.index(b"FlightYaw")]) == {}
    assert read_xmp(b"") == read_xmp(b"no xml") == {}


def test_read_xmp__sixteen_bits():
    text = packet(DJI).decode().replace("\ufeff", "")
    assert read_xmp(text.encode("utf-16"))["RelativeAltitude"] == "+39.80"


def test_read_xmp__bytes_that_are_no_utf8():
    """A Latin-1 name of a place, and a control character: all the rest stands in the same element."""
    xmp = packet({"City": "Z@rich", "Note": "a#b", "Height": "+1#9.80"} | DJI)
    words = read_xmp(xmp.replace(b"@", b"\xfc").replace(b"#", b"\x07"))
    assert {name: words.get(name) for name in DJI} == DJI
    # What was lost may have been a digit.
    assert not words.keys() & {"City", "Note", "Height"}
    element_words = read_xmp(
        packet(DJI | {"City": "Z@rich"}, as_elements=True).replace(b"@", b"\xfc")
    )
    assert {name: element_words.get(name) for name in DJI} == DJI
    assert read_xmp(b"\xff\xff" + xmp.replace(b"#", b"-"))["Note"] == "a-b"


def test_read_capture__damaged_model_falls_back_to_exif():
    xmp = packet(DJI | {"Model": "FC@00S"}, prefix="tiff").replace(b"@", b"\xfc")
    capture = read_capture(photo_of(xmp=xmp, exif=make_exif(main={BASE.Model: "FC300S"})))
    assert (capture.model, capture.relative_altitude_m) == ("FC300S", 39.8)


@pytest.mark.parametrize("use", [b"", b"\xfc"])
def test_read_xmp__repair_reads_no_doctype(use):
    assert read_xmp(BOMB + b'<rdf:Description Model="' + use + b'">&g;</rdf:Description>') == {}


def test_read_xmp__ignores_nested_properties():
    nested = (
        '<m:Ingredients><rdf:Bag><rdf:li q:Model="Other" q:RelativeAltitude="9">'
        '<tiff:Make>Other</tiff:Make><rdf:Description tiff:Software="Other"/></rdf:li></rdf:Bag>'
        "</m:Ingredients>"
    )
    first = '<rdf:Description drone-dji:RelativeAltitude="+39.80">'
    second = '<rdf:Description tiff:Make="DJI"><xmp:Rating>3</xmp:Rating></rdf:Description>'
    xmp = f"<rdf:RDF>{first}{nested}</rdf:Description>{second}</rdf:RDF>"
    assert read_xmp(xmp.encode()) == {"RelativeAltitude": "+39.80", "Make": "DJI", "Rating": "3"}
    exif = make_exif(main={BASE.Model: "FC300S"})
    capture = read_capture(photo_of(xmp=xmp.encode(), exif=exif))
    assert (capture.model, capture.relative_altitude_m) == ("FC300S", 39.8)


def test_read_xmp__known_prefixes_before_others():
    xmp = b'<rdf:Description my:Model="Mine" tiff:Model="FC300S" my:Make="DJI"/>'
    assert read_xmp(xmp) == {"Model": "FC300S", "Make": "DJI"}


def test_read_xmp__undeclared_prefixes():
    xmp = b'<rdf:Description drone-dji:ImageSource="WideCamera"/>'
    assert read_xmp(xmp) == {"ImageSource": "WideCamera"}


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
    capture = read_capture(photo_of(xmp=xmp))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (capture.make, capture.relative_altitude_m) == (None, None)
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
    capture = read_capture(
        data[:2]
        + b"".join(
            segment(0xE1, XMP_NAME + body) for body in packets[:: 1 if is_camera_first else -1]
        )
        + data[2:]
    )
    assert (capture.relative_altitude_m, capture.gimbal_yaw_deg) == (39.8, 40.0)
    assert (capture.make, capture.lens) == ("DJI", "24 mm")


def test_read_capture__the_first_of_two_packets_wins():
    data = photo_of()
    bodies = (XMP_NAME + packet({"RelativeAltitude": height}) for height in ("+39.80", "+1.00"))
    capture = read_capture(data[:2] + b"".join(segment(0xE1, body) for body in bodies) + data[2:])
    assert capture.relative_altitude_m == 39.8


def test_read_capture__packets_without_end():
    data = photo_of()
    head = segment(0xE1, XMP_NAME + packet(DJI))
    filler = segment(0xE1, XMP_NAME + packet({"Lens": "x" * 60_000}))
    assert read_capture(data[:2] + head + filler * 40 + data[2:]).relative_altitude_m == 39.8
