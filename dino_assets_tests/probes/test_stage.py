"""Stage *probes*: from labels in the store to predictions for every tile."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dino_assets.embeddings.stage.pool import read_pool
from dino_assets.errors import ConfigError, NotCommittedError, TooFewLabelsError
from dino_assets.probes.files import load_probe
from dino_assets.probes.probe_settings import ProbeSettings
from dino_assets.probes.stage import labelled as reading_labelled
from dino_assets.probes.stage.drafting import CALIBRATION, CONFUSION, draft_probe, make_settings
from dino_assets.probes.stage.heat_maps_sources import find_sources, score_tiles
from dino_assets.probes.stage.judging import find_leak, judge_probe
from dino_assets.probes.stage.prototypes import NamedVector, Prototype, put_prototype
from dino_assets.probes.stage.reading import (
    find_probe,
    read_probe,
    read_probe_data,
    read_report,
)
from dino_assets.store.commits.manifests import manifest_key
from dino_assets.store.commits.protocol import Committed, OutputId
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.probes.conftest import label_tiles
from dino_assets_tests.worlds.curation import CurationWorld

BY_IMAGE = ProbeSettings(split="image", folds=3)


def train(world: CurationWorld, settings: ProbeSettings = BY_IMAGE) -> Committed:
    draft = draft_probe(world.embeddings(), world.tiles(), settings, model="tiny", caveat="random weights")  # fmt: skip
    return commit(world.store, draft)


def test_draft_probe__a_row_per_tile_with_the_labels_beside_their_predictions(world):
    committed = train(world)
    pool = read_pool(world.embeddings(), "cls")
    table = open_table(world.store, "probes", space=world.space).read()
    assert table["tile_id"].to_pylist() == pool.tile_ids
    assert table["drop"].to_pylist() == pool.drops
    rows = table.to_pylist()
    labelled = [row for row in rows if row["label"] is not None]
    facts = committed.manifest.facts
    assert len(labelled) == facts["labels"] == sum(facts["class_labels"].values()) > 20
    assert [row["is_held_out"] for row in rows] == [row["label"] is not None for row in rows]
    rights = [row["class_name"] == row["label"] for row in labelled]
    assert np.mean(rights) == pytest.approx(facts["accuracy"], abs=1e-4)
    assert facts["accuracy"] > 0.75
    assert facts["caveat"] == "random weights"
    for row in rows:
        assert row["probability"] == max(row["probabilities"])
        assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert all(0 <= row[name] <= 1 for name in ("entropy", "margin", "disagreement"))


def test_draft_probe__an_unlabelled_tile_has_the_prediction_of_the_stored_probe(world):
    committed = train(world)
    pool = read_pool(world.embeddings(), "cls")
    probe = read_probe(world.store, committed.manifest)
    likely = probe.predict(pool.vectors)
    rows = open_table(world.store, "probes", space=world.space).read().to_pylist()
    own = [number for number, row in enumerate(rows) if row["label"] is None]
    np.testing.assert_allclose([rows[n]["probabilities"] for n in own], likely[own], atol=1e-6)
    held_out = [number for number, row in enumerate(rows) if row["label"] is not None]
    stored = np.array([rows[n]["probabilities"] for n in held_out])
    assert np.abs(stored - likely[held_out]).max() > 0.01  # another probe's, which did not see them


def test_draft_probe__equal_inputs_give_equal_bytes_and_are_reused(world, monkeypatch):
    first, other = train(world), train(world.copy())
    assert first.manifest == other.manifest
    empty = CurationWorld(ObjectStore.in_memory(), world.space, {})
    for info in world.store.list():
        if not info.key.startswith(("manifests/probes", "parts/probes")):
            empty.store.put(info.key, world.store.get(info.key))
    assert train(empty).manifest == first.manifest
    monkeypatch.setattr(reading_labelled, "read_parts", None)
    assert train(world).was_reused  # without reading a vector


def test_draft_probe__a_new_label_or_setting_makes_a_new_probe(world):
    first = train(world)
    pool = read_pool(world.embeddings(), "cls")
    label_tiles(world, {pool.tile_ids[1]: "wood"}, after_s=999)
    second = train(world)
    assert second.manifest.facts["labels"] == first.manifest.facts["labels"] + 1
    for settings in (replace(BY_IMAGE, seed=1), replace(BY_IMAGE, kind="linear")):
        assert not train(world, settings).was_reused


def test_draft_probe__files_open_without_this_package(world):
    committed = train(world)
    report = json.loads(world.read_file(committed.manifest, "probe.json"))
    assert report["classes"] == ["bare", "wood"]
    assert (report["space"], report["settings"]["split"]) == (world.space, "image")
    assert sum(map(sum, report["confusion"])) == report["labels"]
    assert read_report(world.store, committed.manifest) == report
    _, metadata = load_probe(world.read_file(committed.manifest, "probe.safetensors"))
    assert (metadata["space"], metadata["column"]) == (world.space, "cls")
    for name in (CONFUSION, CALIBRATION, "preview.png"):
        with Image.open(io.BytesIO(world.read_file(committed.manifest, name))) as picture:
            picture.load()
    with np.load(io.BytesIO(world.read_file(committed.manifest, "probe-data.npz"))) as file:
        assert file["vectors"].shape == (report["labels"], 16)


@pytest.mark.parametrize("split", ["ground", "flight", "image"])
def test_draft_probe__every_split_of_drawn_flights_is_free_of_leaks(world, split):
    settings = ProbeSettings(split=split, block_m=20)
    committed = train(world, settings)
    verdict = judge_probe(open_table(world.store, "probes", space=world.space))
    assert verdict.passed
    assert committed.manifest.facts["folds"] == (2 if split == "flight" else 5)
    assert committed.manifest.facts["unplaced"] == 0


def test_draft_probe__no_labels_and_too_few(world):
    pool = read_pool(world.embeddings(), "cls")
    for info in world.store.list():
        if info.key.startswith(("answers/", "manifests/labels")):
            world.store.delete(info.key)
    with pytest.raises(NotCommittedError):
        train(world)
    label_tiles(world, dict.fromkeys(pool.tile_ids[:3], "wood"), after_s=0)
    with pytest.raises(TooFewLabelsError) as caught:
        train(world)
    assert (caught.value.labels, caught.value.expected) == (3, 10)


def test_draft_probe__labels_of_other_tiles_do_not_count(world):
    before = train(world).manifest.facts["labels"]
    label_tiles(world, {"no-tile-of-ours": "wood", "another": "third"}, after_s=999)
    committed = train(world)
    assert committed.manifest.facts["labels"] == before
    assert read_probe(world.store, committed.manifest).class_names == ("bare", "wood")


def test_judge_probe__names_the_leak(world):
    committed = train(world)
    data = read_probe_data(world.store, committed.manifest)
    assert find_leak(data, BY_IMAGE) is None
    first = int(np.flatnonzero(data.folds == 0)[0])
    leaking = data.are_trained_on.copy()
    leaking[0, first] = True  # trained and tested on one tile
    assert "fold 0" in str(find_leak(replace(data, are_trained_on=leaking), BY_IMAGE))
    every = np.ones_like(data.are_trained_on) & (data.folds != np.arange(3)[:, None])
    # Other photographs of the same ground.
    assert "shows ground" in str(find_leak(replace(data, are_trained_on=every), BY_IMAGE))


def test_judge_probe__warns_of_small_classes_and_of_a_probe_that_guesses(world):
    train(world)
    probes = open_table(world.store, "probes", space=world.space)
    (manifest,) = probes.manifests
    for changes in (
        {},
        {"class_labels": {"bare": 40, "wood": 4}},
        {"ece": 0.2},
        {"largest_share": 0.9, "accuracy_from_to": [0.85, 0.95]},
    ):
        # The few vectors of a tiny model leave the probabilities rough.
        changed = replace(manifest, facts={**manifest.facts, "ece": 0.05, **changes})
        verdict = judge_probe(replace(probes, manifests=(changed,)))
        assert (verdict.passed, verdict.warns) == (True, bool(changes))


def test_judge_probe__damaged_file_fails(world):
    committed = train(world)
    (part,) = [part for part in committed.manifest.parts if part.name == "probe-data.npz"]
    world.store.put(part.key, b"other bytes")
    assert not judge_probe(open_table(world.store, "probes", space=world.space)).passed


def test_find_probe__none_one_and_several(world):
    with pytest.raises(NotCommittedError):
        find_probe(world.store)
    committed = train(world)
    assert find_probe(world.store).space == world.space
    key = manifest_key(committed.manifest.recipe.output)
    other = manifest_key(OutputId("probes", space="0" * 16))
    world.store.put(other, world.store.get(key))
    with pytest.raises(ConfigError):
        find_probe(world.store)
    assert find_probe(world.store, space=world.space).space == world.space


@pytest.mark.parametrize(
    "values", [{"kind": "tree"}, {"split": "tile"}, {"block_m": 0}, {"folds": 1}, {"epochs": 0}]
)
def test_make_settings__refuses_what_does_not_exist(values):
    with pytest.raises(ConfigError) as caught:
        make_settings(**values)
    assert caught.value.setting == next(iter(values))


def test_score_tiles__the_probabilities_of_the_probe(world):
    """Thresholds of heat maps come from held-out predictions, and scores are the stored probe's."""
    committed = train(world)
    sources = find_sources(world.store, world.space)
    assert [each.name for each in sources] == sorted(committed.manifest.facts["class_labels"])
    drop, *_ = world.embeddings().drops
    scored = score_tiles(world.embeddings(), world.tiles(), sources, [drop])[drop]
    probe = read_probe(world.store, committed.manifest)
    pool = read_pool(world.embeddings(), "cls")
    rows = [row for row, each in enumerate(pool.drops) if each == drop]
    expected = probe.predict(pool.vectors[rows])
    for each in scored:
        place = probe.class_names.index(each.source.name)
        np.testing.assert_allclose(each.scores, expected[:, place], atol=1e-6)
        assert (each.source.kind, each.threshold.chosen_by) == ("probe", "labels")
        assert each.threshold.labels == committed.manifest.facts["labels"]


def test_find_sources__a_class_of_the_probe_precedes_a_prototype_of_its_name(world):
    name = read_probe(world.store, train(world).manifest).class_names[0]
    axis = np.eye(1, read_pool(world.embeddings(), "cls").vectors.shape[1], dtype=np.float32)[0]
    examples = tuple(NamedVector(f"{n}.npy", axis) for n in range(3))
    for each in (name, "fog of war"):
        put_prototype(world.store, Prototype(each, world.space, "cls", examples, (), axis, (99.0,) * 3, 0.01, True, 100))  # fmt: skip
    kinds = {source.name: source.kind for source in find_sources(world.store, world.space)}
    assert (kinds[name], kinds["fog of war"]) == ("probe", "prototype")
