"""Dead runs: their process no longer exists, although Dagster's records say that they are in progress."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg

from dino_assets.defs.dagster_internals.launching import MAX_RETRIES_TAG, find_launch
from dino_assets.defs.run_process import (
    LAUNCH_TAG,
    PROC,
    PROCESS_TAG,
    UNKNOWN_START,
    RunProcess,
    describe_self,
    explain_death,
)
from dino_assets.defs.run_tags import PARTITION_TAG

IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
UNSTARTED = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)

# A launch takes far less: the run's process opens the instance within seconds. If a process comes later than
# this, it sees that its run was marked as failed, and does not execute the run.
LAUNCH_PATIENCE_S = 40.0

WILL_RETRY_TAG = "dagster/will_retry"  # set by Dagster when a run has failed
# Dagster records that a run failed, and then in this tag whether the daemon will retry it. If Dagster is killed
# in between, there is never a tag.
RETRY_DECISION_S = 30.0


def explain_run_death(run: dg.DagsterRun, *, proc: Path = PROC) -> str | None:
    """Explain why a run's recorded process no longer exists; None if it exists or cannot be seen."""
    here = describe_self("", proc=proc)
    process = _load_process(run, PROCESS_TAG)
    return explain_death(process, here, proc=proc) if here and process else None


def explain_launch_death(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    *,
    patience_s: float | None = None,
    clock: Callable[[], float] = time.time,
    proc: Path = PROC,
) -> str | None:
    """Explain why a run that has not started never will; None if it still may.

    There are two reasons: the launched process recorded its id and no longer exists, or no process came
    within ``patience_s``. Without ``patience_s``, the second reason is not checked.
    """
    if run.status not in UNSTARTED or _load_process(run, PROCESS_TAG):
        return None
    launch = find_launch(instance, run.run_id)
    if launch.pid is None:
        waited_s = clock() - launch.since_s
        if patience_s is None or waited_s < patience_s:
            return None
        return f"it has no process {waited_s:.0f} s after it was {launch.step}"
    here = describe_self("", proc=proc)
    launcher = _load_process(run, LAUNCH_TAG)
    if here is None or launcher is None:
        return None
    worker = replace(launcher, pid=launch.pid, start_ticks=UNKNOWN_START)
    return explain_death(worker, here, proc=proc)


def _load_process(run: dg.DagsterRun, tag: str) -> RunProcess | None:
    """Read the process in a run's tag; None without a valid tag, or if it was copied from the parent run."""
    process = RunProcess.load(run.tags.get(tag, ""))
    return process if process and process.run == run.run_id else None


def is_retry_undecided(
    instance: dg.DagsterInstance, run: dg.DagsterRun, *, failed_s_ago: float
) -> bool:
    """Check whether a failed run failed so recently that Dagster has not recorded whether it will retry it."""
    return (
        instance.run_retries_enabled
        and WILL_RETRY_TAG not in run.tags
        and failed_s_ago < RETRY_DECISION_S
    )


def end_run(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> bool:
    """Record the end of a dead run unless its status has changed meanwhile; return whether it was recorded."""
    now = instance.get_run_by_id(run.run_id)
    if now is None or now.status != run.status:
        return False
    sentence = f"This run has ended: {why}."
    if run.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, sentence)
    else:
        instance.report_run_failed(run, sentence)
    return True


def end_dead_runs(
    instance: dg.DagsterInstance, drop: str | None, *, proc: Path = PROC
) -> Iterator[tuple[dg.DagsterRun, str]]:
    """Mark the dead runs of a drop (for None: those without a drop) as failed; yield each with the reason.

    The caller does the work of these runs in a new run, so the daemon must not retry them.
    """
    for run in find_runs_of(instance, drop):
        why = explain_run_death(run, proc=proc) or explain_launch_death(instance, run, proc=proc)
        if why:
            instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: "0"})
            if end_run(instance, run, why):
                yield run, why


def find_runs_of(instance: dg.DagsterInstance, drop: str | None) -> list[dg.DagsterRun]:
    """Find the runs of a drop that are recorded as queued or in progress; for None, those without a drop."""
    in_flight = instance.get_runs(dg.RunsFilter(statuses=IN_FLIGHT))
    return [run for run in in_flight if run.tags.get(PARTITION_TAG) == drop]
