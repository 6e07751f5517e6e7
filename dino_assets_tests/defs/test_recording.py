"""Recording the process of a run before the run counts as started."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import dagster as dg

from dino_assets.definitions import make_definitions
from dino_assets.defs.dead_runs import explain_run_death
from dino_assets.defs.instance import open_instance
from dino_assets.defs.recording import record_process, record_processes
from dino_assets.defs.run_process import PROCESS_TAG, RunProcess, describe_self
from dino_assets.settings.environment import load_settings
from dino_assets_tests.conftest import REPOSITORY

CONFIG = {"ops": {"register_named_drop": {"config": {"name": "a"}}}}
STATUS = dg.DagsterRunStatus


def execute(
    instance: dg.DagsterInstance, *, run_id: str | None = None
) -> dg.ExecuteInProcessResult:
    """Execute a job without assets; it fails at once, since there is no inbox."""
    job = make_definitions(load_settings()).resolve_job_def("register_drop")
    return job.execute_in_process(
        instance=instance, run_config=CONFIG, raise_on_error=False, run_id=run_id
    )


def test_record_processes__before_the_run_counts_as_started(project: Path):
    run_id = str(uuid.uuid4())
    with open_instance(project) as instance:
        tags = []
        instance.add_event_listener(
            run_id, lambda entry: tags.append(instance.get_run_by_id(run_id).tags)
        )
        execute(instance, run_id=run_id)
        assert RunProcess.load(tags[0][PROCESS_TAG]) == describe_self(run_id)


def test_record_processes__a_run_killed_at_its_first_event_is_dead(project: Path):
    run_id = str(uuid.uuid4())
    with open_instance(project) as instance:
        command = [sys.executable, "-m", "dino_assets_tests.worlds.killed_run"]
        process = subprocess.run(
            [*command, str(project), "register_drop", run_id],
            cwd=REPOSITORY,
            env=dict(os.environ),
            capture_output=True,
            text=True,
        )
        assert process.returncode == -signal.SIGKILL, process.stderr
        run = instance.get_run_by_id(run_id)
        assert run.status == STATUS.STARTED
        assert "gone: killed" in explain_run_death(run)


def test_record_processes__called_twice(project: Path):
    record_processes()
    record_processes()
    with open_instance(project) as instance:
        run_id = execute(instance).run_id
        events = instance.all_logs(run_id, dg.DagsterEventType.RUN_START)
        assert len(events) == 1


def test_record_process__nothing_to_record(project: Path, tmp_path: Path):
    with dg.DagsterInstance.ephemeral() as ephemeral:
        assert PROCESS_TAG not in ephemeral.get_run_by_id(execute(ephemeral).run_id).tags
    with open_instance(project) as instance:
        run = instance.create_run_for_job(dg.GraphDefinition("empty").to_job())
        record_process(instance, run, proc=tmp_path)  # the kernel does not say
        assert PROCESS_TAG not in instance.get_run_by_id(run.run_id).tags
        record_process(instance, run)
        assert PROCESS_TAG in instance.get_run_by_id(run.run_id).tags
