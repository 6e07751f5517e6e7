"""Heat maps of drawn flights: the hottest cell is where the object was planted."""

import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dino_assets.errors import CorruptObjectError, NotCommittedError
from dino_assets.labels.stage.answers import put_answers
from dino_assets.labels.stage.drafting import draft_labels
from dino_assets.probes.heat_maps import Threshold
from dino_assets.probes.heat_maps_files import to_degrees, to_metres
from dino_assets.probes.prototypes import rank_scores
from dino_assets.probes.stage import heat_maps_sources
from dino_assets.probes.stage.heat_maps import (
    SCHEMA,
    HeatMap,
    Unplaced,
    draft_heat_maps,
    make_heat_maps,
    place_tiles,
)
from dino_assets.probes.stage.heat_maps_export import export_heat_map
from dino_assets.probes.stage.heat_maps_sources import ScoreSource, find_sources, score_tiles
from dino_assets.probes.stage.prototypes import (
    NamedVector,
    Prototype,
    name_key,
    put_prototype,
)
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.store.upkeep.verifying import verify
from dino_assets_tests.labels.giving import give, tile_target
from dino_assets_tests.probes.planted_flight import (
    DIMS,
    GSD_M,
    SIDE,
    SPACE,
    PlantedFlight,
    _commit,
    place_object,
    write_flight,
)
from dino_assets_tests.worlds.store_doubles import WatchedStore

CELL_M = SIDE * GSD_M / 2


def plant(store: ObjectStore, name: str = "smoke") -> Prototype:
    axis = np.eye(DIMS, dtype=np.float32)[0]
    return put_prototype(
        store,
        Prototype(
            name,
            SPACE,
            "cls",
            tuple(NamedVector(f"{n}.npy", axis) for n in range(3)),
            (),
            axis,
            (99.0, 99.0, 99.0),
            0.01,
            True,
            100,
        ),
    )


def open_pool(store: ObjectStore) -> tuple[CommittedTable, CommittedTable]:
    return open_table(store, "embeddings", space=SPACE), open_table(store, "tiles")


def make_one(store: ObjectStore, drop: str = "a") -> HeatMap:
    embeddings, tiles = open_pool(store)
    (heat_map,) = make_heat_maps(embeddings, tiles, find_sources(store, SPACE), [drop])
    assert isinstance(heat_map, HeatMap)
    return heat_map


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore.in_memory()


@pytest.fixture
def flight(store) -> PlantedFlight:
    flight = write_flight(store, "a", place_object(35.0, 30.0))
    plant(store)
    return flight


HOMES = [(13.78, 47.61), (-71.89, -38.70)]
NEAR_ANTIMERIDIAN = (179.9995, 10.0)  # the tiles that cross it have no place on the map
OBJECTS = [(35.0, 30.0), (52.3, 11.9), (20.1, 55.5), (61.7, 48.2), (40.0, 66.6), (12.5, 20.4)]


def measure_offsets(heat_map: HeatMap, planted: tuple[float, float]) -> np.ndarray:
    """Measure how far the middle of the hottest cell is from the object, east and north, in cells."""
    apart_m = np.array(heat_map.grid.hottest) - to_metres(np.array(planted), heat_map.epsg)
    return np.abs(apart_m) / heat_map.grid.cell_m


@pytest.mark.parametrize(
    ("home", "object_m"),
    [*((home, each) for home in HOMES for each in OBJECTS), (NEAR_ANTIMERIDIAN, OBJECTS[-1])],
    ids=str,
)
def test_make_heat_maps__the_hottest_cell_is_within_half_a_cell_of_the_object(
    store, object_m, home
):
    """The object lies near the middle of a cell: of two cells, no map can say which is the right one."""
    plant(store)
    write_flight(store, "a", place_object(*object_m, home=home), home=home)
    first = make_one(store)
    assert first.grid.cell_m == pytest.approx(CELL_M, rel=0.01)
    rough_m = to_metres(np.array(place_object(*object_m, home=home)), first.epsg)
    middle_m = (np.floor(rough_m / first.grid.cell_m) + np.array([0.4, 0.55])) * first.grid.cell_m
    planted = tuple(to_degrees(middle_m, first.epsg).tolist())
    write_flight(store, "a", planted, home=home)
    assert measure_offsets(make_one(store), planted).max() <= 0.5


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("object_m", OBJECTS, ids=str)
def test_make_heat_maps__the_hottest_cell_wherever_the_object_is(store, object_m, seed):
    planted = place_object(*object_m)
    write_flight(store, "a", planted, seed=seed)
    plant(store)
    assert measure_offsets(make_one(store), planted).max() <= 1


def test_make_heat_maps__tiles_without_a_place_are_named(store, flight):
    heat_map = make_one(store)
    assert set(heat_map.unplaced) == set(flight.unplaced)
    assert heat_map.describe()["unplaced"] == len(flight.unplaced)


def test_make_heat_maps__counts_photographs_not_tiles(store, flight):
    grid = make_one(store).grid
    assert grid.photographs.max() <= 12
    assert grid.photographs.max() >= 4
    assert ((grid.photographs > 0) == np.isfinite(grid.scores)).all()


def test_make_heat_maps__a_percentile_without_labels(store, flight):
    heat_map = make_one(store)
    assert heat_map.scores.threshold.chosen_by == "percentile"
    assert heat_map.scores.threshold.score == pytest.approx(0.6505, abs=0.001)
    assert heat_map.hot


def test_make_heat_maps__the_threshold_follows_labels(store, flight):
    _, tiles = open_pool(store)
    cold = [each for each in tiles.read("a")["tile_id"].to_pylist() if each not in flight.hot]
    images = dict(
        zip(*(tiles.read("a")[name].to_pylist() for name in ("tile_id", "image_id")), strict=True)
    )
    classes = dict.fromkeys(flight.hot[:8], "smoke") | dict.fromkeys(cold[:40], "grass")
    answers = [
        give(tile_target(tile_id, image_id=images[tile_id]), class_name)
        for tile_id, class_name in classes.items()
    ]
    put_answers(store, answers)
    commit(store, draft_labels(store))
    threshold = make_one(store).scores.threshold
    assert (threshold.chosen_by, threshold.labels) == ("labels", 48)
    assert threshold.f1 == 1


def test_place_tiles__a_tile_far_away_is_not_on_the_map(store, flight):
    _, tiles = open_pool(store)
    placed = place_tiles(tiles, "a")
    assert len(placed.tile_ids) == len(placed.ground)
    assert set(placed.unplaced) == set(flight.unplaced)
    assert placed.ground.weights.max() <= 1
    assert placed.ground.weights.min() > 0.5


def move_nowhere(store: ObjectStore, drop: str) -> int:
    """Commit a drop's tiles again without places; return their number."""
    tiles = open_table(store, "tiles")
    table = tiles.read(drop)
    nowhere = table.set_column(
        table.column_names.index("geometry"), "geometry", pa.nulls(len(table), pa.binary())
    )
    _commit(store, tiles.manifest(drop).recipe.output, nowhere, config={"again": True})
    return len(table)


def test_make_heat_maps__a_drop_without_places(store, flight):
    count = move_nowhere(store, "a")
    embeddings, tiles = open_pool(store)
    (result,) = make_heat_maps(embeddings, tiles, find_sources(store, SPACE), ["a"])
    assert isinstance(result, Unplaced)
    assert len(result.tile_ids) == count
    with pytest.raises(NotCommittedError):
        draft_heat_maps(embeddings, tiles)


def test_make_heat_maps__a_drop_that_was_tiled_anew_since(store, flight):
    embeddings, tiles = open_pool(store)
    write_flight(store, "b", place_object(35.0, 30.0))
    (manifest,) = tiles.manifests
    renamed = open_table(store, "tiles").read("b")
    _commit(store, replace(manifest.recipe.output), renamed, config={"again": True})
    tiles = open_pool(store)[1]
    (result,) = make_heat_maps(embeddings, tiles, find_sources(store, SPACE), ["a"])
    assert isinstance(result, Unplaced)
    assert set(result.tile_ids) == set(embeddings.read("a")["tile_id"].to_pylist())


def test_score_tiles__reads_no_more_than_it_scores(store, flight):
    """Classes of a probe need their drop alone, prototypes all; several of them are scored in one pass."""
    write_flight(store, "b", place_object(20.0, 20.0), seed=3)
    reads: list[str] = []
    watched = WatchedStore(store, before=lambda verb, key: reads.append(key))
    tiles = open_table(watched, "tiles")
    embeddings = open_table(watched, "embeddings", space=SPACE)
    keys_of = {
        str(m.recipe.output.drop): {part.key for part in m.parts} for m in embeddings.manifests
    }

    def count(kind: str, sources: int) -> dict[str, int]:
        given = [
            ScoreSource(
                str(number),
                kind,
                "cls",
                "",
                lambda vectors: np.asarray(vectors[:, :1], np.float32),
                Threshold(0.5, "probability"),
            )
            for number in range(sources)
        ]
        reads.clear()
        (of_drop,) = score_tiles(embeddings, tiles, given, ["a"]).values()
        assert len(of_drop) == sources
        return {drop: sum(key in keys for key in reads) for drop, keys in keys_of.items()}

    of_probe, of_prototype = count("probe", 1), count("prototype", 1)
    assert of_probe["a"] > 0
    assert of_probe["b"] == 0
    assert of_prototype["b"] > 0
    assert count("probe", 3) == of_probe
    assert count("prototype", 3) == of_prototype


def make_classes(calls: list[int]) -> list[ScoreSource]:
    """Make three classes of one probe; ``calls`` gets the number of rows of each call."""

    def score(vectors: np.ndarray) -> np.ndarray:
        calls.append(len(vectors))
        return np.asarray(vectors[:, :3], np.float32)

    threshold = Threshold(0.5, "probability")
    return [
        ScoreSource(name, "probe", "cls", "", score, threshold, place=place)
        for place, name in enumerate("abc")
    ]


def test_score_tiles__a_probe_scores_all_its_classes_at_once(store, flight):
    embeddings, tiles = open_pool(store)
    calls: list[int] = []
    (of_drop,) = score_tiles(embeddings, tiles, make_classes(calls), ["a"]).values()
    assert sum(calls) == embeddings.rows
    vectors = np.stack(embeddings.read("a")["cls"].to_numpy())
    for place, each in enumerate(of_drop):
        np.testing.assert_array_equal(each.scores, vectors[:, place])


def test_score_tiles__the_numbers_of_all_tiles_are_sorted_once(store, flight, monkeypatch):
    write_flight(store, "b", place_object(20.0, 20.0), seed=3)
    sorted_rows: list[int] = []

    def rank(scores: np.ndarray, among: np.ndarray) -> np.ndarray:
        sorted_rows.append(len(among))
        return rank_scores(scores, among)

    monkeypatch.setattr(heat_maps_sources, "rank_scores", rank)
    embeddings, tiles = open_pool(store)
    scored = score_tiles(embeddings, tiles, find_sources(store, SPACE), ["a", "b"])
    assert sorted_rows == [embeddings.rows]
    assert {drop: len(each.scores) for drop, (each,) in scored.items()} == {
        drop: len(embeddings.read(drop)) for drop in ("a", "b")
    }


def test_make_heat_maps__classes_of_a_probe_are_scored_drop_by_drop(store, flight):
    """Neither scores nor ids of later drops are in memory, and a drop without places is not scored."""
    write_flight(store, "b", place_object(20.0, 20.0), seed=3)
    move_nowhere(store, "a")
    embeddings, tiles = open_pool(store)
    calls: list[int] = []
    maps = make_heat_maps(embeddings, tiles, make_classes(calls), ["b", "a"])
    assert isinstance(next(maps), Unplaced)
    assert calls == []
    assert [each.drop for each in maps] == ["b"] * 3
    assert sum(calls) == len(embeddings.read("b"))


def test_find_sources__none(store):
    with pytest.raises(NotCommittedError) as caught:
        find_sources(store, SPACE)
    assert caught.value.reason == "no-source"


def test_find_sources__only_named_ones(store):
    for name in ("fog", "smoke"):
        plant(store, name)
    assert [each.name for each in find_sources(store, SPACE, names=["fog"])] == ["fog"]
    with pytest.raises(NotCommittedError) as caught:
        find_sources(store, SPACE, names=["fire"])
    assert caught.value.output == "fire"


def test_draft_heat_maps__same_inputs_same_bytes(store, flight):
    write_flight(store, "b", place_object(20.0, 20.0), seed=3)
    manifests = []
    for _ in range(2):
        embeddings, tiles = open_pool(store)
        draft = replace(draft_heat_maps(embeddings, tiles), is_anew=True)
        manifests.append(commit(store, draft).manifest)
    assert manifests[0] == manifests[1]
    (table,) = (open_table(store, "heat_maps", space=SPACE),)
    rows = table.read().to_pylist()
    assert table.read().schema.names == SCHEMA.names
    assert [(row["drop"], row["class_name"]) for row in rows] == [("a", "smoke"), ("b", "smoke")]
    files = {part.name: part for part in manifests[0].parts if part.name}
    assert {row["file"] for row in rows} <= files.keys()
    with Image.open(io.BytesIO(read_part(store, files["heat-maps.png"]))) as picture:
        assert picture.width > 700


def test_draft_heat_maps__a_changed_prototype_makes_new_maps(store, flight):
    embeddings, tiles = open_pool(store)
    before = draft_heat_maps(embeddings, tiles).recipe
    assert draft_heat_maps(embeddings, tiles).recipe == before
    put_prototype(store, replace(plant(store), direction=-np.eye(DIMS, dtype=np.float32)[1]))
    assert draft_heat_maps(embeddings, tiles).recipe != before


def test_export_heat_map__files_for_map_programs(store, flight, tmp_path):
    import geopandas
    import rasterio

    heat_map = make_one(store)
    paths = list(export_heat_map(heat_map, tmp_path))
    assert [path.name for path in paths] == ["smoke.tif", "smoke.png", "smoke.gpkg", "smoke.qml"]
    hot = geopandas.read_file(tmp_path / "a" / "smoke.gpkg")
    assert hot.crs.to_epsg() == 32633
    assert hot.geometry.is_valid.all()
    point = geopandas.GeoSeries.from_xy(
        [flight.object[0]], [flight.object[1]], crs="EPSG:4326"
    ).to_crs(32633)
    assert hot.geometry[0].buffer(CELL_M / 2).contains(point[0])
    assert hot.area.to_numpy() == pytest.approx(hot["area_m2"].to_numpy())
    with rasterio.open(tmp_path / "a" / "smoke.tif") as opened:
        (value,) = opened.sample([(point[0].x, point[0].y)])
        assert value[0] > 0.6
        assert opened.descriptions == ("score", "photographs")


def test_verify__a_damaged_prototype_is_named_and_a_repair_moves_it_aside(store):
    for name in ("smoke", "fog"):
        plant(store, name)
    key = name_key(SPACE, "smoke")
    data = store.get(key).replace(b'"smoke"', b'"smoky"')
    store.put(key, data)
    assert [fault.key for fault in verify(store)] == [key]
    with pytest.raises(CorruptObjectError):
        find_sources(store, SPACE)
    assert [fault.key for fault in verify(store, should_repair=True)] == [key]
    assert store.get(f"damaged/{key}") == data
    assert list(verify(store)) == []
    assert [source.name for source in find_sources(store, SPACE)] == ["fog"]
