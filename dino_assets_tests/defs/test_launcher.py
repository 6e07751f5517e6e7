"""Dead runs: real processes, and Dagster's monitoring."""

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from dino_assets.definitions import make_definitions
from dino_assets.defs.instance import open_instance
from dino_assets.defs.io_manager import CommittingIOManager
from dino_assets.defs.jobs import register_drop
from dino_assets.defs.launcher import WorkerStatus
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.defs.run_process import PROCESS_TAG, RunProcess, describe_self, explain_death
from dino_assets.settings.environment import load_settings

CONFIG = {"ops": {"register_named_drop": {"config": {"name": "a"}}}}
RUNNING, FAILED = WorkerStatus.RUNNING, WorkerStatus.FAILED

SLEEP = """
import sys, time
from dino_assets.defs.run_process import describe_self
recorded = describe_self(sys.argv[1])
print(recorded.dump() if recorded else "", flush=True)
time.sleep(600)
"""
JUDGE = """
import sys
from dino_assets.defs.run_process import PROCESS_TAG, RunProcess, describe_self, explain_death
recorded, here = RunProcess.load(sys.argv[1]), describe_self("")
assert recorded and here and here.host == recorded.host and here.boot == recorded.boot
print(explain_death(recorded, here))
"""
ELSEWHERE = ("unshare", "-rpf", "--kill-child", "--mount-proc")


def can_unshare() -> bool:
    return bool(shutil.which("unshare")) and not subprocess.call(
        [*ELSEWHERE, "true"], stderr=subprocess.DEVNULL
    )


needs_unshare = pytest.mark.skipif(not can_unshare(), reason="no unshare -rpf --mount-proc here")


@pytest.fixture
def watched() -> Iterator[dg.DagsterInstance]:
    settings = {
        "run_launcher": {"module": "dino_assets.defs.launcher", "class": "WatchfulRunLauncher"},
        "run_monitoring": {"enabled": True},
        "run_retries": {"enabled": True, "max_retries": 2},
    }
    with dg.DagsterInstance.local_temp(overrides=settings) as instance:
        yield instance


@pytest.fixture
def start() -> Iterator[Callable[..., tuple[subprocess.Popen, str]]]:
    """Start processes that print their identity, as runs record it; they end with the test."""
    with contextlib.ExitStack() as stack:

        def start_one(run: str, *, below: Sequence[str] = ()) -> tuple[subprocess.Popen, str]:
            child = stack.enter_context(
                subprocess.Popen(
                    [*below, sys.executable, "-c", SLEEP, run], stdout=subprocess.PIPE, text=True
                )
            )
            stack.callback(child.kill)
            return child, child.stdout.readline().strip()

        yield start_one


def create_run(
    instance: dg.DagsterInstance, tags: dict[str, str] | None = None, *, run_id: str | None = None
) -> dg.DagsterRun:
    return instance.create_run_for_job(
        register_drop,
        run_id=run_id,
        status=dg.DagsterRunStatus.STARTED,
        run_config=CONFIG,
        tags=tags,
    )


def judge(instance: dg.DagsterInstance, run_id: str) -> tuple[WorkerStatus, str | None]:
    health = instance.run_launcher.check_run_worker_health(instance.get_run_by_id(run_id))
    return health.status, health.msg


def judge_tag(instance: dg.DagsterInstance, process: RunProcess) -> tuple[WorkerStatus, str | None]:
    run = create_run(instance)
    text = replace(process, run=run.run_id).dump()
    instance.add_run_tags(run.run_id, {PROCESS_TAG: text})
    return judge(instance, run.run_id)


def test_check_run_worker_health__alive_killed_and_reaped(watched, start, monkeypatch):
    run = create_run(watched)
    assert judge(watched, run.run_id) == (RUNNING, None)  # not recorded yet
    child, text = start(run.run_id)
    watched.add_run_tags(run.run_id, {PROCESS_TAG: text})
    assert RunProcess.load(text).pid == child.pid
    assert judge(watched, run.run_id) == (RUNNING, None)
    for step_s in (-1e6, 3600, 1e9):
        with monkeypatch.context() as patch:
            now_s = time.time() + step_s
            patch.setattr(time, "time", lambda now_s=now_s: now_s)
            assert judge(watched, run.run_id) == (RUNNING, None)

    child.kill()  # not waited for: a zombie
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    verdict = (FAILED, f"its process {child.pid} on {RunProcess.load(text).host} is gone: killed")
    assert judge(watched, run.run_id) == verdict
    child.wait()
    assert judge(watched, run.run_id) == verdict


def test_check_run_worker_health__reused_process_id(watched):
    own_process = describe_self("")
    assert own_process.pid == os.getpid()
    assert judge_tag(watched, own_process) == (RUNNING, None)
    for ticks in (-1, 1, 1000):
        status, reason = judge_tag(
            watched, replace(own_process, start_ticks=own_process.start_ticks + ticks)
        )
        assert (status, reason) == (
            FAILED,
            f"its process {own_process.pid} on {own_process.host} is gone: killed",
        )


def test_check_run_worker_health__restarted_machine_and_other_host(watched):
    own_process = describe_self("")
    gone_process = replace(own_process, pid=2**22 + 1)
    assert judge_tag(watched, gone_process)[0] == FAILED
    status, reason = judge_tag(watched, replace(own_process, boot="another"))
    assert status == FAILED
    assert (
        reason == f"its process {own_process.pid} is gone: the machine {own_process.host} restarted"
    )
    # Processes on another host or in another container cannot be judged.
    assert judge_tag(watched, replace(gone_process, host="another")) == (RUNNING, None)
    assert judge_tag(watched, replace(gone_process, host="another", boot="another")) == (
        RUNNING,
        None,
    )
    assert judge_tag(watched, replace(gone_process, namespaces="pid:[1]")) == (RUNNING, None)


def test_check_run_worker_health__retried_run_with_its_parents_tags(watched, start):
    parent = create_run(watched)
    child, text = start(parent.run_id)
    watched.add_run_tags(parent.run_id, {PROCESS_TAG: text})
    child.kill()
    child.wait()
    assert judge(watched, parent.run_id)[0] == FAILED
    retried = create_run(watched, dict(watched.get_run_by_id(parent.run_id).tags))
    assert retried.tags[PROCESS_TAG] == text
    assert judge(watched, retried.run_id) == (RUNNING, None)


@needs_unshare
def test_check_run_worker_health__run_in_another_container(watched, start):
    """On a mounted project, the process ids of another container differ from ours."""
    run = create_run(watched)
    child, text = start(run.run_id, below=ELSEWHERE)
    recorded_process, own_process = RunProcess.load(text), describe_self("")
    assert (recorded_process.host, recorded_process.boot) == (own_process.host, own_process.boot)
    assert recorded_process.pid != child.pid  # 1 there; here 1 is another process
    watched.add_run_tags(run.run_id, {PROCESS_TAG: text})
    assert judge(watched, run.run_id) == (RUNNING, None)
    child.kill()
    child.wait()
    assert judge(watched, run.run_id) == (RUNNING, None)


@needs_unshare
def test_explain_death__judged_from_another_container(start):
    _, text = start("r")
    command = [*ELSEWHERE, sys.executable, "-c", JUDGE, text]
    process = subprocess.run(command, capture_output=True, text=True)
    assert (process.stdout, process.stderr) == ("None\n", "")


@needs_unshare
def test_describe_self__the_proc_of_another_namespace(start):
    """There, a process id of ours belongs to another process."""
    assert start("r", below=("unshare", "-rpf", "--kill-child"))[1] == ""


def test_describe_self__without_proc(watched, tmp_path):
    own_process = describe_self("")
    assert describe_self("r", proc=tmp_path) is None
    watched.run_launcher.proc = tmp_path
    assert judge_tag(watched, replace(own_process, pid=2**22 + 1)) == (RUNNING, None)


def test_explain_death__hidden_process_is_not_dead(tmp_path):
    """With `hidepid`, the daemon cannot see the process of another user's run in `/proc`."""
    own_process = describe_self("r")
    assert explain_death(own_process, own_process, proc=tmp_path) is None
    assert explain_death(replace(own_process, pid=1), own_process, proc=tmp_path) is None
    assert (
        explain_death(replace(own_process, pid=2**22 + 1), own_process, proc=tmp_path) is not None
    )


@pytest.mark.parametrize(
    "change", [{"pid": "7"}, {"pid": 0}, {"pid": -1}, {"pid": 2**40}, {"pid": True}, {"more": 1}, {"host": None}]
)  # fmt: skip
def test_load__other_texts(change: dict):
    own_process = describe_self("r")
    assert RunProcess.load(own_process.dump()) == own_process
    assert RunProcess.load(json.dumps(asdict(own_process) | change)) is None


@pytest.mark.parametrize("text", ["", "x", "7", "null", "[]", "{}", '{"pid": 1}', "[" * 100_000])
def test_load__garbage(text: str):
    assert RunProcess.load(text) is None


def test_setup_for_execution__process_is_recorded_before_the_first_step(watched, project):
    """Also for a run that fails at once, of a job without assets."""
    job = make_definitions(load_settings()).resolve_job_def("register_drop")
    result = job.execute_in_process(instance=watched, run_config=CONFIG, raise_on_error=False)
    assert not result.success
    tag = watched.get_run_by_id(result.run_id).tags[PROCESS_TAG]
    assert RunProcess.load(tag) == describe_self(result.run_id)


def test_setup_for_execution__without_a_run(watched, instance, tmp_path):
    manager = CommittingIOManager(storage=StorageResource(url="data"))
    for any_instance in (None, watched, instance):
        with dg.build_resources({"io_manager": manager}, instance=any_instance):
            pass
    assert watched.get_runs_count() == 0


def test_setup_for_execution__a_run_is_one_process():
    """Every extra process would import torch again."""
    repository = make_definitions(load_settings()).get_repository_def()
    assert {job.executor_def.name for job in repository.get_all_jobs()} == {"in_process"}


def test_check_run_worker_health__killed_command_line_run(project: Path):
    """The launcher also judges runs that it did not launch."""
    with open_instance(project) as instance:
        command = ("dagster", "asset", "materialize", "-m", "dino_assets", "--select", "weights")
        with (
            (project / "log").open("wb") as log,
            subprocess.Popen([sys.executable, "-m", *command], stdout=log, stderr=log) as process,
        ):
            try:
                deadline = time.monotonic() + 90
                while not (runs := find_started(instance)):
                    assert time.monotonic() < deadline, (project / "log").read_text()
                    assert process.poll() is None, (project / "log").read_text()
                    time.sleep(0.02)
                assert RunProcess.load(runs[0].tags[PROCESS_TAG]).pid == process.pid
                assert judge(instance, runs[0].run_id) == (RUNNING, None)
            finally:
                process.kill()
        assert instance.get_run_by_id(runs[0].run_id).status == dg.DagsterRunStatus.STARTED
        status, reason = judge(instance, runs[0].run_id)
        assert (status, str(process.pid) in reason) == (FAILED, True)


def find_started(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    return [run for run in instance.get_runs(started) if PROCESS_TAG in run.tags]


def test_monitoring__dead_runs_fail_and_are_retried(watched, start):
    alive_run, dead_run = create_run(watched), create_run(watched)
    watched.add_run_tags(alive_run.run_id, {PROCESS_TAG: start(alive_run.run_id)[1]})
    child, text = start(dead_run.run_id)
    watched.add_run_tags(dead_run.run_id, {PROCESS_TAG: text})
    child.kill()
    logger = logging.getLogger("test")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with WorkspaceProcessContext(watched, EmptyWorkspaceTarget()) as context:
        assert [e for e in execute_run_monitoring_iteration(context, logger) if e] == []
    assert watched.get_run_by_id(alive_run.run_id).status == dg.DagsterRunStatus.STARTED
    record = watched.get_run_by_id(dead_run.run_id)
    assert record.status == dg.DagsterRunStatus.FAILURE
    assert record.tags["dagster/will_retry"] == "true"
    assert any("is gone: killed" in entry.message for entry in watched.all_logs(dead_run.run_id))
