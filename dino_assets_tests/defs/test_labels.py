"""The asset ``labels`` in Dagster: absent without answers, made from them, checked."""

import pytest

from dino_assets.store.commits.reading import open_table
from dino_assets_tests.defs.conftest import Lineage, checks
from dino_assets_tests.labels.giving import put_labels
from dino_assets_tests.worlds.prepared import Prepared


@pytest.fixture
def lineage(lineage: Lineage, card, prepared: Prepared) -> Lineage:
    def prepare() -> None:
        lineage.register("a", card("a"))
        assert lineage.run("a", only=["weights", "images", "tiles"]).success

    prepared.fill(prepare, instance=lineage.instance)
    return lineage


def test_labels__are_absent_until_somebody_answers(lineage: Lineage):
    result = lineage.run(only=["labels"])
    assert result.success
    assert not open_table(lineage.store, "labels").manifests


def test_labels__are_made_from_the_answers_and_checked(lineage: Lineage):
    ids = open_table(lineage.store, "tiles").read("a")["tile_id"].to_pylist()
    put_labels(lineage.store, {ids[0]: "smoke", ids[1]: "fog"})
    result = lineage.run(only=["labels"])
    assert result.success
    assert checks(result)["labels_are_agreed"].passed
    assert lineage.metadata("labels")["classes"] == {"fog": 1, "smoke": 1}


def test_labels_are_agreed__warns_of_disagreements_and_of_tiles_that_are_gone(lineage: Lineage):
    ids = open_table(lineage.store, "tiles").read("a")["tile_id"].to_pylist()
    put_labels(lineage.store, {ids[0]: "smoke"})
    put_labels(lineage.store, {ids[0]: "fog"}, by="ben")
    disagreed = checks(lineage.run(only=["labels"]))["labels_are_agreed"]
    assert (disagreed.passed, disagreed.severity.value) == (False, "WARN")
    put_labels(lineage.store, {ids[0]: "smoke"}, by="ben", after_s=60)
    assert checks(lineage.run(only=["labels"]))["labels_are_agreed"].passed
    put_labels(lineage.store, {"no-tile": "smoke"})
    gone = checks(lineage.run(only=["labels"]))["labels_are_agreed"]
    assert (gone.passed, gone.severity.value) == (False, "WARN")
    assert "no-tile" in str(gone.description)
