"""Launches of runs: their origin, hooks before they start, how far they have come, and their launcher."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.execution import api, compute_logs, execute_in_process
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster._core.storage.tags import MAX_RETRIES_TAG, REPOSITORY_LABEL_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

LOCATION = "dino_assets"  # the name in workspace.yaml and pyproject.toml

# First log message of a run's process that a code server started. By then, the process has opened the
# instance and loaded nothing else.
_WORKER = re.compile(r"Started process for run \(pid: (\d+)\)\.")
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

__all__ = [
    "MAX_RETRIES_TAG",
    "REPOSITORY_LABEL_TAG",
    "CheckRunHealthResult",
    "DefaultRunLauncher",
    "LaunchRunContext",
    "QueuedRunCoordinator",
    "WorkerStatus",
]


@contextmanager
def given_origin(instance: dg.DagsterInstance, *, job: str, folder: Path) -> Iterator[None]:
    """Give runs that are created in the block the same origin as runs of the UI.

    The origin names the job and how to load it. The UI needs it to show a run in its timeline and to execute
    the run again. Dagster gives no origin to a run that this process executes.
    """
    target = LoadableTargetOrigin(module_name=LOCATION, working_directory=str(folder))
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, LOCATION)
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME), job)
    vars(instance)["create_run_for_job"] = partial(
        instance.create_run_for_job, remote_job_origin=origin
    )
    try:
        yield
    finally:
        del vars(instance)["create_run_for_job"]


def call_before_runs(hook: Callable[[dg.DagsterInstance, dg.DagsterRun], None]) -> None:
    """Call ``hook`` for every run that this process executes, before its start is recorded.

    Dagster's own hooks, resources and executors are called only after that event.
    """
    for module in (api, execute_in_process):
        iterate = _find_original(vars(module)["job_execution_iterator"])

        @wraps(iterate)
        def iterate_with_hook(
            job_context: Any, execution_plan: Any, *, iterate: Any = iterate
        ) -> Iterator[Any]:
            hook(job_context.instance, job_context.dagster_run)
            yield from iterate(job_context, execution_plan)

        vars(module)["job_execution_iterator"] = iterate_with_hook


def ask_in_monitoring(has_ended: Callable[[dg.DagsterInstance, dg.DagsterRun], bool]) -> None:
    """Make run monitoring call ``has_ended`` for runs that are starting or being cancelled.

    ``has_ended`` returns True for a run whose end it has recorded. Dagster itself asks the launcher about
    started runs only. For starting and cancelled runs it waits for a timeout of some minutes.
    """
    monitoring = import_module("dagster._daemon.monitoring.run_monitoring")
    for name in ("monitor_starting_run", "monitor_canceling_run"):
        wait = _find_original(vars(monitoring)[name])

        @wraps(wait)
        def ask(instance: Any, record: Any, logger: Any, *, wait: Any = wait) -> None:
            if not has_ended(instance, record.dagster_run):
                wait(instance, record, logger)

        vars(monitoring)[name] = ask


def _find_original(function: Any) -> Any:
    return getattr(function, "__wrapped__", function)


@dataclass(frozen=True)
class LaunchState:
    """How far the launch of a run has come: last step, since when, and process id if there is one."""

    step: str
    since_s: float
    pid: int | None = None


def find_launch(instance: dg.DagsterInstance, run_id: str) -> LaunchState:
    """Find in a run's log how far its latest launch has come.

    Earlier launches do not count: the run was queued again after them.
    """
    (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[run_id]))
    launch = LaunchState("made", record.create_timestamp.timestamp())
    kinds = {dg.DagsterEventType.RUN_STARTING, dg.DagsterEventType.ENGINE_EVENT}
    for entry in instance.all_logs(run_id, kinds):
        if entry.get_dagster_event().event_type == dg.DagsterEventType.RUN_STARTING:
            launch = LaunchState("launched", entry.timestamp)
        elif match := _WORKER.fullmatch(entry.message):
            launch = LaunchState("launched", launch.since_s, int(match[1]))
    return launch


def find_code_server(context: LaunchRunContext) -> list[tuple[str, str]]:
    """Find the command line options that identify a run's code server; none if it is on another machine."""
    origin = context.dagster_run.remote_job_origin
    if context.workspace is None or origin is None:
        return []
    location = context.workspace.get_code_location(origin.location_name)
    client = getattr(location, "client", None)
    if client is None:
        return []
    if client.socket:
        return [("--socket", str(client.socket))]
    is_local = client.host in _LOCAL_HOSTS
    return [(name, str(client.port)) for name in ("--port", "-p")] if is_local else []


def shield_log_copies() -> None:
    """Protect the processes that copy a step's output from Ctrl-C; they end with the step.

    A terminal interrupts all of its processes. Without this, each copying process prints a traceback.
    """
    shielded = SimpleNamespace(Popen=partial(subprocess.Popen, start_new_session=True))
    vars(compute_logs)["subprocess"] = shielded  # compute_logs uses only Popen
