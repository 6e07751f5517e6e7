"""Request log, request metrics and the headers of every answer.

A request is logged as one line of JSON. The line holds the picture's file name, size and shape. It never
holds pixels, API keys or paths of this machine.
"""

import contextlib
import json
import logging
import queue
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TextIO

from dino_assets.serving.metrics import Metrics
from dino_assets.serving.problems import MEDIA_TYPE, Problem

log = logging.getLogger("dino_assets.serving.requests")

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
ABOUT = "dino_assets.about"  # in a request's scope: further keys of its log line
SCOPE_ID = "dino_assets.request_id"
# An answer that failed after its start. The server closes the connection, so the client sees the failure.
CUT_OFF = "cut-off"
MOST_LINES = 10_000  # some 3 MB that wait to be written
FLUSH_S = 5.0  # at the end of the process
_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
]


def open_log() -> None:
    """Send the request log to stdout, without a prefix, unless its logger has a handler already."""
    if not log.handlers:
        handler = LineWriter(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    # uvicorn's own line contains the address with its query, and is not JSON.
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
    # The answer to the client says what is wrong with a form, so no second log line is needed.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


class LineWriter(logging.Handler):
    """Log handler that writes lines in its own thread: a stalled reader of stdout then blocks no request.

    A pipe holds 64 KiB, about 300 lines. Once it is full, a line written by the event loop would block every
    request. If ``most_lines`` are waiting, further lines are left out, and their number is logged later.
    """

    def __init__(self, stream: TextIO, *, most_lines: int = MOST_LINES) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str] = queue.Queue(most_lines)
        self._left_out = 0
        self._counting = threading.Lock()  # not the handler's own, which is held during `flush`
        threading.Thread(target=self._write, name="request-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a line to the writing thread."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            with self._counting:
                self._left_out += 1

    def flush(self) -> None:
        """Wait until all lines are written, at most ``FLUSH_S``."""
        deadline = time.monotonic() + FLUSH_S
        while self._lines.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.005)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            with self._counting:
                left_out, self._left_out = self._left_out, 0
            if left_out:
                lost = {"time": spell_now(), "event": "lines-left-out", "count": left_out}
                line = f"{json.dumps(lost)}\n{line}"
            # A closed pipe must not end the thread: the queue would fill up.
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(f"{line}\n")
                self._stream.flush()
            self._lines.task_done()


def log_event(event: str, **about: Any) -> None:
    """Log an event of the service itself."""
    log.info(json.dumps({"time": spell_now(), "event": event, **about}))


def spell_now() -> str:
    """Format the current time (UTC) for log lines."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Observing:
    """The outermost middleware: gives every request an id, and logs and counts its answer."""

    def __init__(self, app: Any, *, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        """Answer one request, even if the application raises an error."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        about: dict[str, Any] = {}
        request_id = uuid.uuid4().hex
        scope[ABOUT], scope[SCOPE_ID] = about, request_id
        status, sent = [0], [0]

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                given = {name.lower() for name, _ in message.get("headers", [])}
                extra = [(name, value) for name, value in _ALWAYS if name not in given]
                extra.append((b"x-request-id", request_id.encode()))
                message["headers"] = [*message.get("headers", []), *extra]
            elif message["type"] == "http.response.body":
                sent[0] += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception as err:  # noqa: BLE001 - no later code can answer
            about["error"] = describe_error(err)
            if status[0]:
                about["slug"] = CUT_OFF
            else:
                about["slug"] = "internal-error"
                await send_problem(Problem("internal-error"), request_id, observed)
        finally:
            self._write(scope, about, status[0], sent[0], time.perf_counter() - started)

    def _write(
        self, scope: Message, about: dict[str, Any], status: int, sent: int, seconds: float
    ) -> None:
        route = getattr(scope.get("route"), "path", "none")
        # Without a route the method may be any text that a client sends, so it gets no label of its own.
        method = scope["method"] if route != "none" else "any"
        self._metrics.requests.labels(route, method, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if "slug" in about and about["slug"] != CUT_OFF:
            self._metrics.problems.labels(about["slug"]).inc()
        line = {
            "time": spell_now(),
            "request_id": scope[SCOPE_ID],
            "method": scope["method"],
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
            "sent_bytes": sent,
            **about,
        }
        log.info(json.dumps(line))


async def send_problem(problem: Problem, request_id: str, send: Send) -> None:
    """Send a problem as a raw ASGI answer."""
    body = json.dumps(problem.as_members(request_id)).encode()
    headers = {
        **problem.as_headers(),
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(body)),
    }
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    status = problem.kind.status
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


def describe_error(err: BaseException) -> str:
    """Describe an error by its class and call stack; its text may hold secrets and is left out."""
    frames = traceback.extract_tb(err.__traceback__)
    places = [f"{_name_module(f.filename)}:{f.lineno} {f.name}" for f in frames]
    return " < ".join([type(err).__name__, *reversed(places[-6:])])


def _name_module(path: str) -> str:
    """Shorten a file's path to its last two names, as a module."""
    return ".".join(path.removesuffix(".py").replace("\\", "/").split("/")[-2:])
