"""A line to a server on loopback, by a relay that slows down, falls silent, breaks off or is away."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from dino_assets_tests.worlds.servers import HOST, free_port

_PIECE_BYTES = 4096
# Small, so that a sender notices soon what the relay does.
_BUFFER_BYTES = 16 * 2**10


@dataclass
class Line:
    """The relay's address, and what it does with the bytes of its n-th connection (from 1)."""

    endpoint: str
    port: int
    bytes_per_s: float | None = None
    silent_after: Callable[[int], int | None] = lambda n: None
    reset_after: Callable[[int], int | None] = lambda n: None
    connections: int = 0
    has_come: threading.Event = field(default_factory=threading.Event)
    _listener: socket.socket | None = None
    _to: tuple[str, int] = ("", 0)
    _open: list[socket.socket] = field(default_factory=list)

    def go_away(self) -> None:
        """Refuse connections, and break those that there are."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def come_back(self) -> None:
        """Accept connections again."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        listener.bind((HOST, self.port))
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self.has_come.set()
            try:
                server = socket.create_connection(self._to)
            except OSError:
                client.close()
                continue
            self._open += [client, server]
            number = self.connections
            for route in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._relay, args=(*route, number), daemon=True).start()

    def _relay(self, source: socket.socket, to: socket.socket, is_up: bool, number: int) -> None:
        silent_after = self.silent_after(number) if is_up else None
        reset_after = self.reset_after(number) if is_up else None
        passed_bytes = 0
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE_BYTES):
                to.sendall(data)
                passed_bytes += len(data)
                if reset_after is not None and passed_bytes >= reset_after:
                    break
                if silent_after is not None and passed_bytes >= silent_after:
                    return  # both stay open, and nothing is read any more
                if is_up and self.bytes_per_s:
                    time.sleep(len(data) / self.bytes_per_s)
        for end in (source, to):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def line_to(endpoint: str) -> Iterator[Line]:
    """Run a relay to a server."""
    address = urlsplit(endpoint)
    port = free_port()
    line = Line(f"http://{HOST}:{port}", port, _to=(str(address.hostname), int(address.port or 80)))
    line.come_back()
    try:
        yield line
    finally:
        line.go_away()
        for each in line._open:
            each.close()
