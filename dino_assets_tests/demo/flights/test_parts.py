"""The pieces the drawn flights are made of, with numbers that can be checked by hand."""

from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import ExifTags, Image

from dino_assets.demo.flights.camera import Camera, Pose, Site, take_picture
from dino_assets.demo.flights.light import Light, cast_shadows
from dino_assets.demo.flights.sites import draw_burn
from dino_assets.demo.flights.surfaces import blend
from dino_assets.demo.flights.tags import Exposure, write_exif, write_xmp
from dino_assets.demo.flights.terrain import (
    Course,
    Raster,
    blank_canvas,
    draw_noise,
    fill_outline,
    grow_blob,
    lies_inside,
    split,
)
from dino_assets.demo.flights.trees import scatter_trees

SQUARE = np.array([(0, 0), (4, 0), (4, 4), (0, 4)], float)


def test_raster__row_zero_is_farthest_ahead():
    raster = Raster(width_m=4, length_m=2, px_per_m=2)
    assert raster.shape == (4, 8)
    assert raster.xs.tolist() == [-1.75, -1.25, -0.75, -0.25, 0.25, 0.75, 1.25, 1.75]
    assert raster.ys.tolist() == [0.75, 0.25, -0.25, -0.75]
    assert raster.to_px(np.array([(-2.0, 1.0), (0.0, 0.0)])).tolist() == [[0, 0], [4, 2]]


def test_raster_window__is_cut_at_the_edge():
    raster = Raster(width_m=4, length_m=4, px_per_m=1)
    assert raster.window(np.array([(-9.0, 0.2), (0.5, 1.0)])) == (slice(1, 2), slice(0, 3))
    far_window = raster.window(np.array([(9.0, 9.0), (10.0, 10.0)]))
    assert far_window == (slice(0, 0), slice(4, 4))


def test_split__covers_every_row_once():
    bands = list(split((slice(3, 10), slice(0, 2)), rows=3))
    assert [(band.start, band.stop) for band, _ in bands] == [(3, 6), (6, 9), (9, 10)]


def test_lies_inside__square():
    points = np.array([(1, 1), (3.9, 0.1), (5, 1), (-1, 2), (2, 4.1)], float)
    assert lies_inside(points, SQUARE).tolist() == [True, True, False, False, False]


def test_fill_outline__half_on_the_edge_and_nothing_outside_the_map():
    raster = Raster(width_m=20, length_m=20, px_per_m=4)
    (rows, columns), coverage = fill_outline(raster, SQUARE, edge_m=1.0)
    middle = coverage[40 - 8 - rows.start]  # y = 2
    assert middle[40 + 8 - columns.start] == pytest.approx(1, abs=0.02)  # x = 2
    assert middle[40 - columns.start - 1 : 40 - columns.start + 1].mean() == pytest.approx(
        0.5, abs=0.1
    )
    assert fill_outline(raster, SQUARE + 50, edge_m=1.0)[1].size == 0


def test_course_measure__straight_line_by_hand():
    raster = Raster(width_m=10, length_m=10, px_per_m=1)
    course = Course(((1, -5), (1, 5)), axis="y")
    [(window, across, along)] = course.measure(raster, reach_m=2)
    assert window == (slice(0, 10), slice(4, 8))  # columns at -0.5, 0.5, 1.5, 2.5
    assert across[0].tolist() == pytest.approx([-1.5, -0.5, 0.5, 1.5])
    assert np.diff(along[:, 0]) == pytest.approx(1)
    turned_course = Course(((-5, 1), (5, 1)), axis="x")
    [(window, across, _)] = turned_course.measure(raster, reach_m=2)
    assert window == (slice(2, 6), slice(0, 10))
    assert across[:, 0].tolist() == pytest.approx([1.5, 0.5, -0.5, -1.5])


def test_course_outline__contains_near_points():
    raster = Raster(width_m=40, length_m=40, px_per_m=1)
    band = Course(((-5, -20), (5, 20)), axis="y").outline(raster, 2.0)
    assert lies_inside(np.array([(0.0, 0.0), (1.9, 0.0), (2.3, 0.0)]), band).tolist() == [
        True,
        True,
        False,
    ]


def test_draw_noise__is_the_same_landscape_at_every_resolution():
    fine, coarse = (
        draw_noise(np.random.default_rng(5), Raster(64, 64, k), coarse_m=16, fine_m=0.1)
        for k in (8, 1)
    )
    assert fine.dtype == np.float32
    assert abs(fine.mean()) < 0.6
    assert 0.6 < fine.std() < 1.4
    blocks = fine.reshape(64, 8, 64, 8).mean((1, 3))
    assert np.corrcoef(blocks.ravel(), coarse.ravel())[0, 1] > 0.95


def test_blend__ends():
    low, high = (0.0, 0.2, 0.4), (1.0, 0.6, 0.4)
    np.testing.assert_allclose(
        blend(low, high, np.array([[-1.0, 0.5, 2.0]]))[:, 0].T, [low, (0.5, 0.4, 0.4), high]
    )


def test_cast_shadows__length_and_direction_by_hand():
    raster = Raster(width_m=64, length_m=64, px_per_m=4)
    height = blank_canvas(np.random.default_rng(0), raster).height
    height[128:136, 128:136] = 10
    # The sun stands to the right at 45°: the shadow reaches 10 m, 40 px, to the left.
    sun = cast_shadows(height, Light(90, 45, (1, 1, 1), (0, 0, 0)), px_per_m=4)
    shadow_columns = np.flatnonzero(sun[132, :128] < 0.5)
    assert shadow_columns.min() == pytest.approx(88, abs=3)
    assert shadow_columns.max() == 127
    assert sun[132, 140:].min() == 1
    assert sun[:120].min() == sun[144:].min() == 1


def test_camera__ground_px_by_hand():
    # 100 m × 6.17 mm / (3.61 mm × 4000 px)
    assert Camera(4000, 3000).ground_px_m(100) == pytest.approx(0.04273, abs=1e-5)


def test_place_to_degrees__bearing_turns_the_map():
    place = Site(60.0, 10.0, elevation_m=0, bearing_deg=90)  # the map's y axis points east
    east, south = place.to_degrees(np.array([(0.0, 100.0), (100.0, 0.0)]))
    # A degree of longitude is 55.80 km at 60° north, one of latitude 111.41 km.
    assert east == pytest.approx([10 + 100 / 55_800, 60], abs=2e-7)
    assert south == pytest.approx([10, 60 - 100 / 111_412], abs=2e-7)


def test_pose_footprint__upper_edge_points_where_the_camera_is_turned():
    camera = Camera(40, 20, sensor_width_mm=10, focal_mm=10)  # 100 m high: 100 m × 50 m
    corners = Pose(5, 7, altitude_m=100, turn_deg=90).footprint(camera)
    np.testing.assert_allclose(corners, [(30, 57), (30, -43), (-20, -43), (-20, 57)])


def test_take_picture__pixel_below_and_map_edges():
    raster = Raster(width_m=40, length_m=40, px_per_m=1)
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[10:20, 20:30] = 200  # x 0..10, y 0..10
    ground, camera = Image.fromarray(pixels), Camera(20, 20, sensor_width_mm=10, focal_mm=10)

    def look(x: float, y: float, turn: float) -> np.ndarray:
        pose = Pose(x, y, altitude_m=20, turn_deg=turn)
        picture = take_picture(np.random.default_rng(0), ground, raster, camera=camera, pose=pose)
        return np.asarray(picture)[..., 1] > 100

    straight_view = look(0, 0, 0)
    assert straight_view[:9, 11:].all()
    assert not straight_view[11:].any()
    assert not straight_view[:, :9].any()
    turned_view = look(0, 0, 90)  # what lay ahead to the right now lies ahead to the left
    assert turned_view[:9, :9].all()
    assert not turned_view[11:].any()
    with pytest.raises(ValueError, match="outside the drawn map"):
        look(12, 0, 0)


def test_write_exif__minutes_and_seconds_never_reach_sixty():
    position = {"elevation_m": 0.0, "altitude_m": 9.0, "yaw_deg": 1.0}
    capture = Exposure(
        "DJI_0001.JPG",
        datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
        latitude_deg=12.99999999999,
        longitude_deg=-0.5 - 59.99999999 / 3600,
        flight_roll_deg=0.0,
        flight_pitch_deg=0.0,
        **position,
    )
    gps = write_exif(Camera(4, 3), capture).get_ifd(ExifTags.IFD.GPSInfo)
    assert [float(part) for part in gps[2]] == [13, 0, 0]
    assert (gps[3], [float(part) for part in gps[4]]) == ("W", [0, 31, 0])
    assert b'drone-dji:GimbalYawDegree="+1.00"' in write_xmp(capture)


def test_scatter_trees__inside_the_outline():
    wood = grow_blob(np.random.default_rng(1), (10, 20), radii_m=(30, 20))
    trees = scatter_trees(
        np.random.default_rng(2), wood, spacing_m=4, radii_m=(1, 3), kinds=("conifer", "bush")
    )
    assert len(trees) > 50
    assert lies_inside(np.array([(tree.x, tree.y) for tree in trees]), wood).all()
    assert {tree.kind for tree in trees} == {"conifer", "bush"}
    assert all(1 <= tree.radius_m <= 3 for tree in trees)


def test_draw_burn__returns_its_regions():
    scene = draw_burn(np.random.default_rng(0), Raster(160, 190, 1))
    assert scene.picture.shape == (190, 160, 3)
    assert [region.kind for region in scene.regions] == [
        "forest",
        "forest",
        "burnt",
        "water",
        "smoke",
    ]
