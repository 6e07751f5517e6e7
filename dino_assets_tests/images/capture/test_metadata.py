"""What is read of files as cameras, editors and bad cards leave them."""

import io
from dataclasses import fields
from datetime import datetime

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
from dino_assets_tests.worlds.camera_photographs import (
    BASE,
    CALIBRATED,
    DJI,
    ORIGINAL,
    gps_of,
    make_exif,
    packet,
    photo_of,
)

EMPTY = Capture()
clock = datetime  # a camera's own: it has no zone


# --- camera -----------------------------------------------------------------------------------


def test_read_capture__words_without_padding():
    exif = make_exif(
        main={BASE.Make: "DJI" + "\0" * 28, BASE.Model: "FC300S  \0\0"},
        photo={BASE.LensModel: "24mm F1.7"},
    )
    capture = read_capture(photo_of(exif=exif))
    assert (capture.make, capture.model, capture.lens) == ("DJI", "FC300S", "24mm F1.7")
    assert read_capture(photo_of(exif=make_exif(main={BASE.Make: "\0\0 "}))).make is None


def test_read_capture__image_source():
    assert read_capture(photo_of(xmp=packet({"ImageSource": "WideCamera"}))).image_source == "WideCamera"  # fmt: skip


def test_read_capture__focal_length_of_the_table():
    exif = make_exif(
        main={BASE.Model: "FC300S"},
        photo={BASE.FocalLength: IFDRational(361, 100), BASE.FocalLengthIn35mmFilm: 20},
    )
    capture = read_capture(photo_of(exif=exif))
    assert (capture.focal_mm, capture.focal_35mm) == (3.61, 20)
    assert (capture.focal_px, capture.focal_from) == (
        pytest.approx(3.61 / 6.17 * 400),
        "camera table",
    )
    assert (capture.center_x_px, capture.center_y_px) == (None, None)


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
    capture = read_capture(photo_of(exif=make_exif(photo=photo)))
    assert (capture.focal_px, capture.focal_from) == (pytest.approx(300, rel=1e-4), "focal plane")


def test_read_capture__digital_zoom():
    photo = {BASE.FocalLengthIn35mmFilm: 24, BASE.DigitalZoomRatio: IFDRational(3, 2)}
    unzoomed = read_capture(photo_of(exif=make_exif(photo={BASE.FocalLengthIn35mmFilm: 24})))
    assert read_capture(photo_of(exif=make_exif(photo=photo))).focal_px == unzoomed.focal_px * 1.5
    photo[BASE.DigitalZoomRatio] = IFDRational(0, 0)
    assert read_capture(photo_of(exif=make_exif(photo=photo))).focal_px == unzoomed.focal_px


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
    capture = read_capture(photo_of(size=size, xmp=packet(CALIBRATED)))
    assert (capture.focal_px, capture.focal_from) == (pytest.approx(focal_px), "calibration")
    assert (capture.center_x_px, capture.center_y_px) == (
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
    assert read_capture(data) == EMPTY


def test_read_capture__picture_without_metadata():
    for kind in ("JPEG", "PNG", "TIFF", "WEBP", "BMP"):
        assert read_capture(photo_of(kind=kind)) == EMPTY


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
def test_read_capture__never_raises_for_damage(changes):
    data = bytearray(FULL)
    for position, value in changes:
        data[position % len(data)] = value
    capture = read_capture(bytes(data))
    for field in fields(capture):
        value = getattr(capture, field.name)
        assert not isinstance(value, float) or np.isfinite(value)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, len(FULL)))
def test_read_capture__truncated_files(end):
    assert isinstance(read_capture(FULL[:end]), Capture)


@pytest.mark.parametrize("table", [0x8769, 0x8825])
def test_read_capture__invalid_table_does_not_affect_others(table):
    exif = make_exif(main={BASE.Make: "DJI"}, photo={BASE.FocalLengthIn35mmFilm: 20}, gps=gps_of(3.0, 4.0))  # fmt: skip
    block = bytearray(exif.tobytes())
    offset = block.index(table.to_bytes(2, "big" if block[6:8] == b"MM" else "little"))
    block[offset + 8 : offset + 12] = b"\xff\xff\xff\x7f"
    capture = read_capture(photo_of(exif=bytes(block)))
    assert capture.make == "DJI"
    assert (capture.focal_35mm == 20) == (table == 0x8825)
    assert (capture.latitude == 3) == (table == 0x8769)


@pytest.mark.parametrize("exif", [None, make_exif(main={BASE.Make: "DJI"})])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_read_capture__decodes_no_pixels(kind, exif):
    """The pixels are incomplete: decoding them would raise, and no metadata would be read."""
    data = photo_of(kind=kind, size=(3000, 2000), xmp=packet(DJI), exif=exif)
    capture = read_capture(data[:-2000])
    assert capture.relative_altitude_m == 39.8
    assert capture.make == (None if exif is None else "DJI")


def test_read_capture__a_dng_that_cannot_be_developed_is_as_large_as_its_picture():
    tags = ImageFileDirectory_v2()
    tags[0xC612] = b"\1\4\0\0"
    tags[700] = packet(CALIBRATED | DJI)
    sink = io.BytesIO()
    Image.new("RGB", (400, 300)).save(sink, "TIFF", tiffinfo=tags)
    capture = read_capture(sink.getvalue())
    assert (capture.relative_altitude_m, capture.focal_px) == (39.8, 366.6)


# --- drawn and real flights -------------------------------------------------------------------


def test_read_capture__drawn_flights(tmp_path):
    draw_flights(tmp_path, scale=0.1)
    capture = read_capture((tmp_path / "river-burn/DCIM/100MEDIA/DJI_0002.JPG").read_bytes())
    assert (capture.make, capture.model) == ("DJI", "FC300S")
    assert capture.taken == clock(2024, 1, 23, 17, 27, 45)
    assert capture.focal_px == pytest.approx(3.61 / 6.17 * 400, rel=1e-3)
    assert capture.focal_from == "focal plane"
    assert capture.latitude == pytest.approx(-38.7, abs=0.1)
    assert capture.relative_altitude_m == pytest.approx(90, abs=0.3)
    assert (capture.gimbal_pitch_deg, capture.gimbal_roll_deg) == (-90, 0)


def test_read_capture__a_real_photograph():
    path = REPOSITORY.parent / "shared" / "flight" / "DJI_0018.JPG"
    if not path.exists():
        pytest.skip("the six real photographs are not beside this checkout (shared/flight)")
    capture = read_capture(path.read_bytes())
    assert capture == Capture(
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
