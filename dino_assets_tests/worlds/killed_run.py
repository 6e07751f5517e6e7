"""A run in a process of its own, which is killed the moment its start is recorded."""

import os
import signal
import sys
from pathlib import Path

import dagster as dg

from dino_assets.definitions import defs
from dino_assets.defs.instance import open_instance

START = dg.DagsterEventType.RUN_START


def main(project: str, job: str, run_id: str) -> None:
    """Execute a job and die at its first event."""

    def die(entry: dg.EventLogEntry) -> None:
        if entry.dagster_event and entry.dagster_event.event_type == START:
            os.kill(os.getpid(), signal.SIGKILL)

    with open_instance(Path(project)) as instance:
        instance.add_event_listener(run_id, die)
        defs.resolve_job_def(job).execute_in_process(
            run_config={"ops": {"register_named_drop": {"config": {"name": "a"}}}},
            instance=instance,
            run_id=run_id,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
