"""Automation: new embeddings request one map for several drops, and never a round."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from dino_assets.definitions import make_definitions
from dino_assets_tests.defs.conftest import Lineage

INGEST = ["weights", "images", "tiles", "embeddings"]
LINEAR = {"method": "linear"}


class Daemon:
    """Evaluates the automation conditions tick by tick with a cursor, as the daemon does."""

    def __init__(self, lineage: Lineage) -> None:
        self.lineage, self.cursor = lineage, None
        self.defs = make_definitions(lineage.settings)

    def tick(self) -> set[str]:
        """Evaluate once; return the requested assets."""
        result = dg.evaluate_automation_conditions(
            self.defs,
            self.lineage.instance,
            asset_selection=dg.AssetSelection.all(),
            cursor=self.cursor,
        )
        self.cursor = result.cursor
        keys = self.defs.resolve_asset_graph().get_all_asset_keys()
        return {k.to_user_string() for k in keys if result.get_num_requested(k)}


@pytest.fixture
def daemon(lineage: Lineage, card: Callable[..., Path]) -> Daemon:
    for name in ("a", "b", "c"):
        lineage.register(name, card(name, good=1 + (name == "b")))
    return Daemon(lineage)


def start(daemon: Daemon, drop: str, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    """Record a run of a drop that is queued or in progress in another process."""
    target = LoadableTargetOrigin(module_name="dino_assets")
    location = InProcessCodeLocationOrigin(target, location_name="dino_assets")
    return daemon.lineage.instance.create_run_for_job(
        daemon.defs.resolve_job_def("ingest"),
        status=status,
        tags={"dagster/partition": drop},
        remote_job_origin=RemoteJobOrigin(
            RemoteRepositoryOrigin(location, "__repository__"), "ingest"
        ),
    )


def test_new_map__nothing_before_anything_is_embedded(daemon: Daemon):
    assert daemon.tick() == set()
    daemon.lineage.run("a", only=["weights", "images", "tiles"])
    assert daemon.tick() == set()


def test_new_map__once_for_new_embeddings_and_no_round(daemon: Daemon):
    daemon.tick()
    assert daemon.lineage.run("a", "b", only=INGEST).success
    assert daemon.tick() == {"projections"}
    assert daemon.tick() == set()
    assert daemon.lineage.run(only=["projections"], projections=LINEAR).success
    assert daemon.tick() == set()
    # A drop without runs (c) delays nothing; a newly embedded drop requests a map again.
    assert daemon.lineage.run("c", only=INGEST).success
    assert daemon.tick() == {"projections"}


def test_new_map__reused_embeddings_request_no_map(daemon: Daemon):
    assert daemon.lineage.run("a", only=INGEST).success
    daemon.tick()
    assert daemon.lineage.run("a", only=INGEST).success
    assert daemon.tick() == set()


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED])
def test_new_map__waits_for_the_last_drop_of_a_burst(daemon: Daemon, status: dg.DagsterRunStatus):
    daemon.tick()
    run = start(daemon, "b", status)
    assert daemon.lineage.run("a", only=INGEST).success
    assert daemon.tick() == set()
    assert daemon.tick() == set()
    assert daemon.lineage.run("b", only=["images", "tiles", "embeddings"]).success
    daemon.lineage.instance.report_run_canceled(run)
    assert daemon.tick() == {"projections"}
    assert daemon.tick() == set()


def test_new_map__failed_drop_does_not_delay_the_others(daemon: Daemon):
    daemon.tick()
    run = start(daemon, "b", dg.DagsterRunStatus.STARTED)
    assert daemon.lineage.run("a", only=INGEST).success
    assert daemon.tick() == set()
    daemon.lineage.instance.report_run_failed(run)
    assert daemon.tick() == {"projections"}


def test_new_map__embeddings_committed_while_a_map_is_made(daemon: Daemon):
    daemon.tick()
    assert daemon.lineage.run("a", only=INGEST).success
    assert daemon.tick() == {"projections"}
    # The map is made of drop a; drop b is embedded before it is finished.
    assert daemon.lineage.run("b", only=INGEST).success
    assert daemon.lineage.run(only=["projections"], projections=LINEAR).success
    assert daemon.tick() == {"projections"}
    assert daemon.tick() == set()
