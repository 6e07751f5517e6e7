"""Opening Dagster's instance."""

import subprocess
import sys

import dagster as dg
import pytest

from dino_assets.defs.instance import instance_home, open_instance
from dino_assets.defs.partitions import add_drop_keys
from dino_assets.errors import ConfigError, DiskFullError
from dino_assets_tests.worlds.raising import raising

# Imported once, then four processes open an empty instance at the same moment, again and again.
OPEN = """
import os, shutil, time
from pathlib import Path
import alembic.command, dagster, sqlalchemy.dialects.sqlite
from dino_assets.defs.instance import open_instance
for _ in range(6):
    shutil.rmtree(".dagster", ignore_errors=True)
    at, children = time.time() + 0.1, []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            while time.time() < at:
                pass
            with open_instance(Path.cwd()) as instance:
                os._exit(len(instance.get_dynamic_partitions("drops")))
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    with open_instance(Path.cwd()) as instance:
        assert instance.get_runs_count() == 0
"""


@pytest.mark.slow
def test_open_instance__first_starts_at_once(project):
    """Without the lock, an empty SQLite instance that is opened twice at once stays broken."""
    process = subprocess.run([sys.executable, "-c", OPEN], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


def test_open_instance__stays_in_the_folder(project):
    with open_instance(project) as instance:
        assert add_drop_keys(instance, ["a"]) == ["a"]
    assert {p.name for p in project.iterdir()} == {"dagster.yaml", "workspace.yaml", ".dagster"}
    with open_instance(project) as instance:
        assert instance.get_dynamic_partitions("drops") == ["a"]


def test_open_instance__full_disk_or_not_writable(project, small_disk):
    (project / ".dagster").symlink_to(small_disk)
    (small_disk / "fill").write_bytes(bytes(2**20 - 2**14))
    with raising(DiskFullError, match="Free some"), open_instance(project):
        pass
    (small_disk / "fill").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with raising(ConfigError, reason="not-writable"), open_instance(project):
        pass


def test_open_instance__from_a_sub_folder(project, monkeypatch):
    """Dagster resolves relative folders in the working directory; they must be the project's."""
    (project / "sub").mkdir()
    monkeypatch.chdir(project / "sub")
    with open_instance(project) as instance:
        add_drop_keys(instance, ["a"])
    assert list((project / "sub").iterdir()) == []
    assert (project / ".dagster" / "storage").is_dir()
    monkeypatch.chdir(project)
    with open_instance(project) as instance:
        assert instance.get_dynamic_partitions("drops") == ["a"]


def test_open_instance__no_project(tmp_path):
    with (
        raising(ConfigError, reason="no-instance", match="Run this in the project's folder"),
        open_instance(tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_open_instance__a_damaged_database(project):
    with open_instance(project):
        pass
    for path in (project / ".dagster" / "storage").rglob("*.db"):
        path.write_bytes(b"not a database" * 100)
    with (
        raising(ConfigError, reason="instance", match="move the folder .dagster away"),
        open_instance(project),
    ):
        pass


def test_open_instance__two_runs_at_once(project):
    with open_instance(project) as instance:
        queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None
    assert (queue.max_concurrent_runs, queue.tag_concurrency_limits) == (2, [])


def test_instance_home__dagster_home_before_the_project(project, tmp_path, monkeypatch):
    assert instance_home(project) == project
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert instance_home(project) == tmp_path


def test_add_drop_keys__long_lists_and_repeats(instance: dg.DagsterInstance):
    names = [f"d{n:04d}" for n in range(1203)]
    assert add_drop_keys(instance, names) == names
    assert add_drop_keys(instance, [*names, "new"]) == ["new"]
    assert len(instance.get_dynamic_partitions("drops")) == 1204
