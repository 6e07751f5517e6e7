"""Where mosaics and their windows lie, or why that is not known."""

from typing import Any

import numpy as np
import pytest
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine

from dino_assets.errors import ConfigError
from dino_assets.images.mosaics import place_mosaic_windows
from dino_assets.images.records import Georeference
from dino_assets_tests.worlds.mosaic_files import UTM, inspect, noise, write


def geodesic_gsd(corners: np.ndarray, pixels: int) -> float:
    from pyproj import Geod

    area, _ = Geod(ellps="WGS84").polygon_area_perimeter(*corners.T)
    return (abs(area) / pixels) ** 0.5


WINDOWS = np.array([[0, 0, 518, 518], [39_482, 0, 518, 518], [20_000, 30_000, 518, 300]])


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (UTM, (0.05, 0, 500_000, 0, -0.05, 5_300_000)),
        (UTM, (0.03, 0.04, 500_000, 0.04, -0.03, 5_300_000)),  # turned
        (UTM, (0.05, 0.01, 500_000, -0.02, -0.05, 5_300_000)),  # and sheared
        (UTM, (0.05, 0, 500_000, 0, 0.05, 5_300_000)),  # south up
        ("EPSG:3857", (0.05, 0, 1_000_000, 0, -0.05, 6_000_000)),
        ("EPSG:4326", (5e-7, 0, 9, 0, -5e-7, 48)),
        ("EPSG:32760", (0.05, 0, 830_000, 0, -0.05, 6_000_000)),  # to the antimeridian
        ("EPSG:2193", (0.1, 0, 1_570_000, 0, -0.1, 5_180_000)),  # northing is named first there
        ("EPSG:2227", (0.2, 0, 6_000_000, 0, -0.2, 2_100_000)),  # in feet
    ],
)
def test_place_mosaic_windows__equals_pyproj(crs, transform):
    from pyproj import Transformer

    places = place_mosaic_windows(Georeference(crs, transform), WINDOWS)
    to_wgs84 = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    a, b, c, d, e, f = transform
    for window, corners, center, gsd in zip(WINDOWS.tolist(), *places_of(places), strict=True):
        x, y, w, h = window
        points = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]  # from the upper left, clockwise
        for (column, row), corner in zip(
            [*points, (x + w / 2, y + h / 2)], [*corners, center], strict=True
        ):
            expected = to_wgs84.transform(a * column + b * row + c, d * column + e * row + f)
            np.testing.assert_allclose(corner, expected, rtol=0, atol=1e-8)  # a millimetre
        assert gsd == pytest.approx(geodesic_gsd(corners, w * h), rel=1e-5)


def places_of(places: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return places.corners, places.centers, places.gsd_m


def test_place_mosaic_windows__web_metres_are_not_metres():
    """At 60 degrees a metre of EPSG:3857 is half a metre of ground."""
    north = 8_399_737.9  # of 60 degrees
    georeference = Georeference("EPSG:3857", (1, 0, 0, 0, -1, north))
    places = place_mosaic_windows(georeference, np.array([[0, 0, 10, 10]]))
    assert places.gsd_m[0] == pytest.approx(0.5, rel=0.005)
    assert places.corners[0, 0].tolist() == pytest.approx([0, 60], abs=1e-6)


def test_place_mosaic_windows__over_the_antimeridian():
    georeference = Georeference("EPSG:3857", (1, 0, 20_037_500, 0, -1, 0))
    places = place_mosaic_windows(georeference, np.array([[0, 0, 20, 20]]))
    assert places.gsd_m[0] == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("crs", ["EPSG:3413", "EPSG:3031", "EPSG:3995", "EPSG:5041"])
@pytest.mark.parametrize(("column", "row"), [(0, 0), (-256, -256), (-256, 40), (30_000, -9_000)])
def test_place_mosaic_windows__a_pixels_ground_at_and_near_a_pole(crs, column, row):
    """Around a pole a window's corners lie on all meridians; its scale follows from the projection."""
    from pyproj import Proj, Transformer

    east, north = (2e6, 2e6) if crs == "EPSG:5041" else (0, 0)  # of the pole
    places = place_mosaic_windows(
        Georeference(crs, (10, 0, east, 0, -10, north)), np.array([[column, row, 512, 512]])
    )
    middle = east + 10 * (column + 256), north - 10 * (row + 256)
    longitude, latitude = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*middle)
    factors = Proj(crs).get_factors(longitude, latitude)
    assert places.gsd_m[0] == pytest.approx(10 / factors.areal_scale**0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("crs", "transform", "size"),
    [
        ("EPSG:4326", (0.1, 0, -180, 0, -0.1, 90), (3600, 1800)),
        ("EPSG:4326", (0.1, 0, 0, 0, -0.1, 90), (3600, 1800)),  # counted to 360
        ("EPSG:3857", (10_000, 0, -2e7, 0, -10_000, 2e7), (4000, 4000)),
        ("EPSG:3413", (1000, 0, -3e6, 0, -1000, 3e6), (6000, 6000)),  # the Arctic
    ],
)
def test_place_mosaic_windows__half_the_globe_has_no_ground_size(crs, transform, size):
    georeference = Georeference(crs, transform)
    places = place_mosaic_windows(georeference, np.array([[0, 0, *size], [1500, 600, 64, 64]]))
    assert np.isnan(places.gsd_m[0])
    assert np.isfinite(places.gsd_m[1])


def test_place_mosaic_windows__large_windows_are_right_to_half_a_percent():
    """A degree of latitude and longitude is what the ellipsoid says, ten degrees long as well."""
    georeference = Georeference("EPSG:4326", (0.01, 0, 11, 0, -0.01, 52))
    windows = np.array([[0, 0, 100, 100], [0, 0, 1000, 600]])
    places = place_mosaic_windows(georeference, windows)
    for (_, _, w, h), gsd in zip(windows.tolist(), places.gsd_m.tolist(), strict=True):
        edge = np.linspace(0, 0.01, 200)
        top, bottom = (
            np.column_stack([11 + w * edge, np.full(200, y)]) for y in (52, 52 - h / 100)
        )
        assert gsd == pytest.approx(geodesic_gsd(np.vstack([top, bottom[::-1]]), w * h), rel=5e-3)


def test_inspect_mosaic__the_whole_globe_is_placed_without_a_ground_size(tmp_path):
    mosaic = inspect(
        write(tmp_path / "a.tif", noise(3, 18, 36), crs="EPSG:4326", transform=Affine(10, 0, -180, 0, -10, 90))
    )  # fmt: skip
    assert mosaic.georeference is not None
    assert mosaic.facts.note == "too large for a single ground size per pixel"


def test_inspect_mosaic__georeference(tmp_path):
    mosaic = inspect(write(tmp_path / "a.tif", noise(3, 8, 8)))
    assert mosaic.georeference == Georeference(UTM, (0.05, 0, 500_000, 0, -0.05, 5_300_000))


def test_inspect_mosaic__a_system_without_a_number_is_written_out(tmp_path):
    crs = "+proj=tmerc +lat_0=48 +lon_0=9.5 +k=1 +x_0=0 +y_0=0 +ellps=GRS80 +units=m"
    transform = Affine(0.1, 0, 0, 0, -0.1, 0)
    mosaic = inspect(write(tmp_path / "a.tif", noise(3, 8, 8), crs=crs, transform=transform))
    assert mosaic.georeference.crs.startswith("PROJCS[")
    places = place_mosaic_windows(mosaic.georeference, np.array([[0, 0, 8, 8]]))
    assert places.corners[0, 0].tolist() == pytest.approx([9.5, 48])
    assert places.gsd_m[0] == pytest.approx(0.1, rel=1e-4)


def test_inspect_mosaic__heights_above_the_geoid_do_not_matter(tmp_path):
    mosaic = inspect(write(tmp_path / "a.tif", noise(3, 8, 8), crs="EPSG:25832+7837"))
    assert mosaic.georeference is not None
    flat_places = place_mosaic_windows(
        Georeference("EPSG:25832", mosaic.georeference.transform), WINDOWS
    )
    places = place_mosaic_windows(mosaic.georeference, WINDOWS)
    np.testing.assert_allclose(places.corners, flat_places.corners, rtol=0, atol=1e-9)


LOCAL = 'LOCAL_CS["Local",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"transform": None, "crs": None}, "not placed: no georeference"),
        ({"crs": None}, "not placed: it has no coordinate system"),
        ({"crs": LOCAL}, "not placed: its coordinate system cannot be converted to WGS 84"),
        (
            {"transform": Affine(0.05, 0, 1e9, 0, -0.05, 1e9)},
            "not placed: its coordinate system cannot be converted",
        ),
        ({"crs": "EPSG:4326"}, "not placed: its corners are outside"),
        ({"transform": Affine(1, 1, 0, 1, 1, 5)}, "not placed: its pixels have no area"),
        (
            {
                "transform": None,
                "crs": UTM,
                "gcps": [
                    GroundControlPoint(row, column, 500_000 + column + row / 9, 5_300_000 - row)
                    for row, column in [(0, 0), (0, 7), (7, 0), (7, 6)]
                ],
            },
            "not placed: no georeference, only 4 ground control points",
        ),
    ],
)
def test_inspect_mosaic__no_place(tmp_path, options, note):
    path = write(tmp_path / "a.tif", noise(3, 8, 8), **options)
    mosaic = inspect(path)
    assert mosaic.georeference is None
    assert mosaic.facts.note.startswith(note)


def test_place_mosaic_windows__invalid_coordinate_system():
    with pytest.raises(ConfigError) as caught:
        place_mosaic_windows(Georeference(LOCAL, (1, 0, 0, 0, -1, 0)), WINDOWS)
    assert (caught.value.setting, caught.value.value) == ("crs", LOCAL)
