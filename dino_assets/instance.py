"""Opening Dagster's instance so that two first starts cannot corrupt it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from dino_assets.settings import dagster_home


@contextmanager
def open_instance(root: Path) -> Iterator[dg.DagsterInstance]:
    """The instance of ``DAGSTER_HOME``, else of the project's folder.

    Two processes that open an empty SQLite instance together leave it broken for good ("more than one
    head"), so ours take turns. Raw ``dagster`` commands do not know this lock.
    """
    home = instance_home(root)
    lock_folder = home / ".dagster"
    lock_folder.mkdir(parents=True, exist_ok=True)
    with (lock_folder / "init.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        instance = dg.DagsterInstance.from_config(str(home))
        # Tables are created by the first question, not by opening.
        instance.get_dynamic_partitions("drops")
        instance.get_runs_count()
        instance.all_instigator_state()
    with instance:
        yield instance


def instance_home(root: Path) -> Path:
    """Where ``dagster.yaml`` is: ``DAGSTER_HOME`` as every Dagster command takes it, else ``root``."""
    return dagster_home() or root
