"""Recording of a run's process in the run's tags, before the run counts as started."""

from pathlib import Path

import dagster as dg

from dino_assets.defs.dagster_internals.launching import call_before_runs
from dino_assets.defs.run_process import PROC, PROCESS_TAG, describe_self


def record_processes() -> None:
    """Record the process of every run that this process executes, of any job and from any launcher.

    The process is recorded before the run's first event. Otherwise a run that is killed at this event has no
    recorded process, and counts as running. If steps run in processes of their own, the parent is recorded.
    """
    call_before_runs(record_process)


def record_process(instance: dg.DagsterInstance, run: dg.DagsterRun, *, proc: Path = PROC) -> None:
    """Record this process in the run's tags, if the kernel identifies the process."""
    process = None if instance.is_ephemeral else describe_self(run.run_id, proc=proc)
    if process:
        instance.add_run_tags(run.run_id, {PROCESS_TAG: process.dump()})
