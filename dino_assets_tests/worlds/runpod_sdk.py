"""RunPod's SDK beside what is installed, its worker as a process, and a stub of its job server."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue

SDK = "runpod==1.12.0"
# After what is installed: it brings other versions of much.
START = "import sys; sys.path.append(sys.argv.pop(1)); from dino_assets.serving.handler import main; main()"


def install_sdk(folder: Path) -> Path:
    """Install the SDK into a folder; raises CalledProcessError where it cannot be had."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "0"]
    command = [*pip, "install", "-q", "--target", str(folder), SDK]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


@contextmanager
def running_worker(
    sdk: Path, log: Path, *arguments: str, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The endpoint's worker, as a container starts it."""
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-c", START, str(sdk), *arguments],
            stdout=sink,
            stderr=sink,
            env={**os.environ, "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", **environment},
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(eq=False)
class JobServer:
    """Hands out jobs one by one, and keeps what comes back."""

    url: str = ""
    jobs: "SimpleQueue[dict[str, object]]" = field(default_factory=SimpleQueue)
    results: "SimpleQueue[tuple[str, object]]" = field(default_factory=SimpleQueue)

    @property
    def environment(self) -> dict[str, str]:
        """What a container of RunPod is told."""
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{self.url}/job-take/$ID",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{self.url}/done/$ID?gpu=none",
            "RUNPOD_WEBHOOK_PING": f"{self.url}/ping",
            "RUNPOD_AI_API_KEY": "a-key",
        }


@contextmanager
def serving_jobs() -> Iterator[JobServer]:
    """A job server on this machine."""
    jobs = JobServer()

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            job = None
            if "/job-take" in self.path:
                try:
                    job = jobs.jobs.get(timeout=0.5)
                except Empty:
                    job = None
            batch = [job] if job and "job-take-batch" in self.path else job
            self._answer(json.dumps(batch) if job else None)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
            if self.path.startswith("/done/"):
                jobs.results.put((self.path.split("/")[2].partition("?")[0], json.loads(body)))
            self._answer("{}")

        def _answer(self, text: str | None) -> None:
            self.send_response(204 if text is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text or "")))
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    jobs.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield jobs
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
