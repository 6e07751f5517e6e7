"""Run launcher and run queue that detect dead runs; otherwise they are Dagster's own.

Dagster's ``DefaultRunLauncher`` has no health check. If all processes of a run are killed (by a power cut, by
lack of memory, by ``kill -9``), the run stays STARTED for ``max_runtime_seconds``, a day. A run that was
STARTING stays so for ``start_timeout_seconds``. Meanwhile the run occupies a slot and its drop.

With these classes, Dagster's monitoring ends the run at its next poll, with the reason, and ``run_retries``
starts it again. A live run that is taken for dead would run twice. So a started run counts as running unless
its death is certain.
"""

from pathlib import Path

import dagster as dg

from dino_assets.defs.dagster_internals.launching import (
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
    """Dagster's launcher with a health check for runs of its own machine and container.

    Runs on other machines or in other containers end by Dagster's timeouts.
    """

    supports_check_run_worker_health = True
    proc: Path = PROC

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        """Make run monitoring in this process check also runs that have not started."""
        super().register_instance(instance)
        ask_in_monitoring(end_if_dead)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch a run, and record this process in the run's tags if it can see the code server's process."""
        run = context.dagster_run
        here = describe_self(run.run_id, proc=self.proc)
        if here and has_argument(*find_code_server(context), proc=self.proc):
            self._instance.add_run_tags(run.run_id, {LAUNCH_TAG: here.dump()})
        super().launch_run(context)

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Report the run as failed if its recorded process no longer exists."""
        if why := explain_run_death(run, proc=self.proc):
            return CheckRunHealthResult(WorkerStatus.FAILED, why)
        return CheckRunHealthResult(WorkerStatus.RUNNING)


class WatchfulRunQueue(QueuedRunCoordinator):
    """Dagster's run queue; with it, the daemon's run monitoring detects dead runs before the first launch."""

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        """Make run monitoring check also runs that have not started, even if dead runs occupy all slots."""
        super().register_instance(instance)
        ask_in_monitoring(end_if_dead)


def end_if_dead(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """End a run that can never start or that died while being cancelled; return whether it was ended."""
    launcher = instance.run_launcher
    if not isinstance(launcher, WatchfulRunLauncher):
        return False
    why = explain_run_death(run, proc=launcher.proc) or explain_launch_death(
        instance, run, patience_s=LAUNCH_PATIENCE_S, proc=launcher.proc
    )
    return why is not None and end_run(instance, run, why)
