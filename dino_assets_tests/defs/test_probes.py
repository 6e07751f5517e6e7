"""The asset ``probes`` in Dagster: absent without labels, trained on them, checked."""

import numpy as np
import pytest

import dino_assets as da
from dino_assets.labels.stage.answers import put_answers
from dino_assets.store.commits.reading import open_table
from dino_assets_tests.defs.conftest import Lineage, checks
from dino_assets_tests.labels.giving import give, tile_target
from dino_assets_tests.worlds.prepared import Prepared

LEARN = ["labels", "probes"]


@pytest.fixture
def lineage(lineage: Lineage, card, prepared: Prepared) -> Lineage:
    def prepare() -> None:
        lineage.register("a", card("a"))
        lineage.embed("a")

    prepared.fill(prepare, instance=lineage.instance)
    return lineage


def give_classes(lineage: Lineage, *, most: int) -> None:
    vectors = da.open_project().vectors("a")
    table = open_table(lineage.store, "tiles").read("a")
    images = dict(zip(table["tile_id"].to_pylist(), table["image_id"].to_pylist(), strict=True))
    median = np.median(vectors.matrix[:, 0])
    answers = [
        give(
            tile_target(tile_id, image_id=images[tile_id]),
            "smoke" if vector[0] > median else "clear",
            after_s=number,
        )
        for number, (tile_id, vector) in enumerate(
            zip(vectors.tile_ids, vectors.matrix, strict=True)
        )
    ]
    put_answers(lineage.store, answers[:most])


def is_absent(lineage: Lineage) -> bool:
    return not list(lineage.store.list("manifests/probes"))


def test_probes__are_absent_without_labels_with_few_and_on_one_ground(lineage: Lineage):
    assert lineage.run(only=LEARN).success
    assert is_absent(lineage)
    give_classes(lineage, most=6)
    assert lineage.run(only=LEARN).success
    assert is_absent(lineage)
    give_classes(lineage, most=20)  # all of the first photograph, which has no place
    assert lineage.run(only=LEARN).success
    assert is_absent(lineage)


def test_probes__are_trained_on_the_labels_and_checked(lineage: Lineage):
    give_classes(lineage, most=72)
    result = lineage.run(only=LEARN)
    assert result.success
    check = checks(result)["probes_are_sound"]
    assert check.passed or check.severity.value == "WARN"
    metadata = lineage.metadata("probes")
    assert (metadata["labels"], metadata["folds"]) == (72, 3)
    assert {"preview", "pictures", "accuracy", "ece"} <= metadata.keys()
    assert metadata["caveat"]
    assert lineage.run(only=LEARN).success
    assert lineage.metadata("probes")["was_reused"]


def test_probes__setting_out_of_range_stops_the_run(lineage: Lineage):
    give_classes(lineage, most=72)
    assert not lineage.run(only=LEARN, probes={"folds": 1}).success
    assert is_absent(lineage)
