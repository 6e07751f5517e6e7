"""``dino-assets curve`` and ``slices``, and the asset behind them in Dagster."""

import json

import numpy as np
import pytest

from dino_assets.cli import main
from dino_assets.embeddings.rows import to_matrix
from dino_assets.labels.stage.answers import put_answers
from dino_assets.numerics.kmeans import fit_kmeans
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.reading import open_table
from dino_assets_tests.defs.conftest import Lineage, checks
from dino_assets_tests.labels.giving import give, tile_target
from dino_assets_tests.worlds.prepared import Prepared

PHOTOGRAPHS = 7  # without a place, each is a block of its own
QUICK = ["--seeds", "4"]


@pytest.fixture
def lineage(project, write_photo, instance, short_trial, prepared: Prepared) -> Lineage:
    """One drop of some photographs, embedded, nothing labelled."""
    lineage = Lineage(instance)

    def prepare() -> None:
        for number in range(PHOTOGRAPHS):
            photo = project / "inbox" / "a" / f"DJI_{number:04d}.JPG"
            write_photo(photo, 1600, 1200, seed=number)
        lineage.register("a", project / "inbox" / "a")
        steps = ["weights", "images", "tiles", "embeddings", "selections"]
        assert lineage.run("a", only=steps, selections={"budget": 4}).success

    prepared.fill(prepare, instance=instance)
    return lineage


def label_everything(lineage: Lineage) -> int:
    (space,) = list_spaces(lineage.store, "embeddings")
    table = open_table(lineage.store, "embeddings", space=space).read("a")
    vectors = to_matrix(table["cls"])
    clusters = fit_kmeans(vectors, 2, rng=np.random.default_rng(0)).labels.tolist()
    rows = table.select(["tile_id", "image_id"]).to_pylist()
    answers = [
        give(tile_target(row["tile_id"], image_id=row["image_id"]), f"class {number}", seconds=4.0)
        for row, number in zip(rows, clusters, strict=True)
    ]
    put_answers(lineage.store, answers)
    return len(rows)


def test_curve__table_sentences_and_json(lineage: Lineage, capsys):
    count = label_everything(lineage)
    assert main(["curve", *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "herding" in printed
    assert "random" in printed
    assert "the next 100" in printed
    assert main(["curve", *QUICK, "--json"]) == 0
    curve = json.loads(capsys.readouterr().out)
    assert curve["labels"] == count
    assert {point["strategy"] for point in curve["points"]} >= {"random", "herding", "fps"}
    assert curve["gains"]["random"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert curve["caveat"]


def test_curve__shows_the_output_in_dagster(lineage: Lineage, capsys):
    label_everything(lineage)
    assert main(["curve", *QUICK]) == 0
    assert "warning" not in capsys.readouterr().err
    assert open_table(
        lineage.store, "learning_curve", space=list_spaces(lineage.store, "learning_curve")[0]
    ).rows


def test_slices__ranked_with_intervals(lineage: Lineage, capsys):
    label_everything(lineage)
    assert main(["slices", *QUICK, "--json"]) == 0
    slices = json.loads(capsys.readouterr().out)["slices"]
    assert [each["p"] for each in slices] == sorted(each["p"] for each in slices)
    assert all(each["low"] <= each["accuracy"] <= each["high"] for each in slices)
    assert isinstance(slices[0]["is_worse"], bool)
    assert main(["slices", *QUICK]) == 0
    assert "interval" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["curve", "slices"])
def test_curve__without_labels_says_what_to_do(lineage: Lineage, capsys, command: str):
    assert main([command]) == 1
    assert "NotCommittedError" in capsys.readouterr().err


def test_learning_curve__is_absent_without_enough_labels(lineage: Lineage):
    result = lineage.run(only=["labels", "learning_curve"])
    assert result.success
    assert not list_spaces(lineage.store, "learning_curve")
    put_answers(lineage.store, [give(tile_target("t"), "smoke")])
    assert lineage.run(only=["labels", "learning_curve"]).success
    assert not list_spaces(lineage.store, "learning_curve")


def test_learning_curve__is_made_and_judged_in_a_run(lineage: Lineage):
    count = label_everything(lineage)
    result = lineage.run(only=["labels", "learning_curve"], learning_curve={"seeds": 4})
    assert result.success
    metadata = lineage.metadata("learning_curve")
    assert metadata["labels"] == count
    gain = metadata["gains"]["herding+swaps"]  # the strategy of the round
    judged = checks(result)["strategy_beats_random"]
    assert judged.passed == (gain["low"] > 0)
    assert judged.severity.value == ("ERROR" if judged.passed else "WARN")
    assert "preview" in metadata
