"""Places in the tables and in files for QGIS, read back by the programs that people use."""

from pathlib import Path

import geopandas
import pyogrio
import pytest
import shapely

from dino_assets.errors import ConfigError, MissingExtraError, NotCommittedError
from dino_assets.images.stage.footprint_files import write_footprints
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.grid import make_grid
from dino_assets.tiles.stage import draft_tiles
from dino_assets_tests.worlds.inboxes import commit_images, drone_photo, fill_bytes

NO_HEIGHT = ('drone-dji:RelativeAltitude="+50.00"', "")

PHOTOS = {
    "a.jpg": drone_photo(size=(1200, 900)),
    "b.jpg": drone_photo(size=(1200, 900), seed=1, at=(47.0003, 11.0)),
    "fiji.jpg": drone_photo(size=(1200, 900), seed=2, at=(-17.0, 179.99999)),
    "lost.jpg": drone_photo(size=(1200, 900), seed=3, xmp=NO_HEIGHT),
}


@pytest.fixture
def placed(local_store: ObjectStore, tmp_path: Path) -> ObjectStore:
    """Three photographs, one of them across the antimeridian, and one without a place."""
    images = commit_images(local_store, "d", fill_bytes(tmp_path / "f", PHOTOS))
    commit(local_store, draft_tiles(images, "d", make_grid(512)))
    return local_store


def paths_of(table: CommittedTable) -> list[Path]:
    assert table.store.folder
    parts = [part for part in table.manifest("d").parts if part.rows]
    return [table.store.folder / part.key for part in parts]


@pytest.mark.parametrize("asset", ["images", "tiles"])
def test_tables__geopandas_reads_places_with_a_crs(placed: ObjectStore, asset: str):
    (path,) = paths_of(open_table(placed, asset))
    frame = geopandas.read_parquet(path)
    assert frame.crs is not None
    assert frame.crs.equals("OGC:CRS84")
    assert frame.geometry.name == "geometry"
    placed_rows = frame[frame.place_quality == "gps-nadir"]
    assert placed_rows.geometry.is_valid.all()
    assert frame[frame.path == "lost.jpg"].geometry.isna().all()
    # The area of the polygon is that of the window at its ground sample distance.
    local = placed_rows[placed_rows.path == "a.jpg"].to_crs(32632)
    width, height = ("width", "height") if asset == "images" else ("w", "h")
    px = local[width].astype(float) * local[height].astype(float)
    assert (local.area / (px * local.gsd_m**2)).between(0.99, 1.01).all()
    assert set(placed_rows[placed_rows.path == "fiji.jpg"].geom_type) <= {"MultiPolygon", "Polygon"}
    assert "MultiPolygon" in set(placed_rows[placed_rows.path == "fiji.jpg"].geom_type)


def test_tables__tiles_lie_in_their_image_and_cover_it(placed: ObjectStore):
    tables = {
        a: geopandas.read_parquet(paths_of(open_table(placed, a))[0]) for a in ("images", "tiles")
    }
    for path in ("a.jpg", "b.jpg"):
        image, tiles = (t[t.path == path].to_crs(32632) for t in tables.values())
        outline, union = image.geometry.iloc[0], tiles.union_all()
        assert union.symmetric_difference(outline).area < 1e-4 * outline.area
        assert tiles.geometry.centroid.distance(
            geopandas.GeoSeries.from_xy(tiles.center_longitude, tiles.center_latitude, crs=4326)
            .to_crs(32632)
            .set_axis(tiles.index)
        ).max() < 0.05  # fmt: skip


@pytest.mark.parametrize("name", ["out.geojson", "out.gpkg", "OUT.GPKG"])
@pytest.mark.parametrize("asset", ["images", "tiles"])
def test_write_footprints__read_back(placed: ObjectStore, tmp_path: Path, asset: str, name: str):
    table = open_table(placed, asset)
    target = tmp_path / name
    target.write_text("an older file")
    with_place, without = write_footprints(table, "d", path=target)
    frame = geopandas.read_file(target)
    assert with_place + without == len(table.read("d"))
    assert (len(frame), without > 0) == (with_place, True)
    assert frame.crs is not None
    assert frame.crs.to_epsg() == 4326
    expected = geopandas.read_parquet(paths_of(table)[0]).dropna(subset=["geometry"])
    key = "path" if asset == "images" else "tile_id"
    assert sorted(frame[key]) == sorted(expected[key])
    areas = [shapely.area(f.geometry.to_numpy()).sum() for f in (frame, expected)]
    assert areas[0] == pytest.approx(areas[1], rel=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir() if "out" in p.name.lower()) == [name]


@pytest.mark.parametrize("asset", ["images", "tiles"])
@pytest.mark.parametrize(
    ("names", "kind"), [(["a.jpg"], "Polygon"), (["a.jpg", "fiji.jpg"], "MultiPolygon")]
)
def test_write_footprints__a_layer_has_one_kind_of_geometry(
    local_store: ObjectStore, tmp_path: Path, asset: str, names: list[str], kind: str
):
    """QGIS draws a layer at once whose kind it knows; beside a footprint in two parts all are lists."""
    photos = {name: PHOTOS[name] for name in names}
    images = commit_images(local_store, "d", fill_bytes(tmp_path / "f", photos))
    commit(local_store, draft_tiles(images, "d", make_grid(512)))
    write_footprints(open_table(local_store, asset), "d", path=tmp_path / "out.gpkg")
    assert pyogrio.read_info(tmp_path / "out.gpkg")["geometry_type"] == kind
    assert set(geopandas.read_file(tmp_path / "out.gpkg").geom_type) == {kind}


def test_write_footprints__refusals(placed: ObjectStore, tmp_path: Path):
    table = open_table(placed, "images")
    with pytest.raises(ConfigError) as caught:
        write_footprints(table, "d", path=tmp_path / "out.shp")
    assert (caught.value.setting, caught.value.reason) == ("path", "format")
    with pytest.raises(ConfigError) as caught:
        write_footprints(open_table(placed, "weights"), "d", path=tmp_path / "out.gpkg")
    assert (caught.value.setting, caught.value.value) == ("asset", "weights")
    with pytest.raises(ConfigError) as caught:
        write_footprints(table, "d", path=tmp_path / "nowhere" / "out.gpkg")
    assert (caught.value.setting, caught.value.reason) == ("path", "no-folder")
    with pytest.raises(NotCommittedError):
        write_footprints(table, "other", path=tmp_path / "out.gpkg")


def test_write_footprints__geopackage_without_pyogrio(
    placed: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(__import__("sys").modules, "pyogrio.raw", None)
    with pytest.raises(MissingExtraError) as caught:
        write_footprints(open_table(placed, "images"), "d", path=tmp_path / "out.gpkg")
    assert caught.value.extra == "geo"
    assert not list(tmp_path.glob("*.gpkg"))
