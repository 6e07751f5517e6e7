"""The run launcher and the run queue of this machine's instance: Dagster's own, which also know dead runs.

Without them a run whose whole process tree was killed (power, OOM, kill -9) stays STARTED until
``max_runtime_seconds``, a day, or STARTING for ``start_timeout_seconds``, and holds a slot and its drop:
``DefaultRunLauncher`` supports no health check, so Dagster's run monitoring has nothing to go by. With them
the run ends at the next poll, says why, and ``run_retries`` starts it again. A live run that is called dead
would run twice at once, so of a started run what is not certain counts as running.
"""

from pathlib import Path

import dagster as dg

from dino_assets.defs.dagster_internals import (
    CheckRunHealthResult,
    DefaultRunLauncher,
    LaunchRunContext,
    QueuedRunCoordinator,
    WorkerStatus,
    ask_in_monitoring,
    find_code_server,
)
from dino_assets.defs.dead_runs import (
    LAUNCH_PATIENCE_S,
    end_run,
    explain_launch_death,
    explain_run_death,
)
from dino_assets.defs.run_process import LAUNCH_TAG, PROC, describe_self, has_argument


class WatchfulRunLauncher(DefaultRunLauncher):
    """Judges the runs of its own machine and container; others it leaves to Dagster's timeouts."""

    supports_check_run_worker_health = True
    proc: Path = PROC

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        """Judge runs that have not started, too, in a process that monitors runs."""
        super().register_instance(instance)
        ask_in_monitoring(end_if_dead)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch a run; recorded with it is this process, if the code server's numbers mean the same here."""
        run = context.dagster_run
        here = describe_self(run.run_id, proc=self.proc)
        if here and has_argument(*find_code_server(context), proc=self.proc):
            self._instance.add_run_tags(run.run_id, {LAUNCH_TAG: here.dump()})
        super().launch_run(context)

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Failed if the run's recorded process no longer exists."""
        if why := explain_run_death(run, proc=self.proc):
            return CheckRunHealthResult(WorkerStatus.FAILED, why)
        return CheckRunHealthResult(WorkerStatus.RUNNING)


class WatchfulRunQueue(QueuedRunCoordinator):
    """Dagster's queue. The daemon looks at it before it launches anything, so it is watchful from then on."""

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        """Judge runs that have not started, also where all slots are taken by dead ones."""
        super().register_instance(instance)
        ask_in_monitoring(end_if_dead)


def end_if_dead(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """End a run that never started and never will, or that died while it was cancelled; say whether it did."""
    launcher = instance.run_launcher
    if not isinstance(launcher, WatchfulRunLauncher):
        return False
    why = explain_run_death(run, proc=launcher.proc) or explain_launch_death(
        instance, run, patience_s=LAUNCH_PATIENCE_S, proc=launcher.proc
    )
    return why is not None and end_run(instance, run, why)
