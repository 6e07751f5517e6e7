"""What is read of files as cameras, editors and bad cards leave them."""

import io
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

from dino_assets.demo.flights.draw import draw_flights
from dino_assets.images.capture.metadata import read_capture
from dino_assets.images.records import Capture
from dino_assets_tests.conftest import REPOSITORY
from dino_assets_tests.worlds.camera_files import (
    BASE,
    CALIBRATED,
    DJI,
    GPS,
    ORIGINAL,
    clock,
    degrees,
    gps_of,
    make_exif,
    packet,
    photo_of,
)

NOTHING = Capture()


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
