"""Data versions: the hash of each drop's content; Dagster's stale drops are old in `drops list`."""

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from dino_assets.definitions import make_definitions
from dino_assets.defs import dagster_internals
from dino_assets.drops.listing import describe_drops
from dino_assets.drops.registry import read_drop
from dino_assets.store.commits.catalogue import PER_DROP
from dino_assets.store.commits.manifests import content_hash, read_manifest
from dino_assets.store.commits.protocol import OutputId
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.worlds.prepared import Prepared

INGEST = ["weights", "images", "tiles", "embeddings"]


def stale(lineage: Lineage, drop: str) -> set[str]:
    """List the assets whose partition of this drop is stale in Dagster."""
    graph = make_definitions(lineage.settings).get_repository_def().asset_graph
    resolver = CachingStaleStatusResolver(
        lineage.instance, graph, LoadingContextForTest(lineage.instance)
    )
    names = [asset.name for asset in PER_DROP]
    return {n for n in names if resolver.get_status(dg.AssetKey(n), drop).value == "STALE"}


def old(lineage: Lineage, drop: str) -> set[str]:
    """List the assets that are old in `drops list`."""
    states = describe_drops(lineage.store)(read_drop(lineage.store, drop))
    return {each.asset for each in states if each.state == "old"}


def version(lineage: Lineage, asset: str, drop: str | None = None) -> str:
    (record,) = lineage.instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[drop] if drop else None),
        limit=1,
    ).records
    return record.asset_materialization.tags["dagster/data_version"]


@pytest.fixture
def two_drops(lineage: Lineage, card, prepared: Prepared) -> Lineage:
    def prepare() -> None:
        for name in ("a", "b"):
            lineage.register(name, card(name, good=1 + (name == "b")))
        assert lineage.run("a", "b", only=INGEST).success

    prepared.fill(prepare, instance=lineage.instance)
    return lineage


def test_handle_output__every_drop_of_a_run_has_the_version_of_its_own_content(two_drops: Lineage):
    for drop in ("a", "b"):
        manifest = read_manifest(two_drops.store, OutputId("tiles", drop))
        assert version(two_drops, "tiles", drop) == content_hash(manifest)
    assert version(two_drops, "tiles", "a") != version(two_drops, "tiles", "b")
    weights = read_manifest(two_drops.store, OutputId("weights"))
    assert version(two_drops, "weights") == content_hash(weights)


def test_handle_output__one_event_per_drop_of_a_run(two_drops: Lineage):
    for asset in ("images", "tiles", "embeddings"):
        records = two_drops.instance.fetch_materializations(dg.AssetKey(asset), limit=10).records
        assert sorted(str(record.partition_key) for record in records) == ["a", "b"]


def test_handle_output__drops_made_before_one_failed_are_materialised(lineage: Lineage, card):
    for name in ("a", "b", "c"):
        lineage.register(name, card(name, good=1))
    for file in card("b", good=0).rglob("*.JPG"):
        file.unlink()
    assert not lineage.run("a", "b", "c", only=["weights", "images"]).success
    records = lineage.instance.fetch_materializations(dg.AssetKey("images"), limit=10).records
    assert sorted(str(record.partition_key) for record in records) == ["a", "c"]


def test_staleness__a_changed_photograph_and_only_in_its_drop(
    two_drops: Lineage, card, write_photo, project: Path
):
    assert (stale(two_drops, "a"), old(two_drops, "a")) == (set(), set())
    write_photo(project / "inbox" / "a" / "100MEDIA" / "DJI_0000.JPG", 1600, 1200, seed=77)
    assert two_drops.run("a", only=["images"]).success
    assert "tiles" in stale(two_drops, "a")
    assert "tiles" in old(two_drops, "a")
    assert (stale(two_drops, "b"), old(two_drops, "b")) == (set(), set())
    assert two_drops.run("a", only=["tiles"]).success
    assert stale(two_drops, "a") == old(two_drops, "a") == {"embeddings"}
    assert two_drops.run("a", only=["embeddings"]).success
    assert (stale(two_drops, "a"), old(two_drops, "a")) == (set(), set())


def test_staleness__another_grid(two_drops: Lineage):
    assert two_drops.run("a", only=["tiles"], tiles={"overlap": 0.0}).success
    assert stale(two_drops, "a") == old(two_drops, "a") == {"embeddings"}
    assert stale(two_drops, "b") == set()


def test_staleness__none_after_reuse(two_drops: Lineage):
    assert two_drops.run("a", only=["images"]).success
    assert two_drops.run("a", "b", only=["weights", "images", "tiles"]).success
    assert [stale(two_drops, drop) for drop in ("a", "b")] == [set(), set()]


def test_dagster_internals__tested_dagster_version():
    assert dg.__version__.startswith(f"{dagster_internals.SEEN_WITH}."), (
        "Check that the package dagster_internals still does what its docstrings say, then name the new version there."
    )
