"""``dino-assets probe``: train on labels, list and export predictions."""

import json

import numpy as np
import pytest

import dino_assets as da
from dino_assets.cli import main
from dino_assets.defs.instance import open_instance
from dino_assets.labels.stage.answers import put_answers
from dino_assets.store.commits.reading import open_table
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.labels.giving import give, tile_target
from dino_assets_tests.worlds.prepared import Prepared


@pytest.fixture
def lineage(project, instance, short_trial, prepared: Prepared) -> Lineage:
    """Two drops of 24 tiles each without places; nobody has labelled them."""
    lineage = Lineage(instance)

    def prepare() -> None:
        lineage.photograph("ab")
        lineage.embed("a", "b")

    prepared.fill(prepare, instance=instance)
    return lineage


@pytest.fixture
def labelled(lineage: Lineage) -> Lineage:
    for drop in "ab":
        vectors = da.open_project().vectors(drop)
        images = open_table(lineage.store, "tiles").read(drop)["image_id"].to_pylist()
        median = np.median(vectors.matrix[:, 0])
        put_answers(lineage.store, [
            give(
                tile_target(tile_id, drop=drop, image_id=images[0]),
                "smoke" if vector[0] > median else "clear",
                after_s=number,
            )
            for number, (tile_id, vector) in enumerate(
                zip(vectors.tile_ids, vectors.matrix, strict=True)
            )
        ])  # fmt: skip
    return lineage


def run(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["probe", *command]) == code
    return capsys.readouterr().out


def test_probe_train__prints_a_row_per_class_and_tests_on_what_was_held_out(labelled, capsys):
    printed = run(capsys, "train")
    for word in ("clear", "smoke", "accuracy", "macro accuracy", "random weights"):
        assert word in printed
    report = json.loads(run(capsys, "train", "--json"))
    assert report["was_reused"]
    assert (report["labels"], report["folds"], report["unplaced"]) == (48, 2, 48)
    assert report["settings"]["split"] == "ground"
    assert sum(report["predicted"].values()) == 48
    run(capsys, "train", "--split", "flight", "--kind", "linear", "--epochs", "20", "--seed", "3")
    changed = json.loads(run(capsys, "train", "--json"))
    assert not changed["was_reused"]


def test_probe_train__is_shown_in_the_ui(labelled, project, capsys):
    run(capsys, "train")
    with open_instance(project) as instance:
        shown = Lineage(instance)
        assert sum(shown.metadata("labels")["classes"].values()) == 48
        metadata = shown.metadata("probes")
    assert metadata["labels"] == 48
    assert "pictures" in metadata


def test_probe_train__no_labels_and_a_probe_of_none(lineage, capsys):
    run(capsys, "train", code=1)
    run(capsys, "predict", code=1)


def test_probe_train__too_few_labels(lineage, capsys):
    (tile_id, *_) = da.open_project().vectors("a").tile_ids
    image_id = open_table(lineage.store, "tiles").read("a")["image_id"][0].as_py()
    put_answers(lineage.store, [give(tile_target(tile_id, image_id=image_id), "smoke")])
    capsys.readouterr()
    assert main(["probe", "train"]) == 1
    assert "TooFewLabelsError" in capsys.readouterr().err


def test_probe_predict__lists_and_exports_tiles_of_a_drop(labelled, capsys, tmp_path):
    run(capsys, "train")
    listed = json.loads(run(capsys, "predict", "a", "--json"))
    tiles = listed["tiles"]
    assert {tile["drop"] for tile in tiles} == {"a"}
    assert len(tiles) == 24
    entropies = [tile["entropy"] for tile in tiles]
    assert entropies == sorted(entropies, reverse=True)
    assert listed["caveat"]
    file = tmp_path / "out" / "predictions.npz"
    assert "48 tiles" in run(capsys, "predict", "--npz", str(file))
    with np.load(file, allow_pickle=False) as arrays:
        assert arrays["classes"].tolist() == listed["classes"] == ["clear", "smoke"]
        np.testing.assert_allclose(arrays["probabilities"].sum(axis=1), 1, atol=1e-5)
        assert len(arrays["tile_id"]) == 48
    run(capsys, "predict", "no-such-drop", code=1)
