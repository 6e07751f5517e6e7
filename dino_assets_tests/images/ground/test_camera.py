"""Where windows lie: by hand on the equator, then against pyproj's geodesics, then properties."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyproj import Geod

from dino_assets.demo.flights.draw import draw_flights
from dino_assets.images.capture.metadata import read_capture
from dino_assets.images.ground.camera import judge_view, make_view, place_windows
from dino_assets.images.inspection import inspect_image
from dino_assets.images.records import Capture, ImageFacts, View

# Metres per degree of WGS 84 where longitude and latitude are 0.
EAST_M, NORTH_M = 111_319.49, 110_574.28
WGS84 = Geod(ellps="WGS84")


def view(**changes) -> View:
    """100 m above (0, 0), looking straight down, heading north: 0.1 m a pixel, 40 × 30 m."""
    values = {
        "latitude": 0.0,
        "longitude": 0.0,
        "height_m": 100.0,
        "yaw_deg": 0.0,
        "pitch_deg": -90.0,
        "roll_deg": 0.0,
        "focal_px": 1000.0,
        "center_x_px": 200.0,
        "center_y_px": 150.0,
        "width": 400,
        "height": 300,
    }
    return View(**{**values, **changes})


def whole(of: View) -> list[list[int]]:
    is_turned = of.orientation >= 5
    return [[0, 0, of.height, of.width] if is_turned else [0, 0, of.width, of.height]]


def metres(degrees: np.ndarray) -> np.ndarray:
    """Longitude, latitude near (0, 0) to metres east and north."""
    return degrees * (EAST_M, NORTH_M)


def corners_m(of: View) -> np.ndarray:
    return metres(place_windows(of, whole(of)).corners[0])


def facts(**changes) -> ImageFacts:
    values = {
        "image_id": "0" * 64,
        "format": "JPEG",
        "mode": "RGB",
        "width": 400,
        "height": 300,
        "stored_width": 400,
        "stored_height": 300,
        "orientation": 1,
    }
    return ImageFacts(**{**values, **changes})


def capture(**changes) -> Capture:
    values = {
        "latitude": 46.8,
        "longitude": -92.0,
        "altitude_m": 198.0,
        "relative_altitude_m": 40.0,
        "gimbal_yaw_deg": 45.0,
        "gimbal_pitch_deg": -90.0,
        "gimbal_roll_deg": 0.0,
        "flight_yaw_deg": 120.0,
        "focal_px": 1000.0,
    }
    return Capture(**{**values, **changes})


# --- straight down ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("yaw_deg", "upper_left", "upper_right"),
    [
        (0, (-20, 15), (20, 15)),
        (90, (15, 20), (15, -20)),
        (180, (20, -15), (-20, -15)),
        (-90, (-15, -20), (-15, 20)),
    ],
)
def test_place_windows__four_headings(yaw_deg, upper_left, upper_right):
    corners = corners_m(view(yaw_deg=yaw_deg))
    expected = [upper_left, upper_right, np.negative(upper_left), np.negative(upper_right)]
    np.testing.assert_allclose(corners, expected, atol=1e-3)


def test_place_windows__forty_five_degrees_east_of_north():
    centers = place_windows(view(yaw_deg=45), [[190, 40, 20, 20]]).centers
    # 100 px up from the middle: 10 m north-east.
    np.testing.assert_allclose(metres(centers), [[10 / math.sqrt(2)] * 2], atol=1e-3)


def test_place_windows__a_window_is_its_part_of_the_picture():
    places = place_windows(view(), [[0, 0, 200, 150], [300, 200, 100, 100]])
    np.testing.assert_allclose(
        metres(places.corners[0]), [(-20, 15), (0, 15), (0, 0), (-20, 0)], atol=1e-3
    )
    np.testing.assert_allclose(metres(places.centers), [(-10, 7.5), (15, -10)], atol=1e-3)
    np.testing.assert_allclose(places.gsd_m, [0.1, 0.1])


def test_place_windows__shapes_without_windows():
    places = place_windows(view(), np.empty((0, 4), np.int32))
    assert (places.corners.shape, places.centers.shape, places.gsd_m.shape) == (
        (0, 4, 2),
        (0, 2),
        (0,),
    )


@pytest.mark.parametrize("roll_deg", [180, -180])
@pytest.mark.parametrize("yaw_deg", [0, 45, -170])
def test_place_windows__half_a_roll_at_nadir_is_half_a_turn(roll_deg, yaw_deg):
    corners = corners_m(view(roll_deg=roll_deg, yaw_deg=yaw_deg))
    np.testing.assert_allclose(corners, corners_m(view(yaw_deg=yaw_deg + 180)), atol=1e-6)


def test_place_windows__half_a_roll_with_the_yaw_turned_is_the_same_picture():
    """What a DJI writes at nadir, and what it means: the pixels do not come out rotated."""
    corners = corners_m(view(roll_deg=180, yaw_deg=-135))
    np.testing.assert_allclose(corners, corners_m(view(yaw_deg=45)), atol=1e-6)


def test_place_windows__principal_point():
    corners = corners_m(view(center_x_px=210.0, center_y_px=145.0))
    np.testing.assert_allclose(corners, corners_m(view()) - (1.0, 0.5), atol=1e-3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_place_windows__orientations(orientation):
    """A marked pixel is where it is on the ground, however the file is turned."""
    image = Image.new("L", (400, 300))
    image.putpixel((30, 70), 255)
    image.getexif()[0x0112] = orientation
    upright = np.asarray(turn_upright(image, orientation))
    y, x = (int(n[0]) for n in np.nonzero(upright))
    places = place_windows(view(orientation=orientation), [[x, y, 1, 1]])
    upright_places = place_windows(view(), [[30, 70, 1, 1]])
    np.testing.assert_allclose(places.centers, upright_places.centers, atol=1e-12)
    np.testing.assert_allclose(places.gsd_m, upright_places.gsd_m)
    np.testing.assert_allclose(
        places.corners[0][np.lexsort(places.corners[0].T.round(10))],
        upright_places.corners[0][np.lexsort(upright_places.corners[0].T.round(10))],
        atol=1e-12,
    )


@pytest.mark.parametrize("tilted", [{}, {"pitch_deg": -83.0, "roll_deg": 4.0}])
@pytest.mark.parametrize("turned_deg", [90, 180, 270])
def test_place_windows__turned_after_the_shot(turned_deg, tilted):
    """A marked pixel is where it was; the principal point goes round with the pixels."""
    shot = Image.new("L", (400, 300))
    shot.putpixel((30, 70), 255)
    pixels = np.asarray(shot.rotate(-turned_deg, expand=True))  # Pillow turns against the clock
    y, x = (int(n[0]) for n in np.nonzero(pixels))
    height, width = pixels.shape
    center = {"center_x_px": width / 2 + 8, "center_y_px": height / 2 - 5}
    turned_view = view(turned_deg=turned_deg, width=width, height=height, **center, **tilted)
    straight_view = view(center_x_px=208.0, center_y_px=145.0, **tilted)
    np.testing.assert_allclose(
        place_windows(turned_view, [[x, y, 1, 1]]).centers,
        place_windows(straight_view, [[30, 70, 1, 1]]).centers,
        atol=1e-12,
    )


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Pillow's own table of what EXIF's orientations mean."""
    transposition = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    return image if transposition is None else image.transpose(transposition)


# --- oblique and the horizon ------------------------------------------------------------------


def test_place_windows__forty_five_degrees_down():
    places = place_windows(view(pitch_deg=-45.0), [[199, 149, 2, 2]])
    np.testing.assert_allclose(metres(places.centers), [(0, 100)], atol=1e-2)
    # Twice as far per radian along the view as the slant (141 m) is wide, and √2 of it aslant.
    assert places.gsd_m[0] == pytest.approx(math.sqrt(0.1414 * 0.2), rel=1e-3)


def test_place_windows__upper_edge_of_an_oblique_picture():
    corners = corners_m(view(pitch_deg=-60.0, yaw_deg=90.0))
    upper_m = 100 * math.tan(math.radians(30) + math.atan(0.15))
    lower_m = 100 * math.tan(math.radians(30) - math.atan(0.15))
    # Heading east, up in the picture is east, and the left of it north.
    np.testing.assert_allclose(corners[:, 0], [upper_m, upper_m, lower_m, lower_m], atol=1e-2)
    assert corners[0, 1] > 0 > corners[1, 1]
    assert corners[0, 1] > corners[3, 1] > 0


def test_place_windows__a_picture_rolled_to_the_right_sees_more_on_the_left():
    """The right side of the camera goes down, so its left looks farther out."""
    corners = corners_m(view(pitch_deg=-60.0, roll_deg=5.0))
    assert corners[0, 1] > corners[1, 1] + 5


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "gps-nadir"),
        ({"is_rtk": True}, "rtk-nadir"),
        ({"pitch_deg": -80.0}, "gps-nadir"),
        ({"pitch_deg": -100.0}, "gps-nadir"),
        ({"pitch_deg": -79.9}, "oblique"),
        ({"pitch_deg": -79.9, "is_rtk": True}, "oblique"),
        ({"pitch_deg": -45.0}, "oblique"),
        ({"pitch_deg": -20.0}, "oblique"),  # its upper corners: 20 - 8.5 degrees below
        ({"pitch_deg": -12.0}, "none"),
        ({"pitch_deg": 0.0}, "none"),
        ({"pitch_deg": 30.0}, "none"),
        ({"pitch_deg": 90.0}, "none"),
        ({"pitch_deg": -18.0}, "oblique"),
        ({"pitch_deg": -18.0, "roll_deg": 45.0}, "none"),  # a corner on top: 18 - 14 degrees
    ],
)
def test_judge_view__words(changes, expected):
    assert judge_view(view(**changes)) == expected
    edited_quality = {"none": "none", "oblique": "edited-oblique"}.get(expected, "edited-nadir")
    assert judge_view(view(**changes), is_edited=True) == edited_quality


def test_judge_view__no_view():
    assert judge_view(None) == "none"


@pytest.mark.parametrize("of", [None, view(pitch_deg=-5.0), view(pitch_deg=45.0)])
def test_place_windows__none_with_the_horizon_in_view(of):
    places = place_windows(of, [[0, 250, 10, 10], [0, 0, 10, 10]])
    assert np.isnan(places.corners).all()
    assert np.isnan(places.centers).all()
    assert np.isnan(places.gsd_m).all()
    assert places.corners.shape == (2, 4, 2)


# --- against geodesics ------------------------------------------------------------------------


@pytest.mark.parametrize("latitude", [0.0, 46.84, -33.9, 69.9, -89.9, 89.99])
@pytest.mark.parametrize("longitude", [0.0, -91.99, 179.9999, -179.9999])
@pytest.mark.parametrize("pitch_deg", [-90.0, -45.0, -25.0])
def test_place_windows__agrees_with_geodesics(latitude, longitude, pitch_deg):
    camera = view(
        latitude=latitude, longitude=longitude, pitch_deg=pitch_deg, yaw_deg=33.0, roll_deg=2.0,
        height_m=500.0,
    )  # fmt: skip
    places = place_windows(camera, [[0, 0, 400, 300], [17, 30, 64, 64]])
    points = np.concatenate([places.corners.reshape(-1, 2), places.centers])
    # The same view over the equator's plane: east and north in metres, independent of the globe.
    ground = np.concatenate([reach(camera, x, y) for x, y in sample_points()])
    azimuth = np.degrees(np.arctan2(ground[:, 0], ground[:, 1]))
    distance = np.hypot(*ground.T)
    assert distance.max() < 2500
    ones = np.full(len(ground), 1.0)
    lon, lat, _ = WGS84.fwd(longitude * ones, latitude * ones, azimuth, distance)
    _, _, off_m = WGS84.inv(lon, lat, points[:, 0], points[:, 1])
    assert np.max(off_m) < 0.001
    assert (np.abs(points[:, 0]) <= 180).all()


def sample_points() -> list[tuple[float, float]]:
    boxes = [(0, 0, 400, 300), (17, 30, 64, 64)]
    corners = [
        (x + i * w, y + j * h) for x, y, w, h in boxes for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))
    ]
    return corners + [(x + w / 2, y + h / 2) for x, y, w, h in boxes]


def reach(camera: View, x: float, y: float) -> np.ndarray:
    """Compute the textbook's way: a rotation matrix (yaw, pitch, roll in north, east, down) and one ray."""

    def turn(axis: int, degrees: float) -> np.ndarray:
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        return np.array(
            [
                [[1, 0, 0], [0, c, -s], [0, s, c]],
                [[c, 0, s], [0, 1, 0], [-s, 0, c]],
                [[c, -s, 0], [s, c, 0], [0, 0, 1]],
            ][axis]
        )

    attitude = turn(2, camera.yaw_deg) @ turn(1, camera.pitch_deg) @ turn(0, camera.roll_deg)
    ray = attitude @ (camera.focal_px, x - camera.center_x_px, y - camera.center_y_px)
    north, east = ray[:2] * camera.height_m / ray[2]
    return np.array([[east, north]])


def test_place_windows__across_the_antimeridian():
    corners = place_windows(view(longitude=179.9999), whole(view())).corners[0]
    assert (corners[[0, 3], 0] > 179.99).all()
    assert (corners[[1, 2], 0] < -179.99).all()


def test_place_windows__over_the_pole():
    corners = place_windows(view(latitude=90.0), whole(view())).corners[0]
    _, _, away_m = WGS84.inv([0] * 4, [90] * 4, corners[:, 0], corners[:, 1])
    np.testing.assert_allclose(away_m, 25, atol=1e-3)


# --- properties -------------------------------------------------------------------------------

views = st.builds(
    view,
    latitude=st.floats(-70, 70),
    longitude=st.floats(-180, 180),
    height_m=st.floats(2, 500),
    yaw_deg=st.floats(-180, 180),
    pitch_deg=st.floats(-110, -40),
    roll_deg=st.floats(-15, 15),
    orientation=st.integers(1, 8),
)
boxes = st.tuples(
    st.integers(0, 200), st.integers(0, 150), st.integers(1, 100), st.integers(1, 100)
)


@settings(deadline=None, max_examples=60)
@given(views, boxes)
def test_place_windows__the_centre_is_inside(camera, box):
    places = place_windows(camera, [box])
    corners = places.corners[0]
    corners = corners + np.where(corners - corners[:1] > 180, -360, 0) * (1, 0)
    corners = corners + np.where(corners - corners[:1] < -180, 360, 0) * (1, 0)
    center = places.centers[0] + (round((corners[0, 0] - places.centers[0, 0]) / 360) * 360, 0)
    edges, to_center = np.roll(corners, -1, 0) - corners, center - corners
    sides = np.sign(edges[:, 0] * to_center[:, 1] - edges[:, 1] * to_center[:, 0])
    is_mirrored = camera.orientation in (2, 4, 5, 7)
    # Seen from above the four corners run clockwise, as in the picture.
    assert (sides == (1 if is_mirrored else -1)).all()


@settings(deadline=None, max_examples=60)
@given(views, boxes)
def test_place_windows__twice_the_height_is_twice_the_size(camera, box):
    low_places, high_places = (
        place_windows(replace(camera, height_m=camera.height_m * n), [box]) for n in (1, 2)
    )
    assert high_places.gsd_m == pytest.approx(2 * low_places.gsd_m, rel=1e-9)


@settings(deadline=None, max_examples=60)
@given(views, boxes, st.floats(-180, 180))
def test_place_windows__independent_of_longitude(camera, box, by_deg):
    places = place_windows(camera, [box])
    moved_places = place_windows(replace(camera, longitude=camera.longitude + by_deg), [box])
    differences = (moved_places.corners - places.corners - (by_deg, 0) + 180) % 360 - 180
    assert np.abs(differences).max() < 1e-9
    assert (moved_places.gsd_m == places.gsd_m).all()


@settings(deadline=None, max_examples=60)
@given(views, st.lists(boxes, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_place_windows__windows_are_independent(camera, some, rng):
    order = list(range(len(some)))
    rng.shuffle(order)
    places = place_windows(camera, some)
    mixed = place_windows(camera, [some[i] for i in order])
    np.testing.assert_array_equal(mixed.corners, places.corners[order])
    np.testing.assert_array_equal(mixed.gsd_m, places.gsd_m[order])


# --- from a capture ---------------------------------------------------------------------------


def test_make_view__takes_the_gimbal_and_the_height_above_take_off():
    camera = make_view(capture(), facts())
    assert camera == view(latitude=46.8, longitude=-92.0, height_m=40.0, yaw_deg=45.0)


def test_make_view__ground_height():
    assert make_view(capture(), facts(), ground_m=150.0).height_m == 48.0
    only_above_sea = capture(relative_altitude_m=None)
    assert make_view(only_above_sea, facts(), ground_m=150.0).height_m == 48.0
    assert make_view(only_above_sea, facts()) is None
    assert make_view(capture(altitude_m=None), facts(), ground_m=150.0) is None
    assert make_view(capture(), facts(), ground_m=198.0) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"latitude": None},
        {"longitude": None},
        {"relative_altitude_m": None},
        {"relative_altitude_m": 0.0},
        {"relative_altitude_m": -3.0},
        {"relative_altitude_m": math.nan},
        {"gimbal_yaw_deg": None},
        {"gimbal_pitch_deg": None},
        {"focal_px": None},
        {"focal_px": 0.0},
        {"latitude": math.inf},
    ],
)
def test_make_view__missing_metadata(changes):
    assert make_view(capture(**changes), facts()) is None


@pytest.mark.parametrize("written", [20_200.0, 1e7, 1e308, -1e308])
def test_make_view__invalid_height(written):
    assert make_view(capture(relative_altitude_m=written), facts()) is None
    assert make_view(capture(altitude_m=written), facts(), ground_m=150.0) is None
    for ground_m in (-written, written):  # 2e308 is no number at all
        assert make_view(capture(altitude_m=written), facts(), ground_m=ground_m) is None
    assert make_view(capture(), facts(), ground_m=-abs(written)) is None


def test_make_view__invalid_focal_length():
    for focal_px in (1.1e6, 1e308, -1000.0):
        assert make_view(capture(focal_px=focal_px), facts()) is None


def test_make_view__the_highest_flight():
    places = place_windows(make_view(capture(relative_altitude_m=20_000.0), facts()), [[0, 0, 400, 300]])  # fmt: skip
    assert places.gsd_m[0] == pytest.approx(20)


def test_make_view__optional_metadata():
    camera = make_view(capture(gimbal_roll_deg=None, rtk="fixed"), facts())
    assert (camera.roll_deg, camera.is_rtk) == (0.0, True)
    assert not make_view(capture(rtk="float"), facts()).is_rtk


def test_make_view__sizes_are_of_the_stored_frame():
    turned_facts = facts(width=300, height=400, orientation=6)
    camera = make_view(capture(center_x_px=190.0, center_y_px=155.0), turned_facts)
    assert (camera.width, camera.height, camera.orientation) == (400, 300, 6)
    assert (camera.center_x_px, camera.center_y_px) == (190.0, 155.0)


# --- drawn flights, whose truth is known ------------------------------------------------------


def test_place_windows__drawn_flights(tmp_path):
    draw_flights(tmp_path, scale=0.1)
    truth = json.loads((tmp_path / "truth.geojson").read_text())
    images = [f for f in truth["features"] if f["properties"]["class"] == "image"]
    assert len(images) == 6
    for image in images:
        properties = image["properties"]
        data = (tmp_path / properties["file"]).read_bytes()
        camera = make_view(read_capture(data), inspect_image(data))
        assert judge_view(camera) == "gps-nadir"
        places = place_windows(camera, whole(camera))
        assert places.gsd_m[0] == pytest.approx(properties["ground_px_m"], rel=1e-3)
        ring = np.array(image["geometry"]["coordinates"][0])[:4]
        _, _, off_m = WGS84.inv(*ring.T, *places.corners[0].T)
        # Angles are written to 0.01 degrees and heights to 0.01 m.
        assert off_m.max() < 0.05
