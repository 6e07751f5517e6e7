"""Runs whose process is gone while their records say that they go on."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from dino_assets.defs.dagster_internals import MAX_RETRIES_TAG
from dino_assets.defs.run_process import (
    PROC,
    PROCESS_TAG,
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


def explain_run_death(run: dg.DagsterRun, *, proc: Path = PROC) -> str | None:
    """Why a run's recorded process is gone for certain; None if it lives or cannot be seen."""
    here = describe_self("", proc=proc)
    process = RunProcess.load(run.tags.get(PROCESS_TAG, ""))
    if here and process and process.run == run.run_id:
        return explain_death(process, here, proc=proc)
    return None


def end_dead_runs(
    instance: dg.DagsterInstance, drop: str | None, *, proc: Path = PROC
) -> Iterator[tuple[dg.DagsterRun, str]]:
    """Mark the dead runs of a drop (or of no drop) as failed; give each with the reason.

    The caller takes their work up, so no daemon starts them again.
    """
    for run in find_runs_of(instance, drop):
        if why := explain_run_death(run, proc=proc):
            instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: "0"})
            instance.report_run_failed(run, f"This run has ended: {why}.")
            yield run, why


def find_runs_of(instance: dg.DagsterInstance, drop: str | None) -> list[dg.DagsterRun]:
    """Find the runs of a drop, or of no drop, that are recorded as queued or going on."""
    in_flight = instance.get_runs(dg.RunsFilter(statuses=IN_FLIGHT))
    return [run for run in in_flight if run.tags.get(PARTITION_TAG) == drop]
