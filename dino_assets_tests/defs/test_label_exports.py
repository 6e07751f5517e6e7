"""The asset ``label_exports`` in Dagster: absent without a round, made with labels and suggestions, checked."""

import pytest

from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets_tests.defs.conftest import Lineage, checks
from dino_assets_tests.labels.giving import put_labels
from dino_assets_tests.worlds.prepared import Prepared

ASSET = "label_exports"


@pytest.fixture
def lineage(lineage: Lineage, card, prepared: Prepared) -> Lineage:
    def prepare() -> None:
        lineage.register("a", card("a"))
        lineage.embed("a")

    prepared.fill(prepare, instance=lineage.instance)
    return lineage


def choose(lineage: Lineage, **config: object) -> CommittedTable:
    assert lineage.run(only=["selections"], selections={"budget": 4, **config}).success
    (space,) = {info.key.split("/")[2] for info in lineage.store.list("manifests/selections")}
    return open_table(lineage.store, "selections", space=space)


def test_label_exports__are_absent_without_a_round(lineage: Lineage):
    assert lineage.run(only=[ASSET]).success
    assert not list(lineage.store.list(f"manifests/{ASSET}"))


def test_label_exports__are_made_of_the_latest_round_or_of_a_named_one(lineage: Lineage):
    rounds = choose(lineage)
    tile_id = rounds.read("round-0001")["tile_id"][0].as_py()
    put_labels(lineage.store, {tile_id: "smoke"})
    result = lineage.run(only=["labels", ASSET], label_exports={"formats": ["coco", "csv"]})
    assert result.success
    assert checks(result)["exports_read_back"].passed
    metadata = lineage.metadata(ASSET)
    assert metadata["classes"] == {"smoke": 1}
    assert metadata["formats"] == ["coco", "csv"]
    assert "rows_per_s" not in metadata  # the time goes into files, not rows
    assert str(metadata["round-0001.zip"]).endswith("/round-0001.zip")
    choose(lineage, round=2)
    assert lineage.run(only=[ASSET]).success
    assert lineage.metadata(ASSET)["labelled"] == 0
    assert lineage.run(only=[ASSET], label_exports={"round": "round-0001"}).success
    assert lineage.metadata(ASSET)["labelled"] == 1
    names = {info.key.rpartition("/")[2] for info in lineage.store.list(f"manifests/{ASSET}")}
    assert names == {"round-0001.json", "round-0002.json"}


@pytest.mark.parametrize("config", [{"formats": ["cocoa"]}, {"classes": ["a\nb"]}])
def test_label_exports__invalid_config_fails_before_anything_is_written(
    lineage: Lineage, config: dict[str, list[str]]
):
    choose(lineage)
    assert not lineage.run(only=[ASSET], label_exports=config).success
    assert not list(lineage.store.list(f"manifests/{ASSET}"))
