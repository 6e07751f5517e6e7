"""Times."""

from datetime import date

import pytest
from PIL.TiffImagePlugin import IFDRational

from dino_assets.images.capture.metadata import read_capture
from dino_assets_tests.worlds.camera_files import (
    BASE,
    CALIBRATED,
    DIGITIZED,
    GPS,
    ORIGINAL,
    PLAIN,
    clock,
    make_exif,
    packet,
    photo_of,
)

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
