"""Rounds that the command `select` chose are shown in the UI like those of runs."""

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from dino_assets.cli import main
from dino_assets.definitions import make_definitions
from dino_assets.defs.instance import open_instance
from dino_assets.store.commits.catalogue import PER_DROP
from dino_assets.store.commits.listing import find_outputs
from dino_assets.store.commits.manifests import content_hash
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.worlds.prepared import Prepared

OF_A_RUN = {"made_in_run"}
SECOND = ["select", "--round", "2", "--budget", "4", "--all-windows"]


@pytest.fixture
def lineage(project, write_photo, prepared: Prepared) -> Iterator[Lineage]:
    """A drop, its map and a first round, made by a run in the project's instance."""

    def prepare() -> None:
        with open_instance(project) as instance:
            lineage = Lineage(instance)
            lineage.register("a", write_photo(project / "a" / "DJI_0001.JPG", 1600, 1200).parent)
            selections = {"budget": 4, "all_windows": True}
            result = lineage.run("a", projections={"method": "linear"}, selections=selections)
            assert result.success

    prepared.fill(prepare)
    with open_instance(project) as instance:
        yield Lineage(instance)


def events(lineage: Lineage) -> list[dg.EventLogRecord]:
    return list(lineage.instance.fetch_materializations(dg.AssetKey("selections"), limit=9).records)


def statuses(lineage: Lineage) -> dict[str, str]:
    graph = make_definitions(lineage.settings).get_repository_def().asset_graph
    context = LoadingContextForTest(lineage.instance)
    resolver = CachingStaleStatusResolver(lineage.instance, graph, context)
    names = [asset.name for asset in PER_DROP]
    drops = dict.fromkeys(names, "a") | dict.fromkeys(["weights", "projections", "selections"])
    return {n: resolver.get_status(dg.AssetKey(n), drop).value for n, drop in drops.items()}


def test_report_round__metadata_and_version_like_a_run(lineage: Lineage):
    (by_run,) = events(lineage)
    assert main(SECOND) == 0
    by_command, first_event = events(lineage)
    assert first_event == by_run
    assert not by_command.run_id
    event, run_event = by_command.asset_materialization, by_run.asset_materialization
    assert list(event.metadata) == [row for row in run_event.metadata if row not in OF_A_RUN]
    assert set(event.tags) == set(run_event.tags)
    (manifest,) = find_outputs(lineage.store, "selections", "round-0002")
    assert event.tags["dagster/data_version"] == content_hash(manifest)
    assert event.tags["dagster/code_version"] == run_event.tags["dagster/code_version"]


def test_report_round__makes_nothing_stale(lineage: Lineage, write_photo, project):
    assert main(SECOND) == 0
    assert set(statuses(lineage).values()) == {"FRESH"}
    # Later changes make it stale, like the round of a run.
    write_photo(project / "a" / "DJI_0001.JPG", 1600, 1200, seed=77)
    assert lineage.run("a", only=["images", "tiles", "embeddings"]).success
    assert statuses(lineage)["selections"] == "STALE"


def test_report_round__without_a_map(lineage: Lineage):
    lineage.instance.wipe_assets([dg.AssetKey("projections")])
    assert main(SECOND) == 0
    assert statuses(lineage)["selections"] == "FRESH"


def test_report_round__reused_round_has_no_second_event(lineage: Lineage):
    assert main(["select", "--budget", "4", "--all-windows"]) == 0
    assert len(events(lineage)) == 1
    assert main(SECOND) == main(SECOND) == 0
    assert len(events(lineage)) == 2


def test_report_round__run_that_reuses_it_has_its_metadata(lineage: Lineage):
    assert main(SECOND) == 0
    (by_command, _) = events(lineage)
    round_2 = {"budget": 4, "round": 2}
    assert lineage.run(only=["selections"], selections=round_2).success
    values = lineage.metadata("selections")
    assert values["was_reused"] is True
    assert values["seconds"] == by_command.asset_materialization.metadata["seconds"].value
    assert "made_in_run" not in values


def test_report_round__an_instance_that_cannot_be_opened(lineage: Lineage, project, capsys):
    (project / "dagster.yaml").write_text("storage: {sqlite: 3}")
    assert main(SECOND) == 0
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert "round-0002 is committed, but the UI will not show it" in warning
    assert find_outputs(lineage.store, "selections", "round-0002")
