"""Focal lengths in pixels, checked against data sheets by hand."""

import math

import pytest

from dino_assets.images.capture.cameras import (
    Optics,
    find_center_px,
    find_focal_px,
    find_resize,
    find_sensor_mm,
    is_thermal_lens,
)

FULL_FRAME_MM = math.hypot(36, 24)


def test_find_focal_px__nothing_known():
    assert find_focal_px(Optics(), width=4000, height=3000) is None
    assert find_focal_px(Optics(model="FC300S"), width=4000, height=3000) is None
    assert find_focal_px(Optics(model="what", focal_mm=5.0), width=4000, height=3000) is None


def test_find_focal_px__order_of_sources():
    values = {
        "calibrated_px": 3600.0,
        "plane_px_per_mm": 400.0,
        "model": "FC6310",
        "focal_mm": 8.8,
        "focal_35mm": 24.0,
    }
    size = {"width": 5472, "height": 3648}
    expected = [
        ("calibrated_px", (3600.0, "calibration")),
        ("plane_px_per_mm", (pytest.approx(3520.0), "focal plane")),
        ("model", (pytest.approx(3648.0), "camera table")),
        ("focal_35mm", (pytest.approx(24 / FULL_FRAME_MM * math.hypot(5472, 3648)), "35 mm equivalent")),
    ]  # fmt: skip
    for name, focal in expected:
        assert find_focal_px(Optics(**values), **size) == focal
        del values[name]
    assert find_focal_px(Optics(**values), **size) is None


@pytest.mark.parametrize(
    ("model", "focal_mm", "width", "height", "expected"),
    [
        ("FC300S", 3.61, 4000, 3000, 3.61 / 6.17 * 4000),
        ("FC300S", 3.61, 4000, 2250, 3.61 / 6.17 * 4000),  # a cut keeps the width
        ("FC300S", 3.61, 2000, 1125, 3.61 / 6.17 * 2000),
        ("FC300S", 3.61, 2250, 4000, 3.61 / 6.17 * 4000),  # stored upright
        ("DJI FC6310", 8.8, 5472, 3648, 3648),
        ("fc6310r", 8.8, 5472, 3078, 3648),
        ("L1D-20c", 10.26, 5472, 3648, 10.26 / 13.2 * 5472),
        ("M3T", 4.4, 4000, 3000, 2750),
        ("M3T", 9.1, 640, 512, 9.1 / 7.68 * 640),
        ("M3E", 12.29, 5280, 3956, 12.29 / 17.3 * 5280),
        ("ZenmuseP1", 35.0, 8192, 5460, 35 / 35.9 * 8192),
        ("ZenmuseP1", 50.0, 8192, 5460, 50 / 35.9 * 8192),
    ],
)
def test_find_focal_px__cameras(model, focal_mm, width, height, expected):
    focal = find_focal_px(Optics(model=model, focal_mm=focal_mm), width=width, height=height)
    assert focal == (pytest.approx(expected), "camera table")


def test_find_sensor_mm__another_lens_of_a_known_camera():
    assert find_sensor_mm("M3T", 4.4) == 6.4
    assert find_sensor_mm("M3T", 15.0) is None
    assert find_sensor_mm(None, 4.4) is None
    assert find_sensor_mm("FC300S", None) is None


@pytest.mark.parametrize(
    ("width", "height", "diagonal"),
    [
        (4000, 3000, 5000),
        (3000, 4000, 5000),
        (4000, 2250, 5000),  # 16:9 is cut from 4:3 across the full width
        (4000, 2110, 5000),  # so is 17:9
        (5472, 3648, math.hypot(5472, 3648)),  # 3:2 is a sensor's own shape
        (640, 512, math.hypot(640, 512)),
        (1000, 1000, math.hypot(1000, 1000)),
    ],
)
def test_find_focal_px__35mm_is_about_the_whole_sensor(width, height, diagonal):
    focal = find_focal_px(Optics(focal_35mm=20.0), width=width, height=height)
    assert focal == (pytest.approx(20 / FULL_FRAME_MM * diagonal), "35 mm equivalent")


def test_find_focal_px__35mm_agrees_with_the_data_sheet():
    """An FC300S writes 20 mm and 3.61 mm; by the picture's own 16:9 diagonal it would be 9 % off."""
    size = {"width": 4000, "height": 2250}
    table, _ = find_focal_px(Optics(model="FC300S", focal_mm=3.61), **size)
    equivalent, _ = find_focal_px(Optics(focal_35mm=20.0), **size)
    assert equivalent == pytest.approx(table, rel=0.015)
    assert 20 / FULL_FRAME_MM * math.hypot(4000, 2250) < 0.91 * table


@pytest.mark.parametrize(
    "optics",
    [
        Optics(calibrated_px=3600.0),
        Optics(plane_px_per_mm=400.0, focal_mm=9.0),
        Optics(model="FC6310", focal_mm=8.8),
        Optics(focal_35mm=24.0),
    ],
)
def test_find_focal_px__digital_zoom_multiplies(optics):
    size = {"width": 5472, "height": 3648}
    focal_px, source = find_focal_px(optics, **size)
    for zoom, factor in (
        (2.0, 2),
        (1.0, 1),
        (None, 1),
        (0.0, 1),
        (0.5, 1),
        (math.nan, 1),
        (-3.0, 1),
    ):
        zoomed = Optics(**{**vars(optics), "digital_zoom": zoom})
        assert find_focal_px(zoomed, **size) == (pytest.approx(focal_px * factor), source)


@pytest.mark.parametrize("nonsense", [3.61, 1e9])
def test_find_focal_px__wrong_values_use_the_next_source(nonsense):
    optics = Optics(calibrated_px=nonsense, focal_35mm=24.0)
    assert find_focal_px(optics, width=5472, height=3648)[1] == "35 mm equivalent"


def test_find_focal_px__focal_plane_of_a_picture_made_smaller():
    optics = Optics(plane_px_per_mm=414.5, focal_mm=8.8, shot_width=5472)
    assert find_focal_px(optics, width=1368, height=912)[0] == pytest.approx(414.5 * 8.8 / 4)


def test_find_resize__calibration_of_a_picture_made_smaller():
    optics = Optics(calibrated_px=3600.0, calibrated_center_x_px=2740.0, shot_width=1368)
    assert find_resize(optics, width=1368, height=912) == pytest.approx(0.25, rel=0.01)
    assert find_focal_px(optics, width=1368, height=912)[0] == pytest.approx(900, rel=0.01)
    assert find_resize(optics, width=5472, height=3648) == 1.0
    assert find_resize(Optics(), width=5472, height=3648) == 1.0
    assert find_resize(Optics(shot_width=5472), width=2736, height=1824) == 0.5


@pytest.mark.parametrize(
    ("shot", "size", "scale", "is_whole"),
    [
        ((5472, 3648), (5472, 3648), 1.0, True),
        ((5472, 3648), (5472, 3078), 1.0, False),  # 3:2 cut to 16:9
        ((5472, 3648), (4864, 3648), 1.0, False),  # 3:2 cut to 4:3
        ((5280, 3956), (5280, 3520), 1.0, False),  # 4:3 cut to 3:2
        ((5472, 3648), (5472, 3420), 1.0, False),  # 3:2 cut to 16:10
        ((5472, 3648), (2736, 1824), 0.5, True),
        ((5472, 3648), (1920, 1080), 1920 / 5472, False),  # made smaller, then cut
        ((5472, 3648), (10944, 7296), 2.0, True),
        ((4000, 3000), (3000, 4000), 1.0, False),  # turned: which way, nobody knows
        ((4000, 3000), (1500, 2000), 0.5, False),
        ((4056, 3040), (4000, 3000), 1.0, True),  # calibrated on a frame with its margins
    ],
)
def test_find_resize__cropped_picture(shot, size, scale, is_whole):
    optics = Optics(
        calibrated_px=3666.67,
        calibrated_center_x_px=shot[0] / 2,
        calibrated_center_y_px=shot[1] / 2,
        shot_width=max(size),
    )
    sides = dict(zip(("width", "height"), size, strict=True))
    assert find_resize(optics, **sides) == pytest.approx(scale)
    assert find_focal_px(optics, **sides) == (pytest.approx(3666.67 * scale), "calibration")
    center = find_center_px(optics, **sides)
    if is_whole:
        assert center == pytest.approx((shot[0] / 2 * scale, shot[1] / 2 * scale))
    else:
        assert center is None


def test_find_center_px__lens_slightly_off_the_middle():
    optics = Optics(calibrated_center_x_px=2040.0, calibrated_center_y_px=1470.0)
    assert find_center_px(optics, width=4000, height=3000) == (2040, 1470)
    halved = find_center_px(optics, width=2000, height=1500)
    assert halved == pytest.approx((1020, 735), rel=0.025)
    assert find_center_px(Optics(), width=4000, height=3000) is None
    for field in ("calibrated_center_x_px", "calibrated_center_y_px"):
        partial_optics = Optics(**{**vars(optics), field: None})
        assert find_center_px(partial_optics, width=4000, height=3000) is None


def test_find_focal_px__never_absurd():
    zoomed = Optics(calibrated_px=150_000.0, digital_zoom=100.0)
    assert find_focal_px(zoomed, width=4000, height=3000) is None
    for value in (0.0, 1e308, 5e-324):
        optics = Optics(
            calibrated_px=value,
            calibrated_center_x_px=value,
            calibrated_center_y_px=2000.0,
            focal_35mm=24.0,
        )
        assert find_focal_px(optics, width=4000, height=3000)[1] == "35 mm equivalent"


@pytest.mark.parametrize(
    ("model", "focal_mm", "expected"),
    [
        ("MAVIC2-ENTERPRISE-ADVANCED", 9.0, True),
        ("MAVIC2-ENTERPRISE-ADVANCED", 4.5, False),
        ("XT2", 19.0, True),
        ("M3T", 9.1, True),
        ("M3T", 4.4, False),
        ("FC300S", 3.61, False),
        ("what", 9.0, False),
        (None, None, False),
    ],
)
def test_is_thermal_lens__cameras_in_the_table(model, focal_mm, expected):
    assert is_thermal_lens(model, focal_mm) is expected
