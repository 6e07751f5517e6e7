"""The asset ``label_versions`` in Dagster: absent without a licence, made and checked under one, never replaced."""

import pytest

from dino_assets.store.commits.reading import open_table
from dino_assets_tests.defs.conftest import Lineage, checks
from dino_assets_tests.labels.giving import give, tile_target
from dino_assets_tests.worlds.prepared import Prepared

ASSET = "label_versions"
LEARN = ["labels", ASSET]


@pytest.fixture
def lineage(lineage: Lineage, card, prepared: Prepared) -> Lineage:
    def prepare() -> None:
        lineage.register("a", card("a"))
        assert lineage.run("a", only=["weights", "images", "tiles"]).success

    prepared.fill(prepare, instance=lineage.instance)
    return lineage


def label(lineage: Lineage, number: int, class_name: str) -> None:
    from dino_assets.labels.stage.answers import put_answers

    row = open_table(lineage.store, "tiles").read("a").slice(number, 1).to_pylist()[0]
    target = tile_target(row["tile_id"], image_id=row["image_id"])
    put_answers(lineage.store, [give(target, class_name)])


def list_versions(lineage: Lineage) -> tuple[str, ...]:
    return open_table(lineage.store, ASSET).drops


def test_label_versions__are_absent_without_a_licence_or_labels(lineage: Lineage):
    assert lineage.run(only=LEARN, label_versions={"licence": "MIT"}).success
    label(lineage, 0, "smoke")
    assert lineage.run(only=LEARN).success
    assert list_versions(lineage) == ()


def test_label_versions__are_made_checked_and_kept(lineage: Lineage):
    config = {"licence": "CC-BY-4.0", "title": "Smoke"}
    label(lineage, 0, "smoke")
    result = lineage.run(only=LEARN, label_versions=config)
    assert result.success
    assert checks(result)["versions_are_whole"].passed
    metadata = lineage.metadata(ASSET)
    assert (metadata["classes"], metadata["licence"]) == ({"smoke": 1}, "CC-BY-4.0")
    assert not metadata.get("without_picture")
    (first,) = list_versions(lineage)
    assert lineage.run(only=LEARN, label_versions=config).success
    assert list_versions(lineage) == (first,)
    label(lineage, 1, "fog")
    assert lineage.run(only=LEARN, label_versions=config).success
    assert first in list_versions(lineage)
    assert len(list_versions(lineage)) == 2
