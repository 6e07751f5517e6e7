"""The real daemon: every drop is run once, although all processes are killed."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from dino_assets.defs.instance import open_instance
from dino_assets.defs.run_process import PROCESS_TAG, RunProcess
from dino_assets.drops.arrivals import MARKER
from dino_assets.drops.finished import list_stamps
from dino_assets.settings.environment import load_settings
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.reading import open_table
from dino_assets.store.objects import open_store
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.ui import LOCATION, Ui, hurry, serving_ui

SENSOR = {**LOCATION, "sensorName": "new_drops"}
START = """mutation($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) {
  __typename ... on Sensor { sensorState { status } } } }"""
RUNS = """{ runsOrError(filter: {pipelineName: "ingest"}) { ... on Runs { results {
  runId status parentRunId tags { key value } } } } }"""
TICKS = """query($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) {
  ... on Sensor { sensorState { ticks(limit: 3) { status skipReason error { message } } } } } }"""

pytestmark = pytest.mark.usefixtures("ready_engines")


def arrive(project: Path, name: str, photos: int) -> None:
    folder = project / "inbox" / name
    folder.mkdir(parents=True)
    for n in range(photos):
        (folder / f"DJI_{n:04d}.JPG").write_bytes(photo_bytes(1200, 900, seed=n, quality=50))
    (folder / MARKER).touch()


def find_runs(ui: Ui, drop: str) -> list[dict]:
    """List the runs of a drop, oldest first."""
    runs = ui.ask(RUNS)["runsOrError"]["results"][::-1]
    return [r for r in runs if {"key": "dagster/partition", "value": drop} in r["tags"]]


def wait_for(ui: Ui, what: Callable[[], object], *, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, ui.ask(TICKS, sensor=SENSOR)
        time.sleep(0.2)


def kill_all(ui: Ui) -> None:
    """Kill the UI, the daemon, the code server and all runs at once, with SIGKILL."""
    port = ui.url.rpartition(":")[2].encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"dev" in words and port in words:
                os.killpg(os.getpgid(int(path.parent.name)), signal.SIGKILL)
                return
    raise AssertionError("no UI to kill")


def find_processes(project: Path, runs: list[dict]) -> list[str | None]:
    """Read from hidden tags which run each run's process recorded; None if it recorded nothing."""
    with open_instance(project) as instance:
        tags = [instance.get_run_by_id(run["runId"]).tags.get(PROCESS_TAG) for run in runs]
    processes = [RunProcess.load(text) if text else None for text in tags]
    return [process and process.run for process in processes]


@pytest.mark.slow
def test_new_drops__every_drop_is_run_once_after_a_kill(project: Path, tmp_path: Path):
    hurry(project)
    arrive(project, "flight-1", photos=1)
    arrive(project, "flight-2", photos=60)
    with serving_ui(project, tmp_path / "first.log") as ui:
        answer = ui.ask(START, sensor=SENSOR)["startSensor"]
        assert answer["sensorState"]["status"] == "RUNNING", answer
        # The process is recorded shortly before or after the run is shown as started.
        wait_for(ui, lambda: any(find_processes(project, find_runs(ui, "flight-2"))), timeout_s=90)
        wait_for(ui, lambda: [r["status"] for r in find_runs(ui, "flight-2")] == ["STARTED"], timeout_s=90)  # fmt: skip
        kill_all(ui)
    stamps = list_stamps(open_store(load_settings().storage))
    assert not any("embeddings" in key for key in stamps["flight-2"]), "killed too late"

    with serving_ui(project, tmp_path / "second.log") as ui:
        wait_for(ui, lambda: all("SUCCESS" in [r["status"] for r in find_runs(ui, name)] for name in ("flight-1", "flight-2")), timeout_s=150)  # fmt: skip
        # One more tick, after everything is done.
        wait_for(ui, lambda: "2 drops, 2 finished." in str(ui.ask(TICKS, sensor=SENSOR)), timeout_s=60)  # fmt: skip
        first, second = (find_runs(ui, name) for name in ("flight-1", "flight-2"))
    # Two runs execute at a time: the small one may have ended before the kill.
    assert [run["status"] for run in first] in (["SUCCESS"], ["FAILURE", "SUCCESS"])
    assert [run["status"] for run in second] == ["FAILURE", "SUCCESS"]
    # Dagster retried the killed run; the sensor did not request another.
    assert [run["parentRunId"] for run in second] == [None, second[0]["runId"]]
    # Each run recorded its own process; the retried run did not keep its parent's.
    assert find_processes(project, first + second) == [run["runId"] for run in first + second]
    stamps = list_stamps(open_store(load_settings().storage))
    for name in ("flight-1", "flight-2"):
        assert len(stamps[name]) == 4, stamps[name]  # record, images, tiles, embeddings


@pytest.mark.slow
@pytest.mark.parametrize("status", ["STARTING", "STARTED"])
def test_new_drops__killed_as_soon_as_a_run_has_a_status(
    project: Path, tmp_path: Path, status: str
):
    """Before it says anything, or in the moment in which it starts: with the instance as it is committed."""
    arrive(project, "flight-1", photos=30)
    with open_instance(project) as instance:

        def find_runs_of_drop() -> list[dg.DagsterRun]:
            # A map is made as soon as there are embeddings, and may be requested before this run has ended.
            return list(instance.get_runs(dg.RunsFilter(job_name="ingest")))[::-1]

        def find_statuses() -> list[str]:
            return [run.status.value for run in find_runs_of_drop()]

        with serving_ui(project, tmp_path / "first.log") as ui:
            ui.ask(START, sensor=SENSOR)
            wait_for(ui, lambda: find_statuses() == [status], timeout_s=120)
            kill_all(ui)
        assert find_statuses() == [status]
        with serving_ui(project, tmp_path / "second.log") as ui:
            # Half of the time is for the start of the daemon.
            wait_for(ui, lambda: find_statuses()[0] == "FAILURE", timeout_s=60)
            # Retried by Dagster, or requested by the sensor if Dagster lost it.
            wait_for(ui, lambda: find_statuses()[-1] == "SUCCESS", timeout_s=300)
            assert find_statuses() == ["FAILURE", "SUCCESS"], find_runs_of_drop()


ALL_RUNS = "{ runsOrError { ... on Runs { results { status tags { key value } assetSelection { path } } } } }"


def find_maps(ui: Ui) -> list[dict]:
    """List the runs that make a map and nothing else."""
    runs = ui.ask(ALL_RUNS)["runsOrError"]["results"]
    return [run for run in runs if run["assetSelection"] == [{"path": ["projections"]}]]


@pytest.mark.slow
def test_new_map__one_map_of_two_drops(project: Path, tmp_path: Path):
    sensor = {**LOCATION, "sensorName": "new_map"}
    for name in ("flight-1", "flight-2"):
        arrive(project, name, photos=1)
    with serving_ui(project, tmp_path / "ui.log") as ui:
        # The sensor is on by default; embeddings count as new after its first tick.
        wait_for(ui, lambda: ui.ask(TICKS, sensor=sensor)["sensorOrError"]["sensorState"]["ticks"], timeout_s=120)  # fmt: skip
        ui.ask(START, sensor=SENSOR)
        wait_for(ui, lambda: [run["status"] for run in find_maps(ui)] == ["SUCCESS"], timeout_s=240)
        (run,) = find_maps(ui)
        assert {"key": "dagster/sensor_name", "value": "new_map"} in run["tags"]
        assert all(find_runs(ui, name) for name in ("flight-1", "flight-2"))
        ticks = ui.ask(TICKS, sensor=sensor)["sensorOrError"]["sensorState"]["ticks"]
        assert [tick["error"] for tick in ticks] == [None] * len(ticks)
    store = open_store(load_settings().storage)
    (space,) = list_spaces(store, "projections")
    assert set(open_table(store, "projections", space=space).manifest(None).recipe.inputs) >= {
        "flight-1",
        "flight-2",
    }
    assert not list(list_spaces(store, "selections"))
