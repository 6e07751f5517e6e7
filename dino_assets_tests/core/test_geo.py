"""Where a pixel lies, by hand and against the drawn flights' own truth."""

import json
import math

import pytest

from dino_assets.core.geo import Pose, locate_pixel, read_pose
from dino_assets.samples.flights import draw_flights
from dino_assets_tests.conftest import photo_bytes

METRE_DEG = 1 / 111_320


def pose(**changes) -> Pose:
    values = {
        "latitude": 0.0,
        "longitude": 0.0,
        "height_m": 100.0,
        "yaw_deg": 0.0,
        "m_per_px": 0.1,
        "width": 400,
        "height": 300,
    }
    return Pose(**{**values, **changes})


@pytest.mark.parametrize(
    ("yaw_deg", "east_m", "north_m"), [(0, 0, 10), (90, 10, 0), (180, 0, -10), (270, -10, 0)]
)
def test_locate_pixel__up_is_where_the_camera_heads(yaw_deg, east_m, north_m):
    latitude, longitude = locate_pixel(pose(yaw_deg=yaw_deg), 200, 50)
    assert latitude == pytest.approx(north_m * METRE_DEG, abs=1e-9)
    assert longitude == pytest.approx(east_m * METRE_DEG, abs=1e-9)


def test_locate_pixel__right_and_the_middle():
    assert locate_pixel(pose(latitude=60.0), 200, 150) == (60.0, 0.0)
    _, longitude = locate_pixel(pose(latitude=60.0), 300, 150)
    assert longitude == pytest.approx(10 * METRE_DEG / math.cos(math.radians(60)), rel=1e-9)


def test_locate_pixel__across_the_antimeridian():
    _, longitude = locate_pixel(pose(longitude=179.99999), 400, 150)
    assert -180 <= longitude < -179.999


@pytest.mark.parametrize("data", [b"", b"junk", photo_bytes()])
def test_read_pose__nothing_known(data):
    assert read_pose(data) is None


def test_read_pose__drawn_flights(tmp_path):
    draw_flights(tmp_path, scale=0.1)
    truth = json.loads((tmp_path / "truth.geojson").read_text())
    images = [f for f in truth["features"] if f["properties"]["class"] == "image"]
    assert len(images) == 6
    for image in images:
        known = image["properties"]
        data = (tmp_path / known["file"]).read_bytes()
        found = read_pose(data)
        assert found.yaw_deg == pytest.approx(known["yaw_deg"] % 360, abs=0.11)
        # The 35 mm focal length is a whole number in EXIF: 1.3 % of the scale.
        assert found.m_per_px == pytest.approx(known["ground_px_m"], rel=0.02)
        corners = [(0, 0), (found.width, 0), (found.width, found.height), (0, found.height)]
        for corner, (longitude, latitude) in zip(
            corners, image["geometry"]["coordinates"][0], strict=False
        ):
            at = locate_pixel(found, *corner)
            east = (at[1] - longitude) / METRE_DEG * math.cos(math.radians(latitude))
            assert math.hypot((at[0] - latitude) / METRE_DEG, east) < 2.5
        turned = data.replace(b'GimbalPitchDegree="-90', b'GimbalPitchDegree="-45')
        assert turned != data
        assert read_pose(turned) is None
