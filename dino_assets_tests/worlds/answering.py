"""An HTTP server on loopback that answers as the test says: for errors no real server gives on call."""

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Answering:
    """The server's address, and the requests that reached it."""

    endpoint: str
    requests: list[str] = field(default_factory=list)


def answer(handler, code: int, body: bytes = b"", **headers: str) -> None:
    """One whole answer of an S3 server."""
    handler.send_response(code)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Last-Modified", "Tue, 21 Oct 2025 07:28:00 GMT")
    handler.send_header("ETag", '"e"')
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


@contextlib.contextmanager
def answering(respond: Callable[..., None]) -> Iterator[Answering]:
    """Run ``respond(handler, number of this request)`` for every request."""
    answers = Answering("")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answers.requests.append(self.command)
            with contextlib.suppress(OSError):  # the client gave up, as some tests want it to
                respond(self, len(answers.requests))

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = respond

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    answers.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield answers
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
