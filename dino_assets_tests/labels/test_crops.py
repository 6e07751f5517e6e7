"""Geometry of crops by hand, and the EXIF that they carry."""

import io
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from dino_assets.images.capture.exif import read_exif_altitude_m, read_exif_position
from dino_assets.labels.crops import CropFrame, ShotFacts, add_exif, round_box
from dino_assets.labels.records import Window
from dino_assets_tests.conftest import photo_bytes

HALVED = CropFrame(Window(100, 200, 512, 512), 512, 512, 256, 256)
PADDED = CropFrame(Window(0, 0, 300, 200), 400, 400, 200, 200)


def test_to_crop__scales_and_cuts_at_the_edge():
    assert HALVED.to_crop(Window(100, 200, 512, 512)) == (0, 0, 256, 256)
    assert HALVED.to_crop(Window(140, 220, 100, 60)) == (20, 10, 50, 30)
    assert HALVED.to_crop(Window(0, 0, 140, 220)) == (0, 0, 20, 10)
    assert HALVED.to_crop(Window(0, 0, 100, 200)) is None


def test_to_photograph__leaves_out_what_was_padded():
    assert PADDED.to_crop(Window(0, 0, 300, 200)) == (0, 0, 150, 100)
    assert PADDED.to_photograph((140, 90, 60, 60)) == Window(280, 180, 20, 20)
    assert PADDED.to_photograph((160, 10, 20, 20)) is None


def test_is_whole__allows_a_pixel():
    assert HALVED.is_whole((0, 0.5, 256, 255))
    assert not HALVED.is_whole((0, 0, 256, 250))


def test_round_box__is_at_least_a_pixel_and_inside():
    within = Window(0, 0, 10, 10)
    assert round_box((3.2, 3.2, 0.1, 2), within) == Window(3, 3, 1, 2)
    assert round_box((9.9, 9.9, 0.5, 0.5), within) == Window(9, 9, 1, 1)
    assert round_box((-5, -5, 7, 100), within) == Window(0, 0, 2, 10)
    assert round_box((10, 0, 5, 5), within) is None


@given(st.data())
def test_frame__whole_pixels_of_the_photograph_come_back(data):
    side = data.draw(st.integers(32, 5000))
    window = Window(data.draw(st.integers(0, 4000)), data.draw(st.integers(0, 4000)), side, side)
    frame = CropFrame(window, side, side, *[data.draw(st.sampled_from([224, 256, 518]))] * 2)
    x, y = data.draw(st.integers(0, side - 1)), data.draw(st.integers(0, side - 1))
    box = Window(
        window.x + x,
        window.y + y,
        data.draw(st.integers(1, side - x)),
        data.draw(st.integers(1, side - y)),
    )
    cut = frame.to_crop(box)
    assert cut is not None
    assert frame.to_photograph(cut) == box


@pytest.mark.parametrize("at", [(47.123456789, 11.5), (-33.9, -70.000001), (0.0, 0.0)])
def test_add_exif__position_altitude_and_time_can_be_read(at):
    jpeg = photo_bytes(64, 64)
    taken = datetime(2024, 6, 14, 10, 5, 12)  # noqa: DTZ001 - EXIF has no zone
    shot = ShotFacts(*at, 612.5, taken, "DJI", "Mavic 3")
    tagged = add_exif(jpeg, shot, description="a tile")
    with Image.open(io.BytesIO(tagged)) as picture, Image.open(io.BytesIO(jpeg)) as before:
        exif = picture.getexif()
        assert picture.tobytes() == before.tobytes()
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    assert read_exif_position(gps) == pytest.approx(at, abs=1e-9)
    assert read_exif_altitude_m(gps) == 612.5
    assert exif[ExifTags.Base.ImageDescription] == "a tile"
    stamp = exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal]
    assert stamp == "2024:06:14 10:05:12"
    assert add_exif(jpeg, shot, description="a tile") == tagged


def test_add_exif__without_a_position_has_none():
    with Image.open(io.BytesIO(add_exif(photo_bytes(64, 64), ShotFacts(make="Käm")))) as picture:
        assert dict(picture.getexif().get_ifd(ExifTags.IFD.GPSInfo)) == {}
