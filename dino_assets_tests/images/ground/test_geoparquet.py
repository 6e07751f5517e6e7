"""Areas as shapely, GeoPandas and a plain JSON reader get them."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_assets.images.ground.geoparquet import (
    decode_wkb,
    describe_geometry,
    encode_geojson,
    encode_point,
    encode_wkb,
    unify_kind,
)

# Upper left, upper right, lower right, lower left: clockwise on a map.
SQUARE = [(10.0, 51.0), (11.0, 51.0), (11.0, 50.0), (10.0, 50.0)]


def encode(*areas) -> list[bytes | None]:
    return encode_wkb(np.array(areas, np.float64))


def moved(by: float) -> list[tuple[float, float]]:
    return [((x + by + 180) % 360 - 180, y) for x, y in SQUARE]


def test_encode_wkb__a_square():
    (wkb,) = encode(SQUARE)
    area = shapely.from_wkb(wkb)
    assert area.equals(shapely.Polygon(SQUARE))
    assert area.is_valid
    assert area.exterior.is_ccw
    assert len(wkb) == 93


def test_encode_wkb__a_mirrored_square_runs_the_same_way():
    (wkb,) = encode(SQUARE[::-1])
    assert shapely.from_wkb(wkb).exterior.is_ccw


def test_encode_wkb__none_for_unknown_areas():
    unknown_ring = [(math.nan, math.nan)] * 4
    partial_ring = [*SQUARE[:3], (math.nan, 50.0)]
    wkb, *others = encode(SQUARE, unknown_ring, partial_ring, [(10.0, 50.0)] * 4)
    assert wkb is not None
    assert others == [None, None, None]
    assert encode_wkb(np.empty((0, 4, 2))) == []


@pytest.mark.parametrize("by", [169.3, -190.7])
def test_encode_wkb__across_the_antimeridian(by):
    (wkb,) = encode(moved(by))
    area = shapely.from_wkb(wkb)
    assert area.geom_type == "MultiPolygon"
    assert area.is_valid
    assert all(part.exterior.is_ccw for part in area.geoms)
    west, east = sorted(area.geoms, key=lambda part: part.bounds[0])
    np.testing.assert_allclose(west.bounds, (-180, 50, -179.7, 51))
    np.testing.assert_allclose(east.bounds, (179.3, 50, 180, 51))
    assert area.area == pytest.approx(1)


@pytest.mark.parametrize(
    ("by", "bounds"), [(169.0, (179, 50, 180, 51)), (170.0, (-180, 50, -179, 51))]
)
def test_encode_wkb__up_to_the_antimeridian_is_one_area(by, bounds):
    (wkb,) = encode(moved(by))
    area = shapely.from_wkb(wkb)
    assert area.geom_type == "Polygon"
    assert area.bounds == bounds


def test_encode_wkb__a_corner_across_the_antimeridian():
    diamond = [(179.9, 0.0), (180 - 360 + 0.05, 0.1), (179.9, 0.2), (179.8, 0.1)]
    (wkb,) = encode(diamond)
    area = shapely.from_wkb(wkb)
    assert [len(part.exterior.coords) for part in area.geoms] == [6, 4]
    assert area.is_valid


def test_encode_wkb__none_for_an_area_with_a_pole():
    ring = [(-135.0, 89.9), (-45.0, 89.8), (45.0, 89.7), (135.0, 89.8)]
    assert encode(ring) == [None]


def test_decode_wkb__restores_the_rings():
    wkb, split_wkb = encode(SQUARE, moved(169.3))
    assert [sorted(set(ring)) for ring in decode_wkb(wkb)] == [sorted(SQUARE)]
    assert len(decode_wkb(split_wkb)) == 2
    assert all(ring[0] == ring[-1] for ring in decode_wkb(split_wkb))


@settings(deadline=None, max_examples=100)
@given(
    st.floats(-180, 180), st.floats(-80, 80), st.floats(1e-5, 0.5), st.floats(0, 2 * math.pi),
    st.booleans(),
)  # fmt: skip
def test_encode_wkb__keeps_the_area(longitude, latitude, size, turn, is_mirrored):
    corners = [(size * math.cos(turn + k * math.pi / 2), size * math.sin(turn + k * math.pi / 2)) for k in range(4)]  # fmt: skip
    if is_mirrored:
        corners.reverse()
    (wkb,) = encode([((longitude + x + 180) % 360 - 180, latitude + y) for x, y in corners])
    area = shapely.from_wkb(wkb)
    assert area.is_valid
    assert area.area == pytest.approx(2 * size**2, rel=1e-6, abs=1e-12)
    west, _, east, _ = area.bounds
    assert -180 <= west <= east <= 180


def write_table(folder: Path, geometries: list[bytes | None]) -> Path:
    table = pa.table({"name": [str(i) for i in range(len(geometries))], "geometry": pa.array(geometries, pa.binary())})  # fmt: skip
    path = folder / "areas.parquet"
    pq.write_table(table.replace_schema_metadata({b"geo": describe_geometry()}), path)
    return path


def test_describe_geometry__geopandas_reads_it_with_a_crs(tmp_path):
    frame = geopandas.read_parquet(write_table(tmp_path, encode(SQUARE, moved(169.3), [(math.nan,) * 2] * 4)))  # fmt: skip
    assert frame.crs == pyproj.CRS("OGC:CRS84")
    assert frame.crs.to_authority() == ("OGC", "CRS84")
    assert list(frame.geom_type[:2]) == ["Polygon", "MultiPolygon"]
    assert frame.geometry[2] is None
    metres = frame.geometry[:1].to_crs("EPSG:32632").area
    assert metres[0] == pytest.approx(71e3 * 111e3, rel=0.02)


def test_describe_geometry__is_pyprojs_own_crs84():
    crs = json.loads(describe_geometry())["columns"]["geometry"]["crs"]
    assert pyproj.CRS.from_json_dict(crs) == pyproj.CRS("OGC:CRS84")


def test_describe_geometry__required_keys_of_geoparquet():
    metadata = json.loads(describe_geometry())
    assert (metadata["version"], metadata["primary_column"]) == ("1.1.0", "geometry")
    column = metadata["columns"]["geometry"]
    assert column["encoding"] == "WKB"
    assert column["geometry_types"] == ["MultiPolygon", "Polygon"]
    assert column["orientation"] == "counterclockwise"


def test_encode_geojson__features():
    rows = [
        {"name": "Österreich", "n": np.int32(3), "x": math.nan, "at": datetime(2024, 1, 2, tzinfo=UTC)},
        {"name": None, "n": 4, "x": np.float64(0.5), "at": None},
        {"name": "nowhere"},
    ]  # fmt: skip
    text = encode_geojson([*encode(SQUARE, moved(169.3)), None], rows)
    assert text == encode_geojson([*encode(SQUARE, moved(169.3)), None], rows)
    polygon, multipolygon, placeless = json.loads(text)["features"]
    assert polygon["geometry"]["type"] == "Polygon"
    assert polygon["geometry"]["coordinates"][0][0] == polygon["geometry"]["coordinates"][0][-1]
    assert polygon["properties"] == {
        "name": "Österreich", "n": 3, "x": None, "at": "2024-01-02T00:00:00+00:00",
    }  # fmt: skip
    assert multipolygon["geometry"]["type"] == "MultiPolygon"
    assert shapely.geometry.shape(multipolygon["geometry"]).is_valid
    assert placeless == {"type": "Feature", "geometry": None, "properties": {"name": "nowhere"}}


def test_encode_geojson__geopandas_reads_it(tmp_path):
    path = tmp_path / "areas.geojson"
    path.write_text(encode_geojson(encode(SQUARE, moved(169.3)), [{"n": 1}, {"n": 2}]), "utf-8")
    frame = geopandas.read_file(path)
    assert frame.crs.to_epsg() == 4326
    assert list(frame["n"]) == [1, 2]
    assert frame.geometry[0].equals(shapely.Polygon(SQUARE))


def test_encode_geojson__nothing():
    assert json.loads(encode_geojson([], []))["features"] == []


def test_encode_geojson__rows_that_do_not_match():
    with pytest.raises(ValueError, match="shorter"):
        encode_geojson([None, None], [{}])


def test_unify_kind__one_type_for_all():
    point = encode_point(11.0, 47.0)
    square, fiji = encode(SQUARE, moved(169.5))
    assert unify_kind([point, point]) == ("Point", [point, point])
    assert unify_kind([square, square]) == ("Polygon", [square, square])
    kind, wkbs = unify_kind([square, fiji])
    assert (kind, wkbs[1]) == ("MultiPolygon", fiji)
    assert shapely.from_wkb(wkbs[0]).geom_type == "MultiPolygon"
    assert shapely.from_wkb(wkbs[0]).geoms[0].equals(shapely.from_wkb(square))
    assert unify_kind([])[0] == unify_kind([point, square])[0] == "Unknown"
