"""Position, altitude and time, by EXIF and where XMP goes before it."""

from datetime import date, datetime

import pytest
from PIL.TiffImagePlugin import IFDRational

from dino_assets.images.capture.metadata import read_capture
from dino_assets_tests.worlds.camera_photographs import (
    BASE,
    DJI,
    GPS,
    ORIGINAL,
    degrees,
    gps_of,
    make_exif,
    packet,
    photo_of,
)

clock = datetime  # a camera's own: it has no zone


# --- position ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("latitude", "longitude"), [(46.84, -91.99), (-33.9, 18.4), (0.0, 12.0)])
def test_read_capture__position_of_exif(latitude, longitude):
    capture = read_capture(photo_of(exif=make_exif(gps=gps_of(latitude, longitude))))
    assert (capture.latitude, capture.longitude) == pytest.approx((latitude, longitude), abs=1e-7)


@pytest.mark.parametrize("spelling", ["GpsLongitude", "GpsLongtitude"])
def test_read_capture__xmp_before_exif(spelling):
    xmp = packet({"GpsLatitude": "+46.123456789", spelling: "-91.987654321"})
    capture = read_capture(photo_of(xmp=xmp, exif=make_exif(gps=gps_of(1.0, 2.0))))
    assert (capture.latitude, capture.longitude) == (46.123456789, -91.987654321)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [("0", "0"), ("+0.0", "-0.000"), ("nan", "2"), ("91", "2"), ("2", "-180.5"), ("3", ""), ("x", "1")],
)  # fmt: skip
def test_read_capture__invalid_positions(latitude, longitude):
    xmp = packet({"GpsLatitude": latitude, "GpsLongitude": longitude})
    capture = read_capture(photo_of(xmp=xmp))
    assert (capture.latitude, capture.longitude) == (None, None)
    with_exif = read_capture(photo_of(xmp=xmp, exif=make_exif(gps=gps_of(1.0, 2.0))))
    assert (with_exif.latitude, with_exif.longitude) == pytest.approx((1.0, 2.0))


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
def test_read_capture__invalid_exif_positions(gps):
    capture = read_capture(photo_of(exif=make_exif(gps=gps)))
    assert (capture.latitude, capture.longitude) == (None, None)


@pytest.mark.parametrize(
    ("reference", "expected"), [(b"\0", 198.5), (b"\1", -198.5), (None, 198.5)]
)
def test_read_capture__altitude_of_exif(reference, expected):
    tags = {GPS.GPSAltitude: IFDRational(397, 2)}
    if reference is not None:
        tags[GPS.GPSAltitudeRef] = reference
    capture = read_capture(photo_of(exif=make_exif(gps=tags)))
    assert (capture.altitude_m, capture.relative_altitude_m) == (expected, None)
    assert read_capture(photo_of(xmp=packet(DJI), exif=make_exif(gps=tags))).altitude_m == 198.31


@pytest.mark.parametrize("written", ["1e308", "-1e308", "20000.5", "-1e7"])
def test_read_capture__invalid_heights(written):
    xmp = packet({"RelativeAltitude": written, "AbsoluteAltitude": written})
    capture = read_capture(photo_of(xmp=xmp))
    assert (capture.relative_altitude_m, capture.altitude_m) == (None, None)
    exif = make_exif(gps={GPS.GPSAltitude: IFDRational(397, 2)})
    assert read_capture(photo_of(xmp=xmp, exif=exif)).altitude_m == 198.5
    high_exif = make_exif(gps={GPS.GPSAltitude: IFDRational(2_000_001, 100)})
    assert read_capture(photo_of(exif=high_exif)).altitude_m is None


@pytest.mark.parametrize(
    ("flag", "expected"),
    [("50", "fixed"), ("34", "float"), ("16", "single"), ("0", None), ("17", None), ("x", None)],
)
def test_read_capture__rtk(flag, expected):
    assert read_capture(photo_of(xmp=packet({"RtkFlag": flag}))).rtk == expected


# --- time -------------------------------------------------------------------------------------

DIGITIZED, PLAIN = "2024:01:23 17:27:46", "2024:01:24 09:00:00"
ZEROS = "0000:00:00 00:00:00"


@pytest.mark.parametrize(
    ("original", "digitized", "plain", "expected"),
    [
        (ORIGINAL, DIGITIZED, PLAIN, clock(2024, 1, 23, 17, 27, 45)),
        (ZEROS, DIGITIZED, PLAIN, clock(2024, 1, 23, 17, 27, 46)),
        (None, None, PLAIN, clock(2024, 1, 24, 9)),
        ("2024:13:40 17:27:45", None, PLAIN, clock(2024, 1, 24, 9)),
        (ZEROS, ZEROS, ZEROS, None),
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
    capture = read_capture(photo_of(exif=make_exif(photo=photo)))
    assert capture.taken == clock(2024, 1, 23, 17, 27, 45, 250_000)
    assert capture.utc_offset == expected


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


@pytest.mark.parametrize(
    ("stated", "orientation", "expected"),
    [
        ((225, 400), 1, "an unnamed program"),
        ((225, 400), None, "an unnamed program"),
        ((400, 225), 1, None),
        ((4000, 2250), 1, None),  # made smaller
        ((225, 400), 6, None),  # some cameras state the upright size
        ((None, 400), 1, None),
    ],
)
def test_read_capture__swapped_width_and_height(stated, orientation, expected):
    """Programs that turn a picture often leave its times as they were."""
    main = {} if orientation is None else {BASE.Orientation: orientation}
    sizes = dict(zip((BASE.ExifImageWidth, BASE.ExifImageHeight), stated, strict=True))
    exif = make_exif(main=main, photo={tag: px for tag, px in sizes.items() if px})
    assert read_capture(photo_of(exif=exif, size=(400, 225))).edited_by == expected


def test_read_capture__time_of_xmp():
    xmp = packet({"CreateDate": "2024-01-23T17:27:45.5+02:00"}, prefix="xmp")
    capture = read_capture(photo_of(xmp=xmp))
    assert capture.taken == clock(2024, 1, 23, 17, 27, 45, 500_000)
    assert capture.utc_offset == "+02:00"
    assert read_capture(photo_of(xmp=packet({"CreateDate": "2016-06-23"}))).taken is None


@pytest.mark.parametrize(
    ("stamp", "expected"), [("2016:06:23", date(2016, 6, 23)), ("2016:02:30", None), ("0000:00:00", None)]
)  # fmt: skip
def test_read_capture__satellite_date(stamp, expected):
    capture = read_capture(photo_of(exif=make_exif(gps={GPS.GPSDateStamp: stamp})))
    assert capture.satellite_date == expected
