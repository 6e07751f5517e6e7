"""Target folders and processes: killed at every step, and two at once."""

import contextlib
import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dino_assets.weights.hub.listings import RECORD
from dino_assets.weights.hub.locating import locate_directory
from dino_assets_tests.conftest import REPOSITORY
from dino_assets_tests.worlds.finding import find_checkpoint
from dino_assets_tests.worlds.hub_server import HubServer, hub_for_test
from dino_assets_tests.worlds.published import damage

REPO = "org/model"
NAME = "model.safetensors"
BIG = 20_000_000
OLD = {NAME: np.random.default_rng(0).bytes(3_000_000), "config.json": b'{"version": 1}'}
NEW = {NAME: np.random.default_rng(1).bytes(BIG), "config.json": b'{"version": 2}'}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with hub_for_test(monkeypatch, tmp_path) as server:
        server.add(REPO, OLD)
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "teacher"


@contextlib.contextmanager
def fetching(folder: Path, **order: object) -> Iterator[subprocess.Popen]:
    order = {"model": REPO, "root": str(folder.parent), "into": str(folder), **order}
    module = "dino_assets_tests.worlds.root_process"
    command = [sys.executable, "-m", module, json.dumps(order)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != RECORD}


def storage(hub: HubServer) -> list[str | None]:
    return [
        hub_request.range for hub_request in hub.bodies(NAME) if hub_request.host == "localhost"
    ]


def is_valid(folder: Path) -> bool:
    return locate_directory("x", folder).bring() == folder


@pytest.mark.parametrize("at", [0.0, 0.5, 1.0])
def test_target_folder__killed_in_a_second_fetch(hub, folder, at):
    find_checkpoint(REPO, root=folder.parent, into=folder)
    hub.add(REPO, NEW)
    with fetching(folder, die_at=at * BIG) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert contents(folder) == OLD
    assert is_valid(folder)
    parts = list((folder.parent / ".teacher.fetching" / "parts").glob("*.part"))
    part_bytes = parts[0].stat().st_size if parts else 0
    hub.asked.clear()
    with fetching(folder) as process:
        assert process.communicate(timeout=60)[0].strip() == str(folder)
    assert contents(folder) == NEW
    if 0 < part_bytes < BIG:
        assert storage(hub) == [f"bytes={part_bytes}-"]
    assert at in (0.0, 1.0) or part_bytes > 0
    assert not (folder.parent / ".teacher.fetching").exists()


def test_target_folder__killed_before_the_exchange(hub, folder):
    find_checkpoint(REPO, root=folder.parent, into=folder)
    hub.add(REPO, NEW)
    with fetching(folder, die="before the exchange") as process:
        assert process.wait(60) == -signal.SIGKILL
    assert contents(folder) == OLD
    assert is_valid(folder)
    hub.asked.clear()
    find_checkpoint(REPO, root=folder.parent, into=folder)
    assert contents(folder) == NEW
    assert [hub_request.path for hub_request in hub.asked] == [f"/api/models/{REPO}/revision/main"]


def test_target_folder__killed_after_the_exchange(hub, folder):
    find_checkpoint(REPO, root=folder.parent, into=folder)
    hub.add(REPO, NEW)
    with fetching(folder, die="after the exchange") as process:
        assert process.wait(60) == -signal.SIGKILL
    assert contents(folder) == NEW
    assert is_valid(folder)
    find_checkpoint(REPO, root=folder.parent, into=folder)
    assert contents(folder) == NEW
    assert not (
        folder.parent / ".teacher.fetching"
    ).exists()  # or the old checkpoint would stay for ever


def test_target_folder__killed_while_replacing_a_damaged_checkpoint(hub, folder):
    hub.add(REPO, NEW)
    find_checkpoint(REPO, root=folder.parent, into=folder)
    damage(folder / NAME, "truncated")
    damaged_files = contents(folder)
    with fetching(folder, die_at=BIG // 2) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert contents(folder) == damaged_files  # never a part of the new one
    find_checkpoint(REPO, root=folder.parent, into=folder)
    assert contents(folder) == NEW


def test_target_folder__two_processes_fetch_once(hub, folder):
    find_checkpoint(REPO, root=folder.parent, into=folder)
    hub.add(REPO, NEW)
    hub.asked.clear()
    workplace = folder.parent / ".teacher.fetching"
    workplace.mkdir()
    with (workplace / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with fetching(folder) as first_process, fetching(folder) as second_process:
            deadline = time.monotonic() + 60
            while sum("/revision/" in hub_request.path for hub_request in hub.asked) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert storage(hub) == []
            fcntl.flock(lock, fcntl.LOCK_UN)
            for process in (first_process, second_process):
                assert process.communicate(timeout=60)[0].strip() == str(folder)
                assert process.returncode == 0
    assert storage(hub) == [None]
    assert sum(hub_request.sent for hub_request in hub.bodies(NAME)) == BIG
    assert contents(folder) == NEW
    assert not workplace.exists()
