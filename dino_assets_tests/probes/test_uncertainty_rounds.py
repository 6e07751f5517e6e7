"""Rounds of the strategy *uncertainty*: chosen by the probe, stored with its numbers, and chosen again from them."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dino_assets.embeddings.stage.pool import read_pool
from dino_assets.errors import ConfigError, CorruptObjectError
from dino_assets.labels.stage.reading import list_labelled
from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.probes.stage.drafting import draft_probe, make_settings
from dino_assets.probes.stage.uncertainties import read_uncertainties
from dino_assets.selections import rounds
from dino_assets.selections.stage.describing import describe_round
from dino_assets.selections.stage.links import check_links, read_receipt_of
from dino_assets.selections.stage.opening import Round, open_round
from dino_assets.selections.stage.recomputing import Recomputing, recompute
from dino_assets.selections.stage.uncertainties import UNCERTAINTIES, ReadUncertainties
from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.protocol import Committed, Draft, OutputId, OutputWriter, Recipe
from dino_assets.store.commits.reading import SpacedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import open_store
from dino_assets.weights.stage import load_checkpoint
from dino_assets_tests.probes.conftest import label_tiles, list_classes
from dino_assets_tests.worlds.curation import COMPUTE, SIDE, CurationWorld
from dino_assets_tests.worlds.histories import SPACE
from dino_assets_tests.worlds.large_stores import DrawnVectors, write_embedded
from dino_assets_tests.worlds.raising import raising

Open = Callable[..., Round]
BUDGET = 8


def draft(world: CurationWorld, split: str = "flight") -> Draft:
    settings = make_settings(split=split, folds=3)
    return draft_probe(world.embeddings(), world.tiles(), settings, model="tiny")


def train(world: CurationWorld) -> Committed:
    return commit(world.store, draft(world))


class OneDrop:
    """An output's writer that stores the rows of one drop only, as if the other had come later."""

    def __init__(self, out: OutputWriter) -> None:
        self.out = out

    def rows(self, batch: pa.RecordBatch) -> None:
        if batch["drop"][0].as_py() == "ridge-north":
            self.out.rows(batch)

    def __getattr__(self, name: str) -> object:
        return getattr(self.out, name)


@pytest.fixture
def open_with(world: CurationWorld) -> Open:
    def run(
        kind: str = "entropy",
        *,
        read: ReadUncertainties | None = read_uncertainties,
        may_replace: bool = False,
        **more: object,
    ) -> Round:
        values = {
            "budget": BUDGET,
            "strategy": "uncertainty",
            "uncertainty": kind,
            "all_windows": True,
        } | more
        return open_round(
            SpacedTable(world.store, "embeddings"),
            open_table(world.store, "tiles"),
            load_checkpoint(world.store),
            COMPUTE,
            rounds.make_settings(**values),
            open_source=world.sources.__getitem__,
            tile_px=SIDE,
            may_replace=may_replace,
            labelled=list_labelled(world.store),
            read_uncertainties=read,
        )

    return run


def predictions(world: CurationWorld) -> dict[str, dict[str, object]]:
    rows = open_table(world.store, "probes", space=world.space).read().to_pylist()
    return {str(row["tile_id"]): row for row in rows}


@pytest.mark.parametrize("kind", ["entropy", "margin", "disagreement"])
def test_open_round__each_pick_has_the_largest_product_of_uncertainty_and_distance(
    world: CurationWorld, open_with: Open, kind: str
):
    train(world)
    commit(world.store, open_with(kind).draft)
    chosen = world.rounds().read("round-0001").to_pylist()
    stored = predictions(world)
    pool = read_pool(world.embeddings(), "cls").distinct()
    of_tile = [float(stored[tile_id][kind]) for tile_id in pool.tile_ids]  # type: ignore[arg-type]
    uncertain = np.array([1 - each if kind == "margin" else each for each in of_tile])
    vectors = scale_to_unit(pool.vectors).astype(np.float64)
    taken = [row for row, tile_id in enumerate(pool.tile_ids) if stored[tile_id]["label"]]
    assert len(chosen) == BUDGET
    assert taken
    for pick in chosen:
        squared = np.square(vectors[:, None] - vectors[taken][None]).sum(axis=2).min(axis=1)
        scores = uncertain * np.sqrt(squared)
        scores[taken] = -1
        row = pool.tile_ids.index(pick["tile_id"])
        assert scores[row] == pytest.approx(scores.max(), rel=1e-3)
        assert pick["reason"] == "uncertain"
        assert pick["uncertainty"] == pytest.approx(uncertain[row], abs=1e-6)
        assert f"({pick['uncertainty']:.3f})" in pick["why"]
        taken.append(row)


def test_open_round__facts_and_lines_say_how_uncertain_and_how_good(
    world: CurationWorld, open_with: Open
):
    probe = train(world)
    committed = commit(world.store, open_with().draft)
    facts = committed.manifest.facts
    assert facts["uncertainty_mean"] > facts["pool_uncertainty_mean"]
    assert facts["probe"]["macro_accuracy"] == probe.manifest.facts["macro_accuracy"]
    assert "warning" not in facts["probe"]
    lines = describe_round(
        world.store, committed, model="tiny", open_source=world.sources.__getitem__
    )
    (line,) = [line for line in lines if line.startswith("uncertainty: ")]
    assert f"{facts['uncertainty_mean']:.3f}" in line


def test_open_round__probe_of_meaningless_labels_is_said(world: CurationWorld, open_with: Open):
    ids = sorted(list_classes(world, every=3))
    names = np.random.default_rng(5).permutation(["bare", "wood"] * len(ids))[: len(ids)]
    label_tiles(world, dict(zip(ids, names.tolist(), strict=True)), after_s=1000)
    commit(world.store, draft(world, "image"))
    assert "warning" in commit(world.store, open_with().draft).manifest.facts["probe"]


def test_open_round__a_committed_round_keeps_its_numbers(world: CurationWorld, open_with: Open):
    train(world)
    first = commit(world.store, open_with().draft)
    chosen = world.rounds().read("round-0001")["tile_id"].to_pylist()
    label_tiles(world, dict.fromkeys(chosen, "bare"), by="ben", after_s=2000)
    train(world)
    again = open_with()
    assert again.notice == ""
    assert commit(world.store, again.draft).was_reused
    assert again.draft.recipe == first.manifest.recipe
    second = commit(world.store, open_with(round=2).draft).manifest
    assert (
        second.recipe.inputs["probes/predictions"]
        != first.manifest.recipe.inputs["probes/predictions"]
    )
    assert not set(chosen) & set(world.rounds().read("round-0002")["tile_id"].to_pylist())
    other = open_with("margin")
    assert other.has_other_settings


def test_open_round__verified_and_computed_again_after_the_probe_is_gone(
    world: CurationWorld, open_with: Open, tmp_path: Path, engine_cache: Path
):
    probe = train(world)
    manifest = commit(world.store, open_with().draft).manifest
    for part in probe.manifest.parts:
        world.store.delete(part.key)
    links = {link.name: link for link in check_links(world.store, manifest.recipe.output)}
    assert not any(link.is_broken for link in links.values())
    assert "uncertainties" in links
    receipt = read_receipt_of(world.store, manifest)
    how = Recomputing(world.store, world.sources.__getitem__, COMPUTE, engine_cache)
    again = list(recompute(how, manifest.recipe.output, receipt))
    assert [link.name for link in again if link.is_broken] == []


def test_open_round__damaged_numbers_are_restored_from_the_same_probe_only(
    world: CurationWorld, open_with: Open
):
    train(world)
    committed = commit(world.store, open_with().draft)
    parts = read_manifest(world.store, committed.manifest.recipe.output).parts
    (part,) = [part for part in parts if part.name == UNCERTAINTIES]
    world.store.delete(part.key)
    with pytest.raises(CorruptObjectError):
        open_with(read=None)
    assert commit(world.store, open_with().draft).manifest == committed.manifest
    assert world.store.exists(part.key)
    world.store.delete(part.key)
    label_tiles(
        world, dict.fromkeys(sorted(predictions(world))[:9], "bare"), by="ben", after_s=2000
    )
    train(world)
    with raising(CorruptObjectError, key=part.key, match="--round 1 --replace"):
        open_with()


def test_open_round__without_a_probe_or_with_an_old_one(world: CurationWorld, open_with: Open):
    for read in (read_uncertainties, None):
        with pytest.raises(ConfigError) as caught:
            open_with(read=read)
        assert caught.value.setting == "strategy"
        assert caught.value.value == "uncertainty"
    both = draft(world)
    commit(world.store, replace(both, produce=lambda out: both.produce(OneDrop(out))))
    with pytest.raises(ConfigError) as caught:
        open_with()
    assert caught.value.reason == "old-probe"
    assert open_with(drops=("ridge-north",)).draft.recipe.output.drop == "round-0001"


def test_read_uncertainties__without_python_objects_per_tile(tmp_path: Path):
    """The numbers follow the order of the pool, and a tile costs 100 bytes of memory outside of Arrow, not 400."""
    write_embedded(tmp_path, drops=3, tiles_per_drop=5000, vectors=DrawnVectors(4))
    store = open_store(StorageSettings(url="data", root=tmp_path))
    pool = open_table(store, "embeddings", space=SPACE)
    ids = [(drop, each) for drop in pool.drops for each in pool.read(drop)["tile_id"].to_pylist()]
    numbers = np.random.default_rng(0).random(len(ids)).astype(np.float32)
    shuffled = np.random.default_rng(1).permutation(len(ids))
    table = pa.table(
        {
            "drop": [ids[row][0] for row in shuffled],
            "tile_id": [ids[row][1] for row in shuffled],
            "entropy": numbers[shuffled],
        }
    )

    def produce(out: OutputWriter) -> None:
        for batch in table.to_batches():
            out.rows(batch)
        out.facts(
            {
                "class_labels": {"a": 1, "b": 1},
                "labels": 2,
                "macro_accuracy": 0.9,
                "macro_from_to": [0.8, 1],
            }
        )

    commit(store, Draft(Recipe(OutputId("probes", space=SPACE), "1"), produce, table.schema))
    settings = rounds.make_settings(strategy="uncertainty")
    np.testing.assert_array_equal(read_uncertainties(pool, settings).values, numbers)
    tracemalloc.start()
    try:
        read_uncertainties(pool, settings)
        assert tracemalloc.get_traced_memory()[1] < 150 * len(ids)
    finally:
        tracemalloc.stop()


def test_open_round__other_strategies_do_not_read_a_probe(world: CurationWorld, open_with: Open):
    def refuse(*_: object) -> None:
        raise AssertionError("read")

    opened = open_with(read=refuse, strategy="herding").draft
    assert not any(name.startswith("probes/") for name in opened.recipe.inputs)
    commit(world.store, opened)
    assert set(world.rounds().read("round-0001")["uncertainty"].to_pylist()) == {None}
