"""When a run counts as dead: real processes, and what Dagster's monitoring makes of it."""

import logging
import os
import subprocess
import sys
import time

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher.base import WorkerStatus
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from dino_assets import launcher
from dino_assets.jobs import register_drop
from dino_assets.launcher import is_running

CONFIG = {"ops": {"register_named_drop": {"config": {"name": "a"}}}}


@pytest.fixture
def watched():
    settings = {
        "run_launcher": {"module": "dino_assets.launcher", "class": "WatchfulRunLauncher"},
        "run_monitoring": {"enabled": True},
        "run_retries": {"enabled": True, "max_retries": 2},
    }
    with dg.DagsterInstance.local_temp(overrides=settings) as instance:
        yield instance


def start_run(instance: dg.DagsterInstance, *pids: int) -> dg.DagsterRun:
    run = instance.create_run_for_job(
        register_drop, status=dg.DagsterRunStatus.STARTED, run_config=CONFIG
    )
    for pid in pids:
        instance.report_engine_event("Started", run, EngineEventData.in_process(pid))
    return run


@pytest.fixture
def child():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def test_check_run_worker_health__alive_dead_and_unknown(watched, child):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    check = watched.run_launcher.check_run_worker_health
    assert check(start_run(watched)).status == WorkerStatus.RUNNING
    assert check(start_run(watched, child.pid)).status == WorkerStatus.RUNNING
    # The parent of steps in processes of their own.
    assert check(start_run(watched, child.pid, gone.pid)).status == WorkerStatus.RUNNING
    dead = check(start_run(watched, gone.pid))
    assert (dead.status, dead.msg) == (
        WorkerStatus.FAILED,
        f"its process {gone.pid} is gone: killed, or the machine restarted",
    )
    child.kill()  # not waited for: a zombie
    deadline = time.monotonic() + 10
    while is_running(child.pid, since_s=time.time()):
        assert time.monotonic() < deadline
    assert check(start_run(watched, child.pid)).status == WorkerStatus.FAILED


def test_is_running__a_number_that_was_given_again(child):
    now_s = time.time()
    assert is_running(child.pid, since_s=now_s)
    assert not is_running(child.pid, since_s=now_s - launcher.REUSED_AFTER_S - 60)
    assert is_running(os.getpid(), since_s=now_s)
    assert is_running(1, since_s=now_s)


def test_monitoring__fails_dead_runs_and_has_them_retried(watched, child):
    alive, dead = start_run(watched, child.pid), start_run(watched, 2**22 + 1)
    logger = logging.getLogger("test")
    with WorkspaceProcessContext(watched, EmptyWorkspaceTarget()) as context:
        assert [e for e in execute_run_monitoring_iteration(context, logger) if e] == []
    assert watched.get_run_by_id(alive.run_id).status == dg.DagsterRunStatus.STARTED
    found = watched.get_run_by_id(dead.run_id)
    assert found.status == dg.DagsterRunStatus.FAILURE
    assert found.tags["dagster/will_retry"] == "true"
    assert any("is gone: killed, or" in entry.message for entry in watched.all_logs(dead.run_id))
