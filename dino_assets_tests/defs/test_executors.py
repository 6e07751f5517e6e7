"""The executor of a run's steps, as configured."""

import os
import subprocess
import sys

import dagster as dg
import pytest

from dino_assets.definitions import make_definitions
from dino_assets.defs.dead_runs import explain_run_death
from dino_assets.defs.instance import open_instance
from dino_assets.defs.run_process import PROCESS_TAG, RunProcess
from dino_assets.defs.run_tags import DROP_TAG
from dino_assets.errors import ConfigError
from dino_assets.settings.environment import load_settings
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.worlds.raising import raising

pytestmark = pytest.mark.usefixtures("ready_engines")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "in_process"),
        ("in_process", "in_process"),
        ("multiprocess", "multiprocess"),
        ("dagster:multi_or_in_process_executor", "multi_or_in_process_executor"),
    ],
)
def test_make_executor__as_configured(project, monkeypatch, value: str | None, name: str):
    if value:
        monkeypatch.setenv("DINO_EXECUTOR", value)
    job = make_definitions(load_settings()).resolve_job_def("ingest")
    assert job.executor_def.name == name


@pytest.mark.parametrize(
    "value", ["threads", "no_such_module:x", "dagster:asset", "dagster:", ":x"]
)
def test_make_executor__unknown_name(project, monkeypatch, value: str):
    monkeypatch.setenv("DINO_EXECUTOR", value)
    with raising(ConfigError, setting="DINO_EXECUTOR", value=value, reason="no-executor"):
        make_definitions(load_settings())


@pytest.mark.parametrize("executor", ["in_process", "multiprocess"])
def test_io_manager__has_no_config(project, monkeypatch, executor: str):
    monkeypatch.setenv("DINO_EXECUTOR", executor)
    definitions = make_definitions(load_settings())
    run_config = dg.validate_run_config(definitions.resolve_job_def("ingest"), {})
    assert run_config["resources"]["io_manager"]["config"] == {}


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["in_process", "multiprocess"])
def test_executor__steps_in_one_process_or_in_several(project, card, monkeypatch, executor: str):
    monkeypatch.setenv("DINO_EXECUTOR", executor)
    monkeypatch.setenv("DAGSTER_HOME", str(project))
    with open_instance(project) as instance:
        Lineage(instance).register("a", card("a", good=1))
    command = [sys.executable, "-W", "ignore", "-m", "dagster", "asset", "materialize"]
    subprocess.run(
        [*command, "-m", "dino_assets", "--select", "weights,images", "--partition", "a"],
        check=True,
        capture_output=True,
        env=dict(os.environ),
    )
    with open_instance(project) as instance:
        (run,) = instance.get_runs()
        starts = instance.all_logs(run.run_id, dg.DagsterEventType.STEP_START)
        pids = {entry.dagster_event.pid for entry in starts}
    assert run.tags[DROP_TAG] == "a"
    assert (len(pids) > 1) == (executor == "multiprocess")
    # The process of a step is not recorded: its end would look like a dead run.
    process = RunProcess.load(run.tags[PROCESS_TAG])
    assert (process.pid in pids) == (executor == "in_process")
    assert "gone" in explain_run_death(run)
