"""The learning curve of labelled tiles in a store."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dino_assets.demo.flights.draw import draw_flights
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.embeddings.rows import to_matrix
from dino_assets.embeddings.stage.pool import choose_pool
from dino_assets.errors import NotCommittedError, TooFewLabelsError
from dino_assets.labels.stage.answers import put_answers
from dino_assets.labels.stage.drafting import draft_labels
from dino_assets.numerics.kmeans import fit_kmeans
from dino_assets.probes.curve_settings import CurveSettings
from dino_assets.probes.replaying import split_blocks
from dino_assets.probes.stage.captured import read_captured
from dino_assets.probes.stage.curve import (
    PICTURE,
    SLICES,
    draft_curve,
    judge_curve,
    make_labelled,
    measure_slices,
)
from dino_assets.selections.rounds import RoundSettings
from dino_assets.store.commits.protocol import Committed, Manifest
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.labels.giving import give, tile_target
from dino_assets_tests.worlds.curation import CurationWorld

DROPS = ("ridge-north", "river-burn")
QUICK = CurveSettings(seeds=4, block_m=20)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory, checkpoint_dir: Path, engine_cache: Path) -> CurationWorld:
    folder = tmp_path_factory.mktemp("flights")
    draw_flights(folder, scale=0.3)
    sources = {name: FolderSource(folder / name, shown=name) for name in DROPS}
    return CurationWorld.make(ObjectStore.in_memory(), sources, checkpoint_dir, cache=engine_cache)


@pytest.fixture
def world(embedded: CurationWorld) -> CurationWorld:
    """Each test has a store of its own."""
    return embedded.copy()


def label_tiles(world: CurationWorld, count: int = 200) -> dict[str, str]:
    """Label tiles by the cluster of their vector, so that a probe can learn the classes."""
    columns = ["tile_id", "image_id", "cls"]
    tables = {drop: world.embeddings().read(drop, columns) for drop in DROPS}
    targets = [
        tile_target(row["tile_id"], drop=drop, image_id=row["image_id"])
        for drop, table in tables.items()
        for row in table.select(columns[:2]).to_pylist()
    ]
    vectors = np.concatenate([to_matrix(table["cls"]) for table in tables.values()])
    clusters = fit_kmeans(vectors, 2, rng=np.random.default_rng(0)).labels.tolist()
    rows = np.random.default_rng(0).permutation(len(targets))[:count].tolist()
    names = {row: ("burnt", "green")[clusters[row]] for row in rows}
    answers = [give(targets[row], names[row], seconds=4.0) for row in rows]
    put_answers(world.store, answers)
    commit(world.store, draft_labels(world.store))
    return {str(targets[row].tile_id): name for row, name in names.items()}


def make_curve(world: CurationWorld, settings: CurveSettings = QUICK, **options: str) -> Committed:
    images = open_table(world.store, "images")
    draft = draft_curve(
        choose_pool(world.embeddings(), drops=settings.drops),
        *(world.tiles(), images, settings),
        **options,  # type: ignore[arg-type]
    )
    return commit(world.store, draft)


def read_slices(world: CurationWorld, manifest: Manifest) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO(world.read_file(manifest, SLICES).decode()))]


def test_draft_curve__table_picture_slices_and_facts(world: CurationWorld):
    classes = label_tiles(world)
    manifest = make_curve(world, caveat="random").manifest
    facts = manifest.facts
    assert facts["labels"] == len(classes)
    assert facts["classes"] == 2
    assert set(facts["gains"]) >= {"random", "herding", "fps"}
    assert facts["caveat"] == "random"
    rows = open_table(world.store, "learning_curve", space=world.space).read().to_pylist()
    assert len(rows) == manifest.rows
    assert all(row["low"] <= row["mean"] <= row["high"] for row in rows)
    assert Image.open(io.BytesIO(world.read_file(manifest, PICTURE))).format == "PNG"
    assert "measured answers" in facts["next_cost"]
    attributes = {row["attribute"] for row in read_slices(world, manifest)}
    assert attributes >= {"drop", "hour", "cluster"}


def test_draft_curve__equal_labels_are_not_replayed_again(world: CurationWorld):
    label_tiles(world)
    first, again = make_curve(world), make_curve(world)
    assert again.was_reused
    assert again.manifest == first.manifest
    label_tiles(world, 201)
    assert not make_curve(world).was_reused


def test_draft_curve__equal_inputs_give_equal_bytes(world: CurationWorld):
    other = world.copy()
    parts = []
    label_tiles(world)
    for key in [info.key for info in world.store.list() if info.key.startswith("answers/")]:
        other.store.put(key, world.store.get(key))
    commit(other.store, draft_labels(other.store))
    for each in (world, other):
        parts.append(make_curve(each).manifest.parts)
    assert parts[0] == parts[1]


def test_draft_curve__without_labels_nothing_is_replayed(world: CurationWorld):
    with pytest.raises(NotCommittedError):
        make_curve(world)


def test_draft_curve__too_few_labels_are_refused(world: CurationWorld):
    label_tiles(world, 50)
    with pytest.raises(TooFewLabelsError) as caught:
        make_curve(world)
    assert caught.value.labels <= 50


def test_read_captured__only_chosen_drops_and_at_most_so_many(world: CurationWorld):
    classes = label_tiles(world)
    images = open_table(world.store, "images")
    pool = choose_pool(world.embeddings(), drops=[DROPS[0]])
    captured = read_captured(pool, world.tiles(), images, "cls", most=50)
    assert {tile.drop for tile in captured.tiles} == {DROPS[0]}
    assert len(captured) == 50
    assert captured.left_out > 0
    for tile, number in zip(captured.tiles, captured.classes, strict=True):
        assert captured.class_names[number] == classes[tile.tile_id]
    assert np.linalg.norm(captured.vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert all(tile.taken and tile.camera and tile.gsd_m for tile in captured.tiles)


def test_make_labelled__no_tile_of_a_pool_shows_held_out_ground(world: CurationWorld):
    label_tiles(world)
    captured = read_captured(
        world.embeddings(), world.tiles(), open_table(world.store, "images"), "cls"
    )
    labelled = make_labelled(captured, block_m=20)
    ground = captured.locate()
    assert ground.are_placed.all()
    pool, held = split_blocks(labelled, np.random.default_rng(0))
    metres = np.array([111_195 * np.cos(np.radians(ground.centers[0, 1])), 111_195])
    places = ground.centers * metres
    apart = np.linalg.norm(places[pool][:, None] - places[held][None], axis=2)
    halves = ground.sides_m / np.sqrt(2)
    assert (apart >= halves[pool][:, None] + halves[held][None] - 0.1).all()


def test_measure_slices__wrong_labels_of_a_drop_are_found(world: CurationWorld):
    label_tiles(world)
    captured = read_captured(
        world.embeddings(), world.tiles(), open_table(world.store, "images"), "cls"
    )
    rng = np.random.default_rng(0)
    of_drop = np.array([tile.drop == DROPS[1] for tile in captured.tiles])
    guessed = np.where(of_drop, rng.integers(0, 2, len(captured)), captured.classes)
    wrong = replace(captured, classes=guessed)
    slices = measure_slices(wrong, make_labelled(wrong, block_m=20))
    worst, best = (each for each in slices if each.attribute == "drop")
    assert worst.value == DROPS[1]
    assert worst.accuracy < best.low


def judge(world: CurationWorld):
    curves = open_table(world.store, "learning_curve", space=world.space)
    return judge_curve(curves, world.rounds(), space=world.space)


def test_judge_curve__warns_exactly_if_the_latest_rounds_strategy_does_not_beat_random(
    world: CurationWorld,
):
    label_tiles(world)
    gains = make_curve(world).manifest.facts["gains"]
    assert not judge(world).warns  # no round, so no strategy is in use
    world.select(RoundSettings(budget=4, strategy="random"))
    assert not judge(world).warns
    world.select(RoundSettings(round=2, budget=4, strategy="fps"))
    verdict = judge(world)
    assert verdict.passed
    assert verdict.warns == (gains["fps"]["low"] <= 0)
    assert "fps" in verdict.sentence
