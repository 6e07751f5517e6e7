"""Rounds of flights whose photographs overlap: the budget is spent on ground, not on tiles."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dino_assets.drops.sources.folders import FolderSource
from dino_assets.embeddings.stage.origins import hash_tiles
from dino_assets.embeddings.stage.pool import TilePool
from dino_assets.errors import ConfigError
from dino_assets.images.ground.geoparquet import encode_wkb
from dino_assets.numerics.earth import measure_distance_m, travel
from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.numerics.open_rows import exclude_nothing
from dino_assets.numerics.union_area import measure_union_m2
from dino_assets.selections.choosing import select
from dino_assets.selections.rounds import RoundSettings
from dino_assets.selections.stage.describing import describe_round
from dino_assets.selections.stage.drafting import pick_round
from dino_assets.selections.stage.ground import PoolGround, measure_ground
from dino_assets.selections.stage.judging import judge_selections
from dino_assets.selections.stage.paid import spell_command
from dino_assets.store.commits.manifests import manifest_key
from dino_assets.store.commits.protocol import Draft, OutputId
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.same_ground import SameGround, Windows
from dino_assets.verdicts import Verdict
from dino_assets_tests.worlds.curation import CurationWorld
from dino_assets_tests.worlds.outputs import pushing
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.turned_flights import draw_ground, photograph

SHOWN_M = (85, 64)  # the ground in a photograph, which is one tile
SIDE_M = 20  # of a drawn tile
OVERLAP = 0.8


def draw_overlapping_tiles(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Tiles of a meadow with one barn, photographed with 80 % overlap: thumbnails, and metres of the centres."""
    rng = np.random.default_rng(seed)
    px_per_m, extent_m = 2, 240
    meadow = draw_ground(seed, contrast=0.2).resize((extent_m * px_per_m,) * 2)
    barn = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    meadow.paste(Image.fromarray(barn).resize((32, 32), Image.Resampling.NEAREST), (200, 150))
    steps = np.arange(SIDE_M / 2, extent_m - SIDE_M / 2, SIDE_M * (1 - OVERLAP))
    centres = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    centres += rng.normal(0, 0.3, centres.shape)  # the drone sways
    thumbs = []
    for x, y in centres:
        box = [(x - SIDE_M / 2), (y - SIDE_M / 2), (x + SIDE_M / 2), (y + SIDE_M / 2)]
        tile = meadow.crop([round(edge * px_per_m) for edge in box]).resize((8, 8))
        thumbs.append(np.asarray(tile, np.float32).ravel())
    return np.stack(thumbs), centres


@pytest.mark.parametrize("seed", range(3))
def test_select__the_same_budget_shows_three_times_the_ground(seed: int):
    thumbs, metres = draw_overlapping_tiles(seed)
    centers = travel(8.0, 47.0, metres)
    count = len(centers)
    windows = Windows(
        [f"picture {number}" for number in range(count)],
        np.tile([0, 0, 100, 100], (count, 1)),
        centers,
        np.full(count, float(SIDE_M)),
    )
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * SIDE_M / 2
    areas_m2 = []
    for excludes in (exclude_nothing, SameGround(windows).excludes):
        picked = select(
            scale_to_unit(thumbs),
            budget=30,
            strategy="fps",
            rng=np.random.default_rng(0),
            excludes=excludes,
        )
        corners = (metres[picked.indices][:, None] + square).reshape(-1, 2)
        areas_m2.append(measure_union_m2(travel(8.0, 47.0, corners).reshape(-1, 4, 2)))
    print(f"30 labels: {areas_m2[0]:,.0f} m² by farthest points alone, {areas_m2[1]:,.0f} m²")
    assert areas_m2[1] >= 3 * areas_m2[0]


@pytest.fixture(scope="module")
def survey(
    tmp_path_factory: pytest.TempPathFactory, checkpoint_dir: Path, engine_cache: Path
) -> CurationWorld:
    """A flight with 80 % overlap in both directions; every photograph is one tile."""
    folder = tmp_path_factory.mktemp("survey")
    ground = draw_ground()
    across, along = (side * (1 - OVERLAP) for side in SHOWN_M)
    for number, (x, y) in enumerate(np.ndindex(8, 8)):
        data = photograph(ground, number, at=(x * across - 60, y * along - 45))
        (folder / f"DJI_{number:04d}.JPG").write_bytes(data)
    sources = {"survey": FolderSource(folder, shown="survey")}
    return CurationWorld.make(ObjectStore.in_memory(), sources, checkpoint_dir, cache=engine_cache)


def list_places(world: CurationWorld, name: str) -> list[tuple[float, float]]:
    rows = world.rounds().read(name).to_pylist()
    return [(row["latitude"], row["longitude"]) for row in rows]


def measure_nearest_m(places: list[tuple[float, float]]) -> float:
    return min(measure_distance_m(one, other) for one, other in combinations(places, 2))


def test_draft_selections__no_ground_twice_in_any_round(survey: CurationWorld):
    world = survey.copy()
    facts = world.select(RoundSettings(budget=4)).manifest.facts
    assert facts["ground_tiles"] == 4
    assert 0.5 < facts["ground_m2"] / (4 * SHOWN_M[0] * SHOWN_M[1]) <= 1.01
    assert facts["same_ground"] == facts["ground_taken"] > 30
    second = world.select(RoundSettings(round=2, budget=3)).manifest.facts
    assert second["same_ground"] < second["ground_taken"] <= 64 - 4 - second["picked"]
    places = list_places(world, "round-0001") + list_places(world, "round-0002")
    assert measure_nearest_m(places) >= SHOWN_M[0] / 2
    assert judge_selections(world.rounds(), world.embeddings(), world.tiles(), "round-0002").passed


def test_judge_selections__finds_two_tiles_of_the_same_ground(survey: CurationWorld):
    world = survey.copy()
    settings = RoundSettings(budget=20, all_windows=True)
    manifest = world.select(settings).manifest
    rows = world.rounds().read("round-0001")

    def judge(**inputs: str) -> Verdict:
        recipe = replace(
            manifest.recipe,
            config={**manifest.recipe.config, "all_windows": False},
            inputs=manifest.recipe.inputs | inputs,
        )
        content = pushing([*rows.to_batches(), manifest.facts])
        commit(world.store, Draft(recipe, content, rows.schema))
        return judge_selections(world.rounds(), world.embeddings(), world.tiles(), "round-0001")

    assert judge_selections(
        world.rounds(), world.embeddings(), world.tiles(), "round-0001"
    ).passed  # it was asked for
    assert not judge(**hash_tiles(world.tiles(), ["survey"])).passed
    assert judge(**{"tiles/survey": "made again since"}).passed


def test_describe_round__says_how_much_ground_a_label_shows(survey: CurationWorld):
    world = survey.copy()
    committed = world.select(RoundSettings(budget=4))
    lines = list(
        describe_round(world.store, committed, model="tiny", open_source=world.sources.__getitem__)
    )
    (line,) = [line for line in lines if line.startswith("ground: ")]
    facts = committed.manifest.facts
    assert f"4 tiles show {facts['ground_m2']:,.0f} m²" in line
    assert f"{facts['m2_per_label']:,.0f} m² per label" in line
    assert f"{facts['same_ground']} other tiles show the same ground" in line


def test_draft_selections__a_drop_without_its_tiles_is_left_out(world: CurationWorld):
    world.store.delete(manifest_key(OutputId("tiles", "ridge-north")))
    facts = world.select(RoundSettings(budget=3, all=True)).manifest.facts
    assert facts["picked"] == 3
    assert list(facts["left_out"]) == ["ridge-north"]


CORNERS = np.array([[0, 0], [1, 0], [1, -1], [0, -1]], np.float64)


def test_measure_ground__of_outlines_that_no_plane_fits():
    (square,) = encode_wkb(CORNERS[None] * 0.001)
    (continent,) = encode_wkb(CORNERS[None] * 30)
    (antimeridian,) = encode_wkb(CORNERS[None] * 0.001 + [179.9995, 0])
    alone = measure_ground([square])
    assert alone["ground_m2"] == pytest.approx(111.3 * 110.6, rel=0.01)
    assert measure_ground([continent, square, antimeridian]) == alone
    assert measure_ground([continent]) == {}
    assert measure_ground([]) == {}


def test_pick_round__ground_of_a_larger_tile_of_an_earlier_round():
    """Both parts of the code that ask which tiles are left must agree, also with tiles of two sizes."""
    centers = travel(8.0, 47.0, np.array([[0, 0], [18, 0], [90, 0]], np.float64))
    boxes = np.tile([0, 0, 100, 100], (3, 1))
    same = SameGround(Windows(["a", "b", "c"], boxes, centers, np.array([40.0, 30.0, 30.0])))
    pool = TilePool(
        ["d"] * 3, ["a", "b", "c"], ["a", "b", "c"], np.eye(3, dtype=np.float32), [b""] * 3
    )
    picked = pick_round(
        pool,
        RoundSettings(round=2, budget=2, all=True),
        {"a"},
        left_out={},
        ground=PoolGround(np.array([0]), same.excludes),
    )
    assert picked.selection.indices.tolist() == [2]


def test_spell_command__of_every_window():
    config = {"budget": 4, "round": 2, "all_windows": True}
    assert spell_command(config) == "dino-assets select --round 2 --all-windows --budget 4"
    assert "--all-windows" not in spell_command(config | {"all_windows": False})


def test_draft_selections__every_window_on_request(survey: CurationWorld):
    world = survey.copy()
    facts = world.select(RoundSettings(budget=20, all_windows=True)).manifest.facts
    assert facts["picked"] == 20
    assert facts.keys().isdisjoint({"same_ground", "ground_taken"})
    assert measure_nearest_m(list_places(world, "round-0001")) < SHOWN_M[0] / 2


def test_draft_selections__says_when_all_ground_is_chosen(survey: CurationWorld):
    world = survey.copy()
    facts = world.select(RoundSettings(budget=20)).manifest.facts
    assert 4 <= facts["picked"] < 20
    assert "every other tile shows the same ground" in facts["shortfall"]
    with raising(ConfigError, setting="budget", reason="none-left"):
        world.select(RoundSettings(round=2))
    assert world.select(RoundSettings(round=2, all_windows=True)).manifest.facts["picked"] == 20


def test_draft_selections__ground_of_a_round_of_another_space(
    world: CurationWorld, checkpoint_dir: Path, engine_cache: Path
):
    """Tiles of another side have other ids, and a label for the same ground would be paid twice."""
    world.select(RoundSettings(budget=5))
    chosen = world.rounds().read("round-0001").to_pylist()
    other = CurationWorld.make(
        world.store, world.sources, checkpoint_dir, cache=engine_cache, side=192
    )
    other.select(RoundSettings(budget=20))
    rows = other.rounds().read("round-0001").to_pylist()
    assert len(rows) == 20
    for row in rows:
        for each in chosen:
            if row["image_id"] == each["image_id"]:
                is_beside = row["x"] >= each["x"] + each["w"] or each["x"] >= row["x"] + row["w"]
                is_below = row["y"] >= each["y"] + each["h"] or each["y"] >= row["y"] + row["h"]
                assert is_beside or is_below


def test_draft_selections__a_change_of_places_changes_the_recipe(survey: CurationWorld):
    once, every = (
        survey.copy().select(RoundSettings(budget=4, all_windows=every)).manifest.recipe
        for every in (False, True)
    )
    assert "tiles/survey" in once.inputs
    assert "tiles/survey" not in every.inputs
