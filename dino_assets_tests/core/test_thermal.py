"""What makes a picture thermal, and what looks like it and does not."""

import io

import pytest
from PIL import Image

from dino_assets.core.thermal import find_thermal_signal
from dino_assets.records import Capture

DJI = Capture(make="DJI", model="M30T")
NAME = "DCIM/100MEDIA/DJI_20240102030405_0001_T.JPG"


def jpeg(*segments: tuple[int, bytes], size: tuple[int, int] = (64, 48)) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", size).save(sink, "JPEG")
    data = sink.getvalue()
    extra = b"".join(
        bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body
        for marker, body in segments
    )
    return data[:2] + extra + data[2:]


RAW = bytes(64 * 48 * 2)


@pytest.mark.parametrize("source", ["InfraredCamera", "Infrared", "ThermalCamera", "IR"])
def test_find_thermal_signal__the_camera_says_so(source):
    found = find_thermal_signal("x.jpg", jpeg(), Capture(image_source=source))
    assert found == f"XMP image source {source}"


@pytest.mark.parametrize("source", ["WideCamera", "ZoomCamera", "Visible", "VisibleCamera", "RGB"])
def test_find_thermal_signal__the_camera_says_light_whatever_else(source):
    other = jpeg((0xE1, b"FLIR\0\1\0\0"), (0xE3, RAW))
    said = Capture(make="DJI", image_source=source)
    assert find_thermal_signal(NAME, other, said) is None


@pytest.mark.parametrize("source", ["Default", "Unknown"])
def test_find_thermal_signal__a_word_that_decides_nothing(source):
    said = Capture(make="DJI", image_source=source)
    assert find_thermal_signal("a.jpg", jpeg(), said) is None
    assert find_thermal_signal("a.jpg", jpeg((0xE3, RAW)), said) == "R-JPEG segments of DJI"


def test_find_thermal_signal__r_jpeg_of_flir():
    data = jpeg((0xE1, b"FLIR\0\1\0\0" + bytes(100)))
    assert find_thermal_signal("IMG_1.jpg", data, Capture()) == "R-JPEG segments of FLIR"
    assert find_thermal_signal("IMG_1.jpg", data, Capture(make="FLIR Systems AB")) is not None


def test_find_thermal_signal__r_jpeg_of_dji():
    halves = ((0xE3, RAW[: len(RAW) // 2]), (0xE3, RAW[len(RAW) // 2 :]))
    assert find_thermal_signal("a.jpg", jpeg(*halves), DJI) == "R-JPEG segments of DJI"
    temperatures = jpeg((0xE4, b"\xaa\x55\x12\x06" + bytes(60)))
    assert find_thermal_signal("a.jpg", temperatures, DJI) == "R-JPEG segments of DJI"


@pytest.mark.parametrize(
    ("data", "make"),
    [
        (jpeg((0xE3, RAW)), "samsung"),  # other makers keep notes in APP3
        (jpeg((0xE3, RAW)), None),
        (jpeg((0xE3, RAW[:4000])), "DJI"),  # less than a byte and a half for each pixel
        (jpeg((0xE3, RAW), size=(640, 480)), "DJI"),
        (jpeg((0xE4, b"\xaa\x55\x12\x06")), "samsung"),
        (jpeg((0xE1, b"FLIRT\0")), None),
        (jpeg((0xE1, b"Exif\0\0" + b"FLIR\0")), None),
    ],
)
def test_find_thermal_signal__segments_that_are_something_else(data, make):
    assert find_thermal_signal("a.jpg", data, Capture(make=make)) is None


@pytest.mark.parametrize(
    "name",
    [
        "DJI_0001_T.JPG",
        "DJI_20240102030405_0001_T.JPG",
        "a/b/dji_0001_t.jpeg",
        "DJI_20240102030405_0001_T_waypoint7.JPG",
        "DJI_0001_T.tiff",
    ],
)
@pytest.mark.parametrize("make", [None, "DJI"])
def test_find_thermal_signal__djis_names(name, make):
    found = find_thermal_signal(name, jpeg(), Capture(make=make))
    assert found == f"name {name.rpartition('/')[2]}"


@pytest.mark.parametrize(
    "name",
    [
        "PLOT_T.JPG",
        "DJI_0001.JPG",
        "DJI_0001_W.JPG",
        "DJI_0001_V.JPG",
        "DJI_0001_TREE.JPG",
        "DJI_0001_T_crop.png",
        "DJI_T.JPG",
        "XDJI_0001_T.JPG",
        "DJI_0001_T.JPG/photo.jpg",
        "DJI_0001_T.JPG.jpg",
    ],
)
def test_find_thermal_signal__names_that_are_something_else(name):
    assert find_thermal_signal(name, jpeg(), Capture()) is None


def test_find_thermal_signal__djis_name_on_somebody_elses_picture():
    assert find_thermal_signal("DJI_0001_T.JPG", jpeg(), Capture(make="Canon")) is None


@pytest.mark.parametrize("kind", ["MPO", "PNG", "GIF", "TIFF"])
def test_find_thermal_signal__ordinary_pictures(kind):
    sink = io.BytesIO()
    picture = Image.new("P" if kind in ("PNG", "GIF") else "RGB", (64, 48))
    more = {"save_all": True, "append_images": [picture.copy()]} if kind == "MPO" else {}
    picture.save(sink, kind, **more)
    assert find_thermal_signal("a.jpg", sink.getvalue(), DJI) is None


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 5, 30, 4000, 6000])
def test_find_thermal_signal__cut_off(cut):
    data = jpeg((0xE3, RAW))[:cut]
    assert find_thermal_signal("a.jpg", data, DJI) is None


def test_find_thermal_signal__padding_between_segments():
    data = jpeg((0xE1, b"FLIR\0"))
    assert find_thermal_signal("a.jpg", data[:2] + b"\xff\xff" + data[2:], Capture()) is not None
