"""From embeddings to a map and to rounds of tiles, on drawn flights."""

import io
from dataclasses import replace
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dino_assets.errors import ConfigError, CorruptObjectError
from dino_assets.projections import stage as maps
from dino_assets.projections.stage import MapSettings, draft_projections, judge_projections
from dino_assets.selections.receipt import RECEIPT
from dino_assets.selections.records import ChosenTile
from dino_assets.selections.rounds import RoundSettings, make_settings, name_round
from dino_assets.selections.stage import drafting as rounds_stage
from dino_assets.selections.stage.drafting import (
    EVERY_WINDOW,
    REPEATABLE,
    UNEXPLAINED,
    draft_selections,
)
from dino_assets.selections.stage.judging import judge_selections
from dino_assets.selections.stage.opening import open_round
from dino_assets.selections.stage.paid import SHEET, hash_choice, read_round, spell_input
from dino_assets.selections.strategies.names import StrategyName
from dino_assets.store.commits.manifests import manifest_key, read_manifest
from dino_assets.store.commits.protocol import Draft
from dino_assets.store.commits.reading import SpacedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.stage import load_checkpoint
from dino_assets_tests.worlds.curation import COMPUTE, LINEAR, SIDE, CurationWorld
from dino_assets_tests.worlds.outputs import pushing
from dino_assets_tests.worlds.raising import raising


def test_draft_projections__a_place_per_tile(world: CurationWorld):
    committed = commit(
        world.store,
        draft_projections(
            world.embeddings(), open_table(world.store, "tiles"), LINEAR, model="tiny"
        ),
    )
    assert committed.manifest.rows == world.embeddings().rows
    assert committed.manifest.facts["method"] == "linear"
    table = open_table(world.store, "projections", space=world.space)
    assert judge_projections(table, world.embeddings(), space=world.space).passed
    picture = Image.open(io.BytesIO(world.read_file(committed.manifest, maps.PICTURE)))
    assert picture.format == "PNG"
    page = world.read_file(committed.manifest, maps.PAGE).decode()
    assert table.read(None)["tile_id"][0].as_py() in page
    assert commit(
        world.store,
        draft_projections(
            world.embeddings(), open_table(world.store, "tiles"), LINEAR, model="tiny"
        ),
    ).was_reused


def test_judge_projections__a_drop_that_came_later(world: CurationWorld):
    commit(
        world.store,
        draft_projections(
            world.embeddings(), open_table(world.store, "tiles"), LINEAR, model="tiny"
        ),
    )
    table = open_table(world.store, "projections", space=world.space)
    embeddings = open_table(world.store, "embeddings", space=world.space, drops=["ridge-north"])
    verdict = judge_projections(table, embeddings, space=world.space)
    assert not verdict.passed
    assert "places for" in verdict.sentence


@pytest.mark.parametrize("strategy", get_args(StrategyName))
def test_draft_selections__stores_the_requested_round(world: CurationWorld, strategy):
    committed = world.select(RoundSettings(budget=6, strategy=strategy))
    rows = world.rounds().read("round-0001").to_pylist()
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert judge_selections(world.rounds(), world.embeddings(), world.tiles(), "round-0001").passed
    assert committed.manifest.facts["picked"] == 6
    tiles = open_table(world.store, "tiles")
    for row in rows:
        (tile,) = [t for t in tiles.read(row["drop"]).to_pylist() if t["tile_id"] == row["tile_id"]]
        assert all(row[name] == tile[name] for name in ("path", "x", "y", "w", "h", "image_id"))
        assert row["latitude"] == pytest.approx(
            47.61 if row["drop"] == "ridge-north" else -38.70, abs=0.02
        )
        crop = Image.open(
            io.BytesIO(world.read_file(committed.manifest, ChosenTile(**row).picture))
        )
        assert crop.size == (SIDE, SIDE)
    sheet = Image.open(io.BytesIO(world.read_file(committed.manifest, SHEET)))
    assert min(sheet.size) > 200


def test_draft_selections__the_crop_is_the_tile(world: CurationWorld):
    committed = world.select(RoundSettings(budget=3, strategy="fps"))
    row = world.rounds().read("round-0001").to_pylist()[1]
    photo = Image.open(io.BytesIO(world.sources[row["drop"]].read(row["path"])))
    x, y = row["x"], row["y"]
    expected = np.asarray(photo.crop((x, y, x + SIDE, y + SIDE)), np.int16)
    crop = Image.open(io.BytesIO(world.read_file(committed.manifest, ChosenTile(**row).picture)))
    assert np.abs(np.asarray(crop, np.int16) - expected).mean() < 4  # JPEG again


def test_draft_selections__later_rounds_choose_no_tile_again(world: CurationWorld):
    world.select(RoundSettings(budget=8))
    world.select(RoundSettings(round=2, budget=8))
    first_ids, second_ids = (
        set(world.rounds().read(name_round(n))["tile_id"].to_pylist()) for n in (1, 2)
    )
    assert len(first_ids) == len(second_ids) == 8
    assert not first_ids & second_ids
    assert judge_selections(world.rounds(), world.embeddings(), world.tiles(), "round-0002").passed
    # The first round is what it was, and both are replayed, not made again.
    assert world.select(RoundSettings(budget=8)).was_reused
    assert world.select(RoundSettings(round=2, budget=8)).was_reused


def test_draft_selections__budget_above_the_pool(world: CurationWorld):
    every_tile = RoundSettings(budget=10_000, strategy="random", all=True, all_windows=True)
    committed = world.select(every_tile)
    pool = len({t for _, p in world.embeddings().parts() for t in p["tile_id"].to_pylist()})
    assert committed.manifest.rows == pool
    assert "10000 were asked for" in committed.manifest.facts["shortfall"]
    verdict = judge_selections(world.rounds(), world.embeddings(), world.tiles(), "round-0001")
    assert (verdict.passed, verdict.warns) == (True, True)


def test_draft_selections__the_sheet_has_a_limit(world: CurationWorld):
    committed = world.select(RoundSettings(budget=30, strategy="random"), sheet_tiles=3)
    sheet = Image.open(io.BytesIO(world.read_file(committed.manifest, SHEET)))
    assert sheet.height < 400  # one row of three
    assert len([p for p in committed.manifest.parts if (p.name or "").startswith("tiles/")]) == 30


def test_draft_selections__the_sheet_has_a_title(world: CurationWorld):
    def height(done) -> int:
        return Image.open(io.BytesIO(world.read_file(done.manifest, SHEET))).height

    titled = world.select(RoundSettings(budget=3, strategy="random"))
    choice_hash = hash_choice(titled.manifest)
    world.store.delete(manifest_key(titled.manifest.recipe.output))
    # The same weights by another name are the same choice.
    renamed = world.select(RoundSettings(budget=3, strategy="random"), model="a longer name " * 9)
    assert height(renamed) > height(titled)
    assert hash_choice(renamed.manifest) == choice_hash
    untitled = world.select(RoundSettings(budget=3, strategy="random"), code_version="3")
    assert height(untitled) < height(titled)


@pytest.mark.parametrize("version", REPEATABLE[:-1])
def test_open_round__a_round_of_an_earlier_version_is_restored_with_equal_content(
    world: CurationWorld, version: str
):
    """Its contact sheet may have no title, its tiles may show the same ground, and it may have no receipt."""
    settings, caveat = RoundSettings(budget=20), load_checkpoint(world.store).caveat
    old_manifest = world.select(settings, code_version=version, caveat=caveat).manifest
    if version in EVERY_WINDOW:
        assert old_manifest.facts["picked"] == 20
        assert old_manifest.facts.keys().isdisjoint({"same_ground", "ground_m2"})
    has_receipt = RECEIPT in {part.name for part in old_manifest.parts}
    assert has_receipt == (version not in UNEXPLAINED)

    def open_and_commit():
        opened_round = open_round(
            SpacedTable(world.store, "embeddings"),
            open_table(world.store, "tiles"),
            load_checkpoint(world.store),
            COMPUTE,
            settings,
            open_source=world.sources.__getitem__,
            tile_px=SIDE,
        )
        assert opened_round.notice == ""
        return commit(world.store, opened_round.draft)

    committed = open_and_commit()
    assert (committed.was_reused, committed.manifest) == (True, old_manifest)
    for part in old_manifest.parts:
        world.store.delete(part.key)
    committed = open_and_commit()
    assert (committed.was_reused, committed.manifest) == (False, old_manifest)


def test_draft_selections__an_empty_pool(checkpoint_dir):
    store = ObjectStore.in_memory()
    no_embeddings = open_table(store, "embeddings", space="s")
    draft = draft_selections(
        no_embeddings,
        open_table(store, "tiles"),
        [],
        RoundSettings(),
        projections=open_table(store, "projections", space="s"),
        open_source=lambda d: None,
        model="m",
    )
    assert commit(store, draft).manifest.rows == 0
    assert (
        commit(
            store,
            draft_projections(no_embeddings, open_table(store, "tiles"), MapSettings(), model="m"),
        ).manifest.rows
        == 0
    )


def test_judge_selections__compares_with_the_rounds_of_its_recipe(world: CurationWorld):
    world.select(RoundSettings(budget=4))
    manifest = world.rounds().manifest("round-0001")
    rows = world.rounds().read("round-0001").cast(rounds_stage.SCHEMA)

    def plant(space: str, name: str, *paid: str):
        inputs = {k: v for k, v in manifest.recipe.inputs.items() if "/" not in k}
        recipe = replace(
            manifest.recipe,
            output=replace(manifest.recipe.output, drop=name, space=space),
            inputs=inputs | dict.fromkeys(paid, "f00d"),
        )
        items = [*rows.to_batches(), manifest.facts]
        commit(world.store, Draft(recipe, pushing(items), rounds_stage.SCHEMA))
        return judge_selections(world.rounds(), world.embeddings(), world.tiles(), "round-0002")

    assert plant(world.space, "round-0002").passed
    verdict = plant(world.space, "round-0002", "selections/round-0001")
    assert (verdict.passed, verdict.sentence) == (
        False,
        "4 tiles were already chosen in earlier rounds",
    )
    # Of another space: its later rounds are none of the round's business, those that it names are.
    assert plant(world.space, "round-0002").passed
    assert plant("elsewhere", "round-0007").passed
    verdict = plant(world.space, "round-0002", "selections/elsewhere/round-0007")
    assert (verdict.passed, verdict.sentence) == (
        False,
        "4 tiles were already chosen in earlier rounds",
    )


def test_read_round__says_how_to_restore_a_lost_table(world: CurationWorld):
    committed = world.select(RoundSettings(budget=4, n_clusters=2))
    (table,) = [part for part in committed.manifest.parts if part.name is None]
    world.store.delete(table.key)
    sentence = (
        f"To restore round-0001 of space {world.space}, choose it again with the weights and the tile "
        "side of that space: `dino-assets select --round 1 --budget 4 --column cls --fps-ratio 0.5 "
        "--most-per-camera 0 --most-per-class 0 --most-per-drop 0 --clusters 2 --seed 42 --strategy herding+swaps "
        "--uncertainty entropy`."
    )
    with pytest.raises(CorruptObjectError) as caught:
        read_round(world.rounds(), "round-0001")
    assert sentence in str(caught.value)
    with raising(CorruptObjectError, key=table.key):
        world.select(RoundSettings(round=2, budget=4))
    verdict = judge_selections(world.rounds(), world.embeddings(), world.tiles(), "round-0001")
    assert not verdict.passed
    assert sentence in verdict.sentence


def test_spell_input__names_for_people():
    assert spell_input("flight-1") == "flight-1"
    assert spell_input("selections") == "selections"  # a drop may be called so
    assert spell_input("selections/round-0001") == "round-0001"
    assert spell_input("selections/abc/round-0001") == "round-0001 of space abc"


def test_judge_selections__finds_planted_faults(world: CurationWorld):
    world.select(RoundSettings(budget=4))
    manifest = read_manifest(world.store, world.rounds().manifest("round-0001").recipe.output)
    rows = world.rounds().read("round-0001")

    def plant(table, **config):
        recipe = replace(
            manifest.recipe,
            code_version=str(len(table)) + str(config),
            config={**manifest.recipe.config, **config},
        )
        commit(
            world.store,
            Draft(recipe, pushing([*table.to_batches(), manifest.facts]), rounds_stage.SCHEMA),
        )
        return judge_selections(world.rounds(), world.embeddings(), world.tiles(), "round-0001")

    rows = rows.cast(rounds_stage.SCHEMA)
    assert "3 tiles, but the budget is 4" in plant(rows.slice(1)).sentence
    assert (
        "1 tiles are picked twice"
        in plant(pa.concat_tables([rows.slice(0, 3), rows.slice(0, 1)]), x=1).sentence
    )
    foreign = rows.set_column(3, rounds_stage.SCHEMA.field(3), pa.array(["a", "b", "c", "d"]))
    assert "4 picked tiles are not in the pool" in plant(foreign, x=2).sentence


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (maps.make_settings, {"column": "register"}),
        (maps.make_settings, {"method": "tsne"}),
        (make_settings, {"column": "register"}),
        (make_settings, {"round": 0}),
        (make_settings, {"budget": 0}),
        (make_settings, {"n_clusters": 0}),
        (make_settings, {"seed": -1}),
        (make_settings, {"fps_ratio": 1.1}),
        (make_settings, {"fps_ratio": -0.1}),
        (make_settings, {"fps_ratio": float("nan")}),
    ],
)
def test_make_settings__refuses_invalid_values(make, wrong):
    with pytest.raises(ConfigError):
        make(**wrong)


@pytest.mark.parametrize(
    ("settings", "tile_px", "setting"),
    [
        (RoundSettings(budget=0), 0, "budget"),
        (RoundSettings(fps_ratio=2), 0, "fps_ratio"),
        (RoundSettings(), -1, "tile_px"),
    ],
)
def test_open_round__refuses_before_reading(settings: RoundSettings, tile_px: int, setting: str):
    with raising(ConfigError, setting=setting):
        open_round(None, None, None, None, settings, open_source=None, tile_px=tile_px)
