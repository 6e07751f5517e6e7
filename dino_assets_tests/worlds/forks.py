"""Processes forked from one that has imported everything: they start in 0.1 s instead of 2 s."""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import pytest

# Nothing opens a store, a thread or a connection while it is imported. pyarrow imports pandas with its
# first table, 0.3 s in every process.
_MODULES = [
    "pandas",
    "uvicorn",
    "dino_assets_tests.worlds.serving_process",
    "dino_assets_tests.worlds.writer_process",
]
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(_MODULES)


def start_forked(
    target: Callable[..., None], *given: object, **named: object
) -> multiprocessing.process.BaseProcess:
    """Start a process that calls a function."""
    # Python 3.11 does not give its own path to the server of forks, which then imports nothing, silently.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        forkserver.ensure_running()
    process = _PROCESSES.Process(target=target, args=given, kwargs=named, daemon=True)
    process.start()
    return process


class Forked:
    """A forked process in a group of its own, with the methods of ``subprocess.Popen`` that tests use."""

    def __init__(
        self, work: Callable[..., None], *given: object, log: Path, env: dict[str, str], cwd: Path
    ) -> None:
        self._process = start_forked(_run, work, given, log, env, cwd)

    @property
    def pid(self) -> int:
        return int(self._process.pid or 0)

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self) -> None:
        """End the process and its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.join()


def _run(
    work: Callable[..., None], given: tuple[object, ...], log: Path, env: dict[str, str], cwd: Path
) -> None:
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    work(*given)
