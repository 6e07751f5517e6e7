"""The services that are compared, each a process of its own on loopback."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx

from dino_assets_tests.bench.serving_place import CPUS, Place, make_environment, make_folder
from dino_assets_tests.worlds.servers import HOST, free_port, running

LITSERVE = ("litserve==0.2.19", "pyzmq==27.3.0")


def install_litserve(folder: Path) -> str:
    """Where LitServe is, for PYTHONPATH; installed into ``folder`` where it is not here.

    Its other requirements are this project's own, so nothing of what is installed changes.
    """
    if find_spec("litserve"):
        return ""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "0"]
    command = [*pip, "install", "-q", "--no-deps", "--target", str(folder), *LITSERVE]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return str(folder)


@contextmanager
def serve_ours(place: Place) -> Iterator["Peer"]:
    """Our service as a stranger starts it; only its queue takes what the others' unbounded ones do."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "dino_assets.serving.app:app", "--port", str(port)]
    env = make_environment(place, DINO_MODEL_ID=str(place.weights), DINO_QUEUE_S="3600")
    with _serve(place, "ours", command, port, env, ready="/ready") as peer:
        yield peer


@contextmanager
def serve_litserve(place: Place, packages: str, *, workers: int, batch: int) -> Iterator["Peer"]:
    """LitServe with so many workers, each with its part of the processors, and so large batches."""
    port = free_port()
    options = {
        "port": port,
        "weights": str(place.weights),
        "cache": str(place.cache),
        "folder": str(make_folder(place, f"litserve-{workers}")),
        "workers": workers,
        "threads": CPUS,
        "batch": batch,
    }
    module = "dino_assets_tests.bench.serving_litserve"
    command = [sys.executable, "-m", module, json.dumps(options)]
    env = make_environment(place, PYTHONPATH=packages)
    with _serve(place, f"litserve-{workers}", command, port, env, ready="/health") as peer:
        yield peer


@contextmanager
def serve_documents(place: Place) -> Iterator["Peer"]:
    """The documents' program."""
    port = free_port()
    module = "dino_assets_tests.bench.serving_documents:app"
    command = [sys.executable, "-m", "uvicorn", module, "--port", str(port)]
    env = make_environment(
        place,
        DOCUMENTS_WEIGHTS=str(place.weights),
        DOCUMENTS_FOLDER=str(make_folder(place, "documents")),
    )
    with _serve(place, "documents", command, port, env, ready="/health") as peer:
        yield peer


@contextmanager
def measure_engine(place: Place, picture: Path) -> Iterator["EngineProcess"]:
    """A process that measures the machine whenever it is asked."""
    options = {
        "weights": str(place.weights),
        "cache": str(place.cache),
        "picture": str(picture),
        "threads": CPUS,
    }
    module = "dino_assets_tests.bench.serving_engine"
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", module, json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=make_environment(place),
                text=True,
            )
        )
        stack.callback(process.kill)
        yield EngineProcess(process, json.loads(_read_line(process))["engine"])


@dataclass(frozen=True)
class EngineProcess:
    """The process, and the name of the engine that it has."""

    process: "subprocess.Popen[str]"
    engine: str

    def measure(self) -> dict[str, float]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(_read_line(self.process))


def _read_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the engine's process ended with {process.wait()}"
    return line


@dataclass(frozen=True)
class Peer:
    """A service that runs; between its turns its processes are stopped, so that they take nothing."""

    url: str
    group: int  # of its processes

    @contextmanager
    def awake(self) -> Iterator[str]:
        os.killpg(self.group, signal.SIGCONT)
        try:
            yield self.url
        finally:
            os.killpg(self.group, signal.SIGSTOP)

    def cpu_s(self) -> float:
        """CPU seconds that its processes have used."""
        ticks = 0
        for file in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = file.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.group:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def _serve(
    place: Place, name: str, command: list[str], port: int, env: dict[str, str], *, ready: str
) -> Iterator[Peer]:
    """A service that is ready, and stopped until its turn."""
    url, log = f"http://{HOST}:{port}", place.root / f"{name}.log"
    folder = make_folder(place, name)
    with running(command, url=f"{url}/health", log=log, env=env, cwd=folder) as process:
        deadline = time.monotonic() + 120
        while httpx.get(f"{url}{ready}", timeout=60).status_code != 200:
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGSTOP)
        try:
            yield Peer(url, process.pid)
        finally:
            os.killpg(process.pid, signal.SIGCONT)
