"""Dead runs: their process no longer exists."""

import dataclasses

import dagster as dg
import pytest

from dino_assets.defs.dead_runs import PARTITION_TAG, end_dead_runs, find_runs_of
from dino_assets.defs.run_process import PROCESS_TAG, RunProcess, describe_self

STARTED = dg.DagsterRunStatus.STARTED


@pytest.fixture
def record(instance: dg.DagsterInstance):
    """Record a run in progress, in this process or on a machine that restarted."""

    @dg.job
    def some_job(): ...

    def make(drop: str | None, *, is_alive: bool) -> str:
        run = instance.create_run_for_job(some_job, status=STARTED)
        process = describe_self(run.run_id)
        if process is None:
            pytest.skip("the kernel does not say what a process is")
        if not is_alive:
            process = dataclasses.replace(process, start_ticks=process.start_ticks - 1)
        assert RunProcess.load(process.dump()) == process
        tags = {PROCESS_TAG: process.dump(), **({PARTITION_TAG: drop} if drop else {})}
        instance.add_run_tags(run.run_id, tags)
        return run.run_id

    return make


def test_end_dead_runs__only_dead_runs_of_the_drop(instance, record):
    dead, alive = record("a", is_alive=False), record("a", is_alive=True)
    other, none = record("b", is_alive=False), record(None, is_alive=False)
    ended_runs = list(end_dead_runs(instance, "a"))
    assert [run.run_id for run, _ in ended_runs] == [dead]
    assert "killed" in ended_runs[0][1]
    assert instance.get_run_by_id(dead).status == dg.DagsterRunStatus.FAILURE
    assert instance.get_run_by_id(dead).tags["dagster/max_retries"] == "0"
    for run_id in (alive, other, none):
        assert instance.get_run_by_id(run_id).status == STARTED
    assert [run.run_id for run in find_runs_of(instance, "a")] == [alive]
    assert [run.run_id for run, _ in end_dead_runs(instance, None)] == [none]
    assert list(end_dead_runs(instance, "a")) == []
