"""A project that one preparation fills for many tests: before each it is put back as it was left."""

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
from dagster._core.debug import DebugRunPayload

from dino_assets.defs.partitions import add_drop_keys


class Prepared:
    """A project's folder, and the runs and drops that its instance in memory knows.

    The folder's path is the same for every test: records of drops name it.
    """

    def __init__(self, place: Path) -> None:
        self.folder = place / "project"
        self._saved = place / "saved"
        self._runs: list[DebugRunPayload] = []
        self._drops: list[str] = []

    def put_back(self) -> Path:
        """Restore the folder; before the preparation there is none."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        if self._saved.exists():
            shutil.copytree(self._saved, self.folder, symlinks=True)
        return self.folder

    def fill(
        self, prepare: Callable[[], object], *, instance: dg.DagsterInstance | None = None
    ) -> None:
        """Prepare the first time and save what came of it; later fill only the instance.

        An instance on the disk is part of the folder: it is not given, and closed when this ends.
        """
        if self._saved.exists():
            if instance:
                self._tell(instance)
            return
        prepare()
        if instance:
            self._drops = list(instance.get_dynamic_partitions("drops"))
            runs = reversed(instance.get_runs())  # the oldest first
            self._runs = [DebugRunPayload.build(instance, run) for run in runs]
        shutil.copytree(self.folder, self._saved, symlinks=True)

    def _tell(self, instance: dg.DagsterInstance) -> None:
        """Enter the saved runs as ``dagster debug import`` does."""
        add_drop_keys(instance, self._drops)
        for payload in self._runs:
            run = payload.dagster_run
            for snapshot in (payload.execution_plan_snapshot, payload.job_snapshot):
                instance.add_snapshot(snapshot)
            instance.add_run(run)
            for event in payload.event_list:
                instance.store_event(event)
