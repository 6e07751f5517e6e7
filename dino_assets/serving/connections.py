"""Limits for the head of an HTTP request (all before its body), since uvicorn has none for time and size."""

import asyncio
import signal
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 30.0  # for a whole head; `requests.bodies` limits the body
HEAD_BYTES = 64 * 1024

_TOO_SLOW = b"408 Request Timeout"
_TOO_LONG = b"431 Request Header Fields Too Large"


class TimedConnection(HttpToolsProtocol):
    """A uvicorn connection that closes if the head of a request arrives too late or is too long."""

    head_s = HEAD_S
    _is_in_head = False
    _head_bytes = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the timer for the first request."""
        super().connection_made(transport)
        self._set_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read the data; run the timer unless a request is being answered."""
        super().data_received(data)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(_TOO_LONG)
        # A request may be answered before its whole body has come: the timer limits the rest.
        if self._is_in_head or self.cycle is None or self.cycle.response_complete:
            self._set_timer()
        else:
            self._stop_timer()

    def on_message_begin(self) -> None:
        """Start to count the bytes of a head."""
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """End the head; from here on the body's limits apply."""
        self._is_in_head = False
        super().on_headers_complete()

    def _set_timer(self) -> None:
        if self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.head_s, self._refuse, _TOO_SLOW)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._is_in_head:
            self.transport.write(
                b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        self.transport.close()


def limit_connections(kind: type[TimedConnection] = TimedConnection) -> None:
    """Set the connection class of the uvicorn server that runs this service, if it uses httptools.

    uvicorn reads the class after the lifespan has begun, so it can be replaced here. The server object is
    found as the owner of the SIGTERM handler. Other servers have limits of their own.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    config: Any = getattr(server, "config", None)
    if getattr(config, "http_protocol_class", None) is HttpToolsProtocol:
        config.http_protocol_class = kind
