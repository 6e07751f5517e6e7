"""Directions in the words of Pix4D and senseFly, which turn an aircraft and not a gimbal."""

import numpy as np
import pytest

from dino_assets.images.capture.metadata import read_capture
from dino_assets.images.capture.poses import turn_to_gimbal
from dino_assets.images.ground.camera import judge_view, make_view, place_windows
from dino_assets.images.inspection import inspect_image
from dino_assets.images.records import Capture, View
from dino_assets.numerics.earth import travel
from dino_assets_tests.worlds.camera_photographs import (
    BASE,
    DJI,
    gps_of,
    make_exif,
    packet,
    photo_of,
)

PIX4D, SENSEFLY = "http://pix4d.com/camera/1.0/", "http://ns.sensefly.com/Camera/1.0/"
POSE = {"Yaw": "90", "Pitch": "6", "Roll": "0"}
WIDTH, HEIGHT, FOCAL_PX, HEIGHT_M = 400, 300, 400.0, 100.0


def gimbal_of(capture: Capture) -> tuple[float | None, ...]:
    return capture.gimbal_yaw_deg, capture.gimbal_pitch_deg, capture.gimbal_roll_deg


def read_words(words: dict[str, str], **options: str) -> Capture:
    return read_capture(photo_of(xmp=packet(words, **options)))


# --- the angles -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("aircraft", "gimbal"),
    [
        ((0, 0, 0), (0, -90, 0)),  # these four stand in Pix4D's description
        ((90, 0, 0), (90, -90, 0)),
        ((0, 90, 0), (0, 0, 0)),
        ((270, 90, 0), (-90, 0, 0)),
        ((40, 6, 0), (40, -84, 0)),
        ((40, -6, 0), (-140, -84, 180)),  # looks back: DJI writes a roll of 180 there, too
        ((0, 0, 10), (-90, -80, 90)),  # the right wing hangs down, so the camera looks left
    ],
)
def test_turn_to_gimbal__by_hand(aircraft, gimbal):
    angles = turn_to_gimbal(*aircraft)
    differences = (np.array(angles) - gimbal + 180) % 360 - 180
    np.testing.assert_allclose(differences, 0, atol=1e-6)


@pytest.mark.parametrize("yaw", [-170.0, -30.0, 0.0, 75.5, 189.428, 359.0])
@pytest.mark.parametrize(("pitch", "roll"), [(0, 0), (12.6, -3.4), (-8, 5), (30, 20), (1e-7, 0)])
def test_turn_to_gimbal__same_ground(yaw: float, pitch: float, roll: float):
    y, p, r = np.radians((yaw, pitch, roll))
    about_down = [[np.cos(y), -np.sin(y), 0], [np.sin(y), np.cos(y), 0], [0, 0, 1]]
    about_right = [[np.cos(p), 0, np.sin(p)], [0, 1, 0], [-np.sin(p), 0, np.cos(p)]]
    about_ahead = [[1, 0, 0], [0, np.cos(r), -np.sin(r)], [0, np.sin(r), np.cos(r)]]
    aircraft = np.array(about_down) @ about_right @ about_ahead
    corners = np.array([(0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT)], float)
    offsets = corners - (WIDTH / 2, HEIGHT / 2)
    # In the aircraft: ahead is the picture's top, then its right side, then down through the floor.
    rays = np.column_stack([-offsets[:, 1], offsets[:, 0], np.full(4, FOCAL_PX)]) @ aircraft.T
    north, east = (rays[:, :2] * HEIGHT_M / rays[:, 2:]).T
    expected = travel(11.0, 47.0, np.column_stack([east, north]))

    gimbal = turn_to_gimbal(yaw, pitch, roll)
    view = View(
        47.0, 11.0, HEIGHT_M, *gimbal, FOCAL_PX, WIDTH / 2, HEIGHT / 2, width=WIDTH, height=HEIGHT
    )
    places = place_windows(view, [[0, 0, WIDTH, HEIGHT]])
    np.testing.assert_allclose(places.corners[0], expected, rtol=0, atol=1e-7)  # a centimetre


# --- which words ------------------------------------------------------------------------------


@pytest.mark.parametrize("as_elements", [False, True])
@pytest.mark.parametrize(
    ("prefix", "address"),
    [("Camera", PIX4D), ("Camera", PIX4D.rstrip("/")), ("ns1", PIX4D), ("Camera", "http://other/")],
)
def test_read_capture__pose_of_pix4d(prefix, address, as_elements):
    xmp = packet(POSE, prefix=prefix, address=address, as_elements=as_elements)
    assert gimbal_of(read_capture(photo_of(xmp=xmp))) == (90, -84, 0)


def test_read_capture__senseflys_roll_has_the_opposite_sign():
    """The numbers of a thermoMAP, which writes TIFF."""
    words = {"Yaw": "189.428", "Pitch": "12.5908", "Roll": "-3.384"}
    expected = tuple(turn_to_gimbal(189.428, 12.5908, 3.384))
    for prefix, address in (("sensefly", SENSEFLY), ("Camera", SENSEFLY)):
        xmp = packet(words, prefix=prefix, address=address)
        assert gimbal_of(read_capture(photo_of(kind="TIFF", xmp=xmp))) == expected
    exif = make_exif(main={BASE.Make: "senseFly"})
    xmp = packet(words, prefix="Camera", address=PIX4D)
    assert gimbal_of(read_capture(photo_of(xmp=xmp, exif=exif))) == expected


def test_read_capture__ignores_a_light_sensors_angles():
    capture = read_words(POSE, prefix="DLS", address="http://micasense.com/DLS/1.0/")
    assert gimbal_of(capture) == (None, None, None)


@pytest.mark.parametrize(
    "change",
    [{"Pitch": "-90"}, {"Pitch": "140"}, {"Pitch": "nan"}, {"Yaw": "400"}, {"Roll": "200"}],
)
def test_read_capture__invalid_poses(change):
    capture = read_words(POSE | change, prefix="Camera", address=PIX4D)
    assert gimbal_of(capture) == (None, None, None)


def test_read_capture__a_gimbal_before_a_pose():
    xmp = packet(POSE, prefix="Camera", address=PIX4D).replace(
        b' Camera:Yaw="90"',
        b' xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" Camera:Yaw="90"'
        + "".join(f' drone-dji:{name}="{value}"' for name, value in DJI.items()).encode(),
    )
    assert gimbal_of(read_capture(photo_of(xmp=xmp))) == (40, -89.9, 0)


# --- what follows -----------------------------------------------------------------------------


def test_read_capture__a_pose_places_a_picture():
    words = POSE | {"AboveGroundAltitude": "100/1 m", "ModelType": "perspective"}
    xmp = packet(words, prefix="Camera", address=PIX4D)
    exif = make_exif(gps=gps_of(47.0, 11.0), photo={BASE.FocalLengthIn35mmFilm: 24})
    data = photo_of(xmp=xmp, exif=exif)
    capture = read_capture(data)
    view = make_view(capture, inspect_image(data))
    assert (judge_view(view), view.height_m) == ("gps-nadir", 100)


def test_read_capture__no_focal_length_describes_a_fisheye():
    exif = make_exif(photo={BASE.FocalLengthIn35mmFilm: 24})
    for model, has_focal_px in (("perspective", True), ("fisheye", False), ("Fisheye ", False)):
        xmp = packet({"ModelType": model}, prefix="Camera", address=PIX4D)
        capture = read_capture(photo_of(xmp=xmp, exif=exif))
        assert (capture.focal_px is not None, capture.focal_35mm) == (has_focal_px, 24)
