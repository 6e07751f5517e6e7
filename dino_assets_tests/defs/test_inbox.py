"""The source asset `inbox`: observations per drop, which make `images` stale."""

from pathlib import Path

import dagster as dg

from dino_assets.definitions import make_definitions
from dino_assets.defs.observations import (
    INBOX,
    LAST_CHANGED,
    find_version,
    list_observations,
    observe_drop,
)
from dino_assets.drops.registry import read_drop
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.defs.test_versions import old, stale


def observe(lineage: Lineage) -> dg.ExecuteInProcessResult:
    """Observe the inbox, as the button in the UI does."""
    defs = make_definitions(lineage.settings)
    return defs.resolve_job_def("observe_inbox").execute_in_process(instance=lineage.instance)


def change(project: Path, write_photo, drop: str = "a", seed: int = 77) -> None:
    write_photo(
        project / "inbox" / drop / "100MEDIA" / "DJI_0000.JPG", 1600, 1200 + seed, seed=seed
    )


def changed_s(record: dg.EventLogRecord) -> float:
    return float(record.asset_observation.metadata[LAST_CHANGED].value)


def test_inbox__is_external_and_where_lineage_begins(project):
    graph = make_definitions(Lineage(None).settings).resolve_asset_graph()
    node = graph.get(INBOX)
    assert (node.is_observable, node.is_external, node.is_materializable) == (True, True, False)
    assert graph.get(dg.AssetKey("images")).parent_keys == {INBOX}
    assert not node.parent_keys


def test_inbox__observation_has_the_counts_of_the_source(lineage: Lineage, card):
    for name in ("a", "b"):
        lineage.register(name, card(name, good=1 + (name == "b"), bad=1))
    assert observe(lineage).success
    records = list(list_observations(lineage.instance))
    assert sorted(str(record.partition_key) for record in records) == ["a", "b"]
    (observation,) = list_observations(lineage.instance, "b")
    assert find_version(observation) == read_drop(lineage.store, "b").fingerprint
    metadata = {k: v.value for k, v in observation.asset_observation.metadata.items()}
    files = [f for f in (lineage.settings.root / "inbox" / "b").rglob("*") if f.is_file()]
    assert (metadata["files"], metadata["photographs"]) == (3, 3)
    assert metadata["bytes"] == sum(file.stat().st_size for file in files)


def test_inbox__one_drop_of_several(lineage: Lineage, card):
    for name in ("a", "b"):
        lineage.register(name, card(name, good=1))
    job = make_definitions(lineage.settings).resolve_job_def("observe_inbox")
    assert job.execute_in_process(instance=lineage.instance, partition_key="b").success
    assert [str(r.partition_key) for r in list_observations(lineage.instance)] == ["b"]


def test_inbox__unlistable_drop_does_not_stop_the_others(lineage: Lineage, card, project: Path):
    for name in ("a", "b"):
        lineage.register(name, card(name, good=1))
    (project / "inbox" / "a").rename(project / "unmounted")
    result = observe(lineage)
    assert result.success
    assert [str(r.partition_key) for r in list_observations(lineage.instance)] == ["b"]
    logs = lineage.instance.all_logs(result.run_id)
    assert any("a: not observed" in entry.user_message for entry in logs)


def test_inbox__unchanged_photographs_keep_the_time_of_change(
    lineage: Lineage, card, project: Path, write_photo
):
    lineage.register("a", card("a", good=1))
    assert observe(lineage).success
    assert observe(lineage).success
    second, first = list_observations(lineage.instance, "a")
    assert changed_s(second) == changed_s(first)
    change(project, write_photo)
    assert observe(lineage).success
    assert changed_s(next(list_observations(lineage.instance, "a"))) > changed_s(first)


def test_staleness__images_after_an_observed_change(
    lineage: Lineage, card, project: Path, write_photo
):
    for name in ("a", "b"):
        lineage.register(name, card(name, good=1))
    assert lineage.run("a", "b", only=["weights", "images"]).success
    assert observe(lineage).success
    assert (stale(lineage, "a"), old(lineage, "a")) == (set(), set())
    change(project, write_photo)
    assert (stale(lineage, "a"), old(lineage, "a")) == (set(), set())  # no observation yet
    assert observe(lineage).success
    assert stale(lineage, "a") == old(lineage, "a") == {"images"}
    assert (stale(lineage, "b"), old(lineage, "b")) == (set(), set())
    assert lineage.run("a", only=["images"]).success
    assert (stale(lineage, "a"), old(lineage, "a")) == (set(), set())


def test_staleness__none_after_a_change_that_images_read_first(
    lineage: Lineage, card, project: Path, write_photo
):
    lineage.register("a", card("a", good=1))
    assert observe(lineage).success
    change(project, write_photo)
    assert lineage.run("a", only=["images"]).success
    assert (stale(lineage, "a"), old(lineage, "a")) == (set(), set())
    assert observe(lineage).success
    assert (stale(lineage, "a"), old(lineage, "a")) == (set(), set())


def test_staleness__none_after_reuse_and_several_observations(lineage: Lineage, card):
    for name in ("a", "b"):
        lineage.register(name, card(name, good=1))
    assert lineage.run("a", "b", only=["weights", "images"]).success
    for _ in range(2):
        assert observe(lineage).success
        assert lineage.run("a", "b", only=["images"]).success
    assert lineage.metadata("images", "a")["was_reused"]
    assert [stale(lineage, drop) | old(lineage, drop) for drop in ("a", "b")] == [set(), set()]


def test_staleness__none_after_photographs_came_back(
    lineage: Lineage, card, project: Path, write_photo
):
    lineage.register("a", card("a", good=1))
    assert lineage.run("a", only=["weights", "images"]).success
    extra_photo = write_photo(project / "inbox" / "a" / "100MEDIA" / "DJI_0009.JPG")
    assert observe(lineage).success
    assert stale(lineage, "a") == old(lineage, "a") == {"images"}
    extra_photo.unlink()
    assert observe(lineage).success
    assert (stale(lineage, "a"), old(lineage, "a")) == (set(), set())


def test_observe_drop__without_a_run(lineage: Lineage, card):
    lineage.register("a", card("a", good=2))
    drop = read_drop(lineage.store, "a")
    state = observe_drop(lineage.instance, lineage.store, drop, root=lineage.settings.root)
    (record,) = list_observations(lineage.instance, "a")
    assert find_version(record) == state.fingerprint == drop.fingerprint
