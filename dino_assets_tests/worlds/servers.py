"""Real servers on loopback for the tests: started as processes, asked until they answer, ended."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

HOST = "127.0.0.1"


class Process(Protocol):
    """What is asked of a server's process while it starts."""

    def poll(self) -> int | None: ...


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    url: str,
    log: Path,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 90,
    patience_s: float = 10,
) -> Iterator["subprocess.Popen[bytes]"]:
    """A server process (its whole group ends with the block), once ``url`` answers anything."""
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=sink, env=env, cwd=cwd, start_new_session=True
        )
    try:
        wait_until_it_answers(process, url, log, timeout_s)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_it_answers(process: Process, url: str, log: Path, timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended at once:\n{log.read_text()[-4000:]}")
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"no answer from {url} in {timeout_s} s:\n{log.read_text()[-4000:]}")


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """A real HTTP S3 server (moto); yields its endpoint."""
    port = free_port()
    endpoint = f"http://{HOST}:{port}"
    command = [str(Path(sys.executable).parent / "moto_server"), "-H", HOST, "-p", str(port)]
    with running(command, url=endpoint, log=folder / "moto.log"):
        yield endpoint


@contextlib.contextmanager
def silent_server() -> Iterator[tuple[str, Callable[[], object]]]:
    """A server that lets clients connect and never answers; its address, and a wait for the first client."""
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(90)
        clients = []

        def wait_for_client() -> None:
            clients.append(listener.accept()[0])

        try:
            yield f"http://{HOST}:{listener.getsockname()[1]}", wait_for_client
        finally:
            for client in clients:
                client.close()
