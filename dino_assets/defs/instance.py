"""Opening of Dagster's instance, under a lock: two first starts at the same time would corrupt it."""

import fcntl
import re
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import dagster as dg

from dino_assets.errors import ConfigError, DiskFullError
from dino_assets.settings.environment import dagster_home

# Error texts of the operating system and of SQLite.
FULL_DISK = re.compile(r"No space left|disk is full|Disk quota exceeded")
NOT_WRITABLE = re.compile(r"Permission denied|Read-only file system|readonly database")


@contextmanager
def open_instance(root: Path, *, home: Path | None = None) -> Iterator[dg.DagsterInstance]:
    """Open the instance in ``home``; by default in ``DAGSTER_HOME``, else in the project's folder.

    If two processes open an empty SQLite instance at the same time, it stays broken ("more than one
    head"). So our processes take turns; plain ``dagster`` commands do not use this lock. The block runs in
    ``root``, because Dagster resolves the relative folders of ``dagster.yaml`` in the working directory,
    each time it opens one of its databases.

    Raises:
        ConfigError: there is no instance here, or it cannot be opened or written.
        DiskFullError: the disk is full.
    """
    home = home or instance_home(root)
    if not (home / "dagster.yaml").is_file():
        raise ConfigError(
            f"there is no dagster.yaml in {str(home)!r}. Run this in the project's folder, or set "
            "DAGSTER_HOME to a folder that has one.",
            setting="DAGSTER_HOME",
            value=str(home),
            reason="no-instance",
        )
    with chdir(root), _opened(root, home) as instance:
        yield instance


@contextmanager
def _opened(root: Path, home: Path) -> Iterator[dg.DagsterInstance]:
    try:
        (root / ".dagster").mkdir(exist_ok=True)
        with (root / ".dagster" / "init.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            instance = dg.DagsterInstance.from_config(str(home))
            # Tables are created by the first query, not when the instance is opened.
            instance.get_dynamic_partitions("drops")
            instance.get_runs_count()
            instance.all_instigator_state()
    except Exception as err:
        why = " ".join(str(err).split())[:200]
        if FULL_DISK.search(why):
            raise DiskFullError(
                f"no space left for Dagster's instance in {str(home)!r}. Free some space and run again."
            ) from err
        if NOT_WRITABLE.search(why):
            raise ConfigError(
                f"Dagster's instance in {str(home)!r} cannot be written ({why.split(' [SQL')[0]}). "
                "Check the permissions of its folder, and whether the disk is mounted read-only.",
                reason="not-writable",
            ) from err
        raise ConfigError(
            f"Dagster's instance in {str(home)!r} cannot be opened ({type(err).__name__}: {why}). Check "
            "dagster.yaml. If the database is damaged, move the folder .dagster away and run "
            "`dino-assets doctor`. Committed results stay. The history of runs is lost, and sensors and "
            "schedules must be turned on again.",
            reason="instance",
        ) from err
    with instance:
        yield instance


def instance_home(root: Path) -> Path:
    """Find the folder of ``dagster.yaml``: ``DAGSTER_HOME``, as in all Dagster commands, else ``root``."""
    return dagster_home() or root
