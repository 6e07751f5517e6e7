"""The run launcher of this machine's instance: Dagster's own, which also knows when a run is dead.

Without it a run whose whole process tree was killed (power, OOM, kill -9) stays STARTED until
``max_runtime_seconds``, a day, and its drop with it: ``DefaultRunLauncher`` supports no health check,
so Dagster's run monitoring has nothing to go by. With it the run fails at the next poll, says why,
and ``run_retries`` starts it again.
"""

import os
import time
from pathlib import Path

import dagster as dg
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

# A process that began this much later than its run said so has only got the number of one that died.
REUSED_AFTER_S = 60.0


class WatchfulRunLauncher(DefaultRunLauncher):
    """For runs and daemon on one machine, as an instance on SQLite has it; not for several hosts."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Dead when every process that the run named is gone; runs of the command line included."""
        entries = self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        named: list[int] = []
        for entry in entries:
            data = entry.dagster_event.engine_event_data if entry.dagster_event else None
            told = data.metadata.get("pid") if data else None
            pid = str(told.value) if told else ""
            if not pid.isdecimal():
                continue
            if is_running(int(pid), since_s=entry.timestamp):
                return CheckRunHealthResult(WorkerStatus.RUNNING)
            named.append(int(pid))
        if not named:
            return CheckRunHealthResult(WorkerStatus.RUNNING)  # it has not said yet
        return CheckRunHealthResult(
            WorkerStatus.FAILED,
            f"its process {named[-1]} is gone: killed, or the machine restarted",
        )


def is_running(pid: int, *, since_s: float) -> bool:
    """Tell whether the process that had this number at a time is still there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        up_s = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return True  # not Linux: the number is all there is
    age_s = up_s - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return fields[0] != "Z" and time.time() - age_s <= since_s + REUSED_AFTER_S
