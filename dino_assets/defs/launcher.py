"""The run launcher of this machine's instance: Dagster's own, which also knows when a run is dead.

Without it a run whose whole process tree was killed (power, OOM, kill -9) stays STARTED until
``max_runtime_seconds``, a day, and its drop with it: ``DefaultRunLauncher`` supports no health check,
so Dagster's run monitoring has nothing to go by. With it the run fails at the next poll, says why,
and ``run_retries`` starts it again. A live run that is called dead would run twice at once, so what is
not certain counts as running.
"""

import dagster as dg

from dino_assets.defs.dagster_internals import (
    CheckRunHealthResult,
    DefaultRunLauncher,
    WorkerStatus,
)
from dino_assets.defs.dead_runs import explain_run_death
from dino_assets.defs.run_process import PROC


class WatchfulRunLauncher(DefaultRunLauncher):
    """Judges the runs of its own machine and container; others it leaves to Dagster's timeouts."""

    supports_check_run_worker_health = True
    proc = PROC

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Failed if the run's recorded process no longer exists."""
        if why := explain_run_death(run, proc=self.proc):
            return CheckRunHealthResult(WorkerStatus.FAILED, why)
        return CheckRunHealthResult(WorkerStatus.RUNNING)
