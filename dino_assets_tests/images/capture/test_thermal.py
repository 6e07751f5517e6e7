"""What makes a picture thermal, and what looks like it and does not."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from dino_assets.images.capture.thermal import find_thermal_signal
from dino_assets.images.records import Capture

DJI = Capture(make="DJI", model="M30T")
NAME = "DCIM/100MEDIA/DJI_20240102030405_0001_T.JPG"


def jpeg(*segments: tuple[int, bytes], size: tuple[int, int] = (640, 512)) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", size).save(sink, "JPEG")
    data = sink.getvalue()
    extra = b"".join(
        bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body
        for marker, content in segments
        for body in [content[i : i + 65_000] for i in range(0, len(content), 65_000)]
    )
    return data[:2] + extra + data[2:]


RAW = bytes(640 * 512 * 2)


@pytest.mark.parametrize(
    "source", ["InfraredCamera", "Infrared", "ThermalCamera", "IR", "IR_Camera", "IRCamera"]
)
def test_find_thermal_signal__image_source_of_a_thermal_camera(source):
    signal = find_thermal_signal("x.jpg", jpeg(), Capture(image_source=source))
    assert signal == f"XMP image source {source}"


@pytest.mark.parametrize("source", ["WideCamera", "ZoomCamera", "Visible", "VisibleCamera", "RGB"])
def test_find_thermal_signal__image_source_of_a_colour_camera(source):
    data = jpeg((0xE1, b"FLIR\0\1\0\0"), (0xE3, RAW))
    capture = Capture(make="DJI", image_source=source)
    assert find_thermal_signal(NAME, data, capture) is None


@pytest.mark.parametrize("source", ["Default", "Unknown", "irrigation", "Theremin"])
def test_find_thermal_signal__ambiguous_image_source(source):
    capture = Capture(make="DJI", image_source=source)
    assert find_thermal_signal("a.jpg", jpeg(), capture) is None
    assert find_thermal_signal("a.jpg", jpeg((0xE3, RAW)), capture) == "R-JPEG segments of DJI"


def test_find_thermal_signal__r_jpeg_of_flir():
    data = jpeg((0xE1, b"FLIR\0\1\0\0" + bytes(100)))
    assert find_thermal_signal("IMG_1.jpg", data, Capture()) == "R-JPEG segments of FLIR"
    assert find_thermal_signal("IMG_1.jpg", data, Capture(make="FLIR Systems AB")) is not None


def test_find_thermal_signal__r_jpeg_of_dji():
    for size, raw in (
        ((640, 512), RAW),
        ((512, 640), RAW),  # stored upright
        ((1280, 1024), RAW),  # drawn larger than its sensor
        ((1280, 1024), RAW * 4),
        ((336, 256), bytes(336 * 256 * 2)),
        ((640, 512), RAW + bytes(4000)),  # a header of its own
    ):
        data = jpeg((0xE3, raw), size=size)
        assert find_thermal_signal("a.jpg", data, DJI) == "R-JPEG segments of DJI"
    raw_of_an_xt_s = jpeg((0xE4, RAW))
    assert len(RAW) == 655_360
    assert find_thermal_signal("a.jpg", raw_of_an_xt_s, DJI) == "R-JPEG segments of DJI"
    temperatures = jpeg((0xE4, b"\xaa\x55\x12\x06" + bytes(60)))
    assert find_thermal_signal("a.jpg", temperatures, DJI) == "R-JPEG segments of DJI"


@pytest.mark.parametrize(
    ("data", "make"),
    [
        (jpeg((0xE3, RAW)), "samsung"),  # other makers keep notes in APP3
        (jpeg((0xE3, RAW)), None),
        (jpeg((0xE3, RAW[:-1])), "DJI"),  # less than two bytes for each element
        (jpeg((0xE3, RAW + bytes(30_000))), "DJI"),
        (jpeg((0xE4, RAW)), "samsung"),
        (jpeg((0xE4, RAW[:-1])), "DJI"),
        (jpeg((0xE3, RAW[::2]), (0xE4, RAW[::2])), "DJI"),  # half in either
        (jpeg((0xE4, RAW), size=(4000, 3000)), "DJI"),
        (jpeg((0xE3, RAW), size=(640, 480)), "DJI"),
        (jpeg((0xE3, RAW), size=(4000, 3000)), "DJI"),
        (jpeg((0xE3, bytes(50_000)), size=(160, 120)), "DJI"),  # some preview of some size
        (jpeg((0xE3, bytes(160 * 120 * 2)), size=(160, 120)), "DJI"),
        (jpeg((0xE3, bytes(360_000)), size=(640, 360)), "DJI"),
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
    signal = find_thermal_signal(name, jpeg(), Capture(make=make))
    assert signal == f"name {name.rpartition('/')[2]}"


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


@pytest.mark.parametrize("make", [None, "Autel Robotics"])
def test_find_thermal_signal__autels_names(make):
    signal = find_thermal_signal("100MEDIA/IRX_0003.jpg", jpeg(), Capture(make=make))
    assert signal == "name IRX_0003.jpg"
    assert find_thermal_signal("MAX_0003.JPG", jpeg(), Capture(make=make)) is None
    assert find_thermal_signal("IRX_row.JPG", jpeg(), Capture(make=make)) is None
    assert find_thermal_signal("IRX_0003.jpg", jpeg(), DJI) is None


def test_find_thermal_signal__a_lens_that_the_table_knows():
    capture = Capture(make="DJI", model="MAVIC2-ENTERPRISE-ADVANCED", focal_mm=9.0)
    signal = "thermal lens of MAVIC2-ENTERPRISE-ADVANCED, 640 × 512 px"
    assert find_thermal_signal("DJI_0002.JPG", jpeg(), capture) == signal
    assert find_thermal_signal("DJI_0002.JPG", jpeg(size=(1280, 1024)), capture) is not None
    assert find_thermal_signal("DJI_0002.JPG", jpeg(size=(4000, 3000)), capture) is None
    assert find_thermal_signal("DJI_0002.PNG", b"", capture) is None
    for changes in ({"focal_mm": 4.5}, {"focal_mm": None}, {"model": "FC300S"}, {"model": None}):
        other_capture = replace(capture, **changes)
        assert find_thermal_signal("DJI_0002.JPG", jpeg(), other_capture) is None
    light = replace(capture, image_source="VisibleCamera")
    assert find_thermal_signal("DJI_0002.JPG", jpeg(), light) is None


def test_find_thermal_signal__djis_name_on_another_makers_picture():
    assert find_thermal_signal("DJI_0001_T.JPG", jpeg(), Capture(make="Autel")) is None
    assert find_thermal_signal("DJI_0001_T.JPG", jpeg(), Capture(make="Canon")) is None


@pytest.mark.parametrize("kind", ["MPO", "PNG", "GIF", "TIFF"])
def test_find_thermal_signal__ordinary_pictures(kind):
    sink = io.BytesIO()
    picture = Image.new("P" if kind in ("PNG", "GIF") else "RGB", (64, 48))
    options = {"save_all": True, "append_images": [picture.copy()]} if kind == "MPO" else {}
    picture.save(sink, kind, **options)
    assert find_thermal_signal("a.jpg", sink.getvalue(), DJI) is None


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 5, 30, 4000, 6000])
def test_find_thermal_signal__truncated_files(cut):
    data = jpeg((0xE3, RAW))[:cut]
    assert find_thermal_signal("a.jpg", data, DJI) is None


def test_find_thermal_signal__padding_between_segments():
    data = jpeg((0xE1, b"FLIR\0"))
    assert find_thermal_signal("a.jpg", data[:2] + b"\xff\xff" + data[2:], Capture()) is not None
