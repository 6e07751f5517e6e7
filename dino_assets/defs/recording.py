"""A run's process, recorded in the run's tags before the run counts as started."""

from pathlib import Path

import dagster as dg

from dino_assets.defs.dagster_internals import call_before_runs
from dino_assets.defs.run_process import PROC, PROCESS_TAG, describe_self


def record_processes() -> None:
    """Record the process of every run that this process executes, whoever starts it and whatever job it is of.

    Before its first event: a run that counts as started and names no process could not be told from one
    whose process is gone. Where each step has a process of its own, it is the one that waits for them.
    """
    call_before_runs(record_process)


def record_process(instance: dg.DagsterInstance, run: dg.DagsterRun, *, proc: Path = PROC) -> None:
    """Record this process as that of a run, unless the kernel does not say which one it is."""
    process = None if instance.is_ephemeral else describe_self(run.run_id, proc=proc)
    if process:
        instance.add_run_tags(run.run_id, {PROCESS_TAG: process.dump()})
