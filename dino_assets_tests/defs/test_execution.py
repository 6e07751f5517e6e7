"""Runs in this process: their records, failures and interruptions."""

import signal
from collections.abc import Callable, Iterator

import dagster as dg
import pytest

from dino_assets.definitions import make_definitions
from dino_assets.defs.dead_runs import PARTITION_TAG
from dino_assets.defs.execution import RunEnd, execute_run
from dino_assets.defs.instance import open_instance
from dino_assets.defs.plans import JOBS, plan_runs
from dino_assets_tests.defs.conftest import Lineage

CARD = ("weights", "images", "tiles")


@pytest.fixture
def project_instance(project) -> Iterator[dg.DagsterInstance]:
    """The instance of the project, on disk."""
    with open_instance(project) as disk_instance:
        yield disk_instance


@pytest.fixture
def execute(project_instance: dg.DagsterInstance, card) -> Callable[..., RunEnd]:
    lineage = Lineage(project_instance)
    lineage.register("a", card("a"))

    def run(*assets: str, listen=lambda entry: None, config=None, drop="a") -> RunEnd:
        (planned_run,) = plan_runs([drop] if drop else [], assets)
        definitions = make_definitions(lineage.settings)
        return execute_run(
            definitions, project_instance, planned_run, config=config or {}, listen=listen
        )

    return run


def test_execute_run__recorded_like_a_run_of_the_ui(execute, project_instance):
    end = execute(*JOBS["ingest"])
    assert end.status == "done"
    assert sorted(end.list_assets()) == sorted(JOBS["ingest"])
    run = project_instance.get_run_by_id(end.run_id)
    assert (run.job_name, run.status) == ("ingest", dg.DagsterRunStatus.SUCCESS)
    assert not run.asset_selection
    assert run.tags[PARTITION_TAG] == "a"
    assert run.tags[".dagster/repository"] == "__repository__@dino_assets"
    assert run.remote_job_origin.repository_origin.get_label() == "__repository__@dino_assets"
    assert "create_run_for_job" not in vars(project_instance)


def test_execute_run__some_assets_of_a_job(execute, project_instance):
    end = execute(*CARD)
    run = project_instance.get_run_by_id(end.run_id)
    assert run.job_name == "ingest"
    assert {key.to_user_string() for key in run.asset_selection} == set(CARD)
    end = execute("weights", drop=None)
    assert end.list_assets() == ["weights"]
    assert PARTITION_TAG not in project_instance.get_run_by_id(end.run_id).tags


def test_execute_run__a_failing_step(execute, project_instance, project):
    (project / "inbox" / "a").rename(project / "elsewhere")
    end = execute(*CARD)
    (failure,) = end.failures
    assert (end.status, failure.step) == ("failed", "images")
    assert failure.sentence.startswith("SourceError: ")
    assert "Traceback" not in failure.sentence
    assert "File " in failure.traceback
    assert project_instance.get_run_by_id(end.run_id).status == dg.DagsterRunStatus.FAILURE


def test_execute_run__a_blocking_check(execute, project):
    for photo in (project / "inbox" / "a").rglob("*.JPG"):
        photo.write_text("not a picture")
    end = execute(*CARD)
    (failure,) = end.failures
    assert (end.status, failure.step) == ("failed", "images_are_usable")
    assert "0 of 3 files are usable" in failure.sentence
    assert sorted(end.list_assets()) == ["images", "weights"]


def test_execute_run__error_of_dagster_is_a_failed_run(execute):
    end = execute(*CARD, config={"ops": {"images": {"config": {"no_such": 1}}}})
    assert end.status == "failed"
    assert end.failures[0].sentence.startswith("DagsterInvalidConfigError: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_execute_run__interrupted(execute, project_instance, number):
    def interrupt(entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event and event.is_step_start and event.step_key == "tiles":
            signal.raise_signal(number)

    end = execute(*CARD, listen=interrupt)
    assert (end.status, end.failures) == ("canceled", ())
    assert sorted(end.list_assets()) == ["images", "weights"]
    assert project_instance.get_run_by_id(end.run_id).status == dg.DagsterRunStatus.CANCELED
    assert execute(*CARD).failures == ()


def test_execute_run__interrupted_before_its_first_step(execute, project_instance):
    interrupts = iter([KeyboardInterrupt()])

    def interrupt(entry: dg.EventLogEntry) -> None:
        for error in interrupts:
            raise error

    end = execute(*CARD, listen=interrupt)
    assert end.status == "canceled"
    run = project_instance.get_run_by_id(end.run_id)
    assert run is None or run.status == dg.DagsterRunStatus.CANCELED
