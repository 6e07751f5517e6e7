"""Runs that died before they started or while they were cancelled, with real processes."""

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.events import EngineEventData
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget, PythonFileTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from dino_assets.defs.dagster_internals.launching import find_launch
from dino_assets.defs.dead_runs import LAUNCH_PATIENCE_S, end_dead_runs, explain_launch_death
from dino_assets.defs.run_process import LAUNCH_TAG, PROCESS_TAG, describe_self, has_argument
from dino_assets_tests.conftest import REPOSITORY

STATUS = dg.DagsterRunStatus
CONFIG = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
WATCHFUL = {
    "run_launcher": {"module": "dino_assets.defs.launcher", "class": "WatchfulRunLauncher"},
    "run_coordinator": CONFIG["run_coordinator"],
    "run_monitoring": {"enabled": True},
    "run_retries": {"enabled": True, "max_retries": 2},
}
# Loaded at once by a code server; a run's process, once there is a file `hang`, never gets through it.
LOCATION = """
import time
from pathlib import Path
import dagster as dg

while Path({hang!r}).exists():
    time.sleep(0.1)

@dg.job(executor_def=dg.in_process_executor)
def some_job(): ...

defs = dg.Definitions(jobs=[some_job], executor=dg.in_process_executor)
"""


@dg.job(executor_def=dg.in_process_executor)
def some_job(): ...


@pytest.fixture
def watched() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(overrides=WATCHFUL) as instance:
        assert instance.run_coordinator  # as the daemon does before it launches anything
        yield instance


@pytest.fixture
def worker() -> Iterator[subprocess.Popen]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def launch(
    instance: dg.DagsterInstance, *, pid: int | None = None, launcher: str | None = None
) -> dg.DagsterRun:
    """Make a run as a launcher leaves it: starting, with or without the id of its process."""
    run = instance.create_run_for_job(some_job)
    start(instance, run)
    if launcher is not None:
        instance.add_run_tags(run.run_id, {LAUNCH_TAG: launcher})
    elif own_process := describe_self(run.run_id):
        instance.add_run_tags(run.run_id, {LAUNCH_TAG: own_process.dump()})
    if pid is not None:
        write_number(instance, run, pid)
    return instance.get_run_by_id(run.run_id)


def start(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_STARTING.value, run.job_name)
    instance.report_dagster_event(event, run_id=run.run_id)


def write_number(instance: dg.DagsterInstance, run: dg.DagsterRun, pid: int) -> None:
    message = f"Started process for run (pid: {pid})."
    instance.report_engine_event(message, run, EngineEventData.in_process(pid))


def monitor(instance: dg.DagsterInstance) -> None:
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context:
        errors = execute_run_monitoring_iteration(context, logging.getLogger("test"))
        assert [error for error in errors if error] == []


def status_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> STATUS:
    return instance.get_run_by_id(run.run_id).status


def kill(process: subprocess.Popen) -> None:
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie


def test_monitoring__a_run_whose_process_is_killed_before_it_starts(watched, worker):
    run = launch(watched, pid=worker.pid)
    monitor(watched)
    assert status_of(watched, run) == STATUS.STARTING
    kill(worker)
    monitor(watched)
    ended_run = watched.get_run_by_id(run.run_id)
    assert ended_run.status == STATUS.FAILURE
    assert ended_run.tags["dagster/will_retry"] == "true"
    messages = [entry.message for entry in watched.all_logs(run.run_id)]
    assert any("is gone: killed" in message for message in messages)


def test_end_dead_runs__run_that_never_started(watched, worker):
    run = launch(watched, pid=worker.pid)
    assert list(end_dead_runs(watched, None)) == []
    kill(worker)
    assert [dead_run.run_id for dead_run, _ in end_dead_runs(watched, None)] == [run.run_id]
    assert status_of(watched, run) == STATUS.FAILURE


def test_monitoring__run_that_died_while_it_was_cancelled(watched, worker):
    run = launch(watched)
    own_process = describe_self(run.run_id)
    watched.add_run_tags(run.run_id, {PROCESS_TAG: own_process.dump()})
    watched.report_run_canceling(watched.get_run_by_id(run.run_id))
    monitor(watched)
    assert status_of(watched, run) == STATUS.CANCELING
    dead_process = dataclasses.replace(own_process, start_ticks=own_process.start_ticks - 1)
    watched.add_run_tags(run.run_id, {PROCESS_TAG: dead_process.dump()})
    monitor(watched)
    assert status_of(watched, run) == STATUS.CANCELED


def explain(instance: dg.DagsterInstance, run: dg.DagsterRun, **options: object) -> str | None:
    return explain_launch_death(instance, instance.get_run_by_id(run.run_id), **options)


def test_explain_launch_death__only_with_shared_process_ids(watched):
    free_pid = 2**22 + 1
    own_process = describe_self("")

    def explain_by(**change: object) -> str | None:
        run = launch(watched, pid=free_pid, launcher="")
        launcher = dataclasses.replace(own_process, **{"run": run.run_id, **change})
        watched.add_run_tags(run.run_id, {LAUNCH_TAG: launcher.dump()})
        return explain(watched, run)

    assert "is gone: killed" in explain_by()
    assert "restarted" in explain_by(boot="another")
    assert explain_by(host="another") is None
    assert explain_by(namespaces="pid:[1]") is None
    assert explain_by(run="its parent's") is None
    assert explain(watched, launch(watched, pid=free_pid, launcher="")) is None


def test_explain_launch_death__no_process_after_the_patience(watched):
    started_s = time.time()
    for run in (launch(watched, launcher=""), watched.create_run_for_job(some_job)):
        for waited_s, is_dead in ((0, False), (35, False), (LAUNCH_PATIENCE_S + 5, True)):
            reason = explain(
                watched, run, patience_s=LAUNCH_PATIENCE_S, clock=lambda s=waited_s: started_s + s
            )
            assert bool(reason) == is_dead
        assert explain(watched, run, clock=lambda: started_s + 1e6) is None


def test_explain_launch_death__recorded_process_may_take_long(watched):
    run = watched.create_run_for_job(some_job)
    watched.add_run_tags(run.run_id, {PROCESS_TAG: describe_self(run.run_id).dump()})
    assert explain(watched, run, patience_s=0) is None


def test_find_launch__counts_from_the_latest_launch(watched):
    """A run that was queued again has the process id of its earlier launch in its log."""
    run = launch(watched, pid=7)
    first = find_launch(watched, run.run_id)
    assert (first.step, first.pid) == ("launched", 7)
    start(watched, run)
    second = find_launch(watched, run.run_id)
    assert (second.step, second.pid) == ("launched", None)
    assert second.since_s > first.since_s


@pytest.mark.parametrize("launcher", ["WatchfulRunLauncher", "DefaultRunLauncher"])
def test_monitoring__other_launchers_may_take_longer(launcher: str):
    """A pod may take minutes to start; our processes come from a running code server."""
    module = "dino_assets.defs.launcher"
    overrides = {**WATCHFUL, "run_launcher": {"module": module, "class": launcher}}
    with dg.DagsterInstance.local_temp(overrides=overrides) as instance:
        assert instance.run_coordinator
        run = instance.create_run_for_job(some_job)
        start_event = dg.EventLogEntry(
            error_info=None, level=10, user_message="", run_id=run.run_id,
            timestamp=time.time() - LAUNCH_PATIENCE_S - 5, job_name=run.job_name,
            dagster_event=dg.DagsterEvent(dg.DagsterEventType.RUN_STARTING.value, run.job_name),
        )  # fmt: skip
        instance.handle_new_event(start_event)
        assert status_of(instance, run) == STATUS.STARTING
        monitor(instance)
        ends = launcher == "WatchfulRunLauncher"
        assert status_of(instance, run) == (STATUS.FAILURE if ends else STATUS.STARTING)


def test_has_argument__running_processes():
    name = uuid.uuid4().hex
    command = [sys.executable, "-c", "import time; time.sleep(600)", "--socket", name]
    with subprocess.Popen(command) as process:
        # Linux shows a process's words some time after its start.
        deadline_s = time.monotonic() + 30
        while not has_argument(("--port", name), ("--socket", name)):
            assert time.monotonic() < deadline_s
        assert not has_argument(("--socket", name[:-1]), ("--port", name))
        assert not has_argument()
        process.kill()
    assert not has_argument(("--socket", name))


@pytest.fixture
def located(watched, tmp_path: Path, monkeypatch) -> Iterator[WorkspaceProcessContext]:
    """A running code server, whose later processes hang while a file `hang` exists."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    module = tmp_path / "location.py"
    module.write_text(LOCATION.format(hang=str(tmp_path / "hang")))
    target = PythonFileTarget(
        python_file=str(module), attribute=None, working_directory=str(tmp_path), location_name="it"
    )
    with WorkspaceProcessContext(watched, target) as context:
        yield context
        (tmp_path / "hang").unlink(missing_ok=True)
    context._grpc_server_registry.wait_for_processes()


def submit(instance: dg.DagsterInstance, context: WorkspaceProcessContext) -> str:
    request = context.create_request_context()
    repository = request.get_code_location("it").get_repository("__repository__")
    job = repository.get_full_job("some_job")
    run = instance.create_run_for_job(
        some_job,
        job_code_origin=job.get_python_origin(),
        remote_job_origin=job.get_remote_origin(),
    )
    instance.submit_run(run.run_id, request)
    return run.run_id


def dequeue(context: WorkspaceProcessContext) -> None:
    with QueuedRunCoordinatorDaemon(interval_seconds=1) as queue:
        list(queue.run_iteration(context))


def test_launch_run__killed_with_its_code_server_while_it_starts(watched, located, tmp_path: Path):
    (tmp_path / "hang").touch()
    run = watched.get_run_by_id(submit(watched, located))
    dequeue(located)
    wait_for(lambda: find_launch(watched, run.run_id).pid)
    assert status_of(watched, run) == STATUS.STARTING
    launcher = watched.get_run_by_id(run.run_id).tags[LAUNCH_TAG]
    assert launcher == describe_self(run.run_id).dump()
    pid = find_launch(watched, run.run_id).pid
    server = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    for each in (server, pid):  # no process is left that waits for it
        os.kill(each, signal.SIGKILL)
    wait_for(lambda: explain(watched, run))
    monitor(watched)
    assert status_of(watched, run) == STATUS.FAILURE


def test_queue__run_stays_queued_without_a_code_server(watched, located):
    (server,) = located._grpc_server_registry._all_processes  # no public way to the process
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    run_id = submit(watched, located)
    for _ in range(4):
        dequeue(located)
        assert watched.get_run_by_id(run_id).status == STATUS.QUEUED
    located.reload_code_location("it")
    dequeue(located)
    wait_for(lambda: watched.get_run_by_id(run_id).is_finished)
    assert watched.get_run_by_id(run_id).status == STATUS.SUCCESS


def wait_for(what: Callable[[], object], *, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)
