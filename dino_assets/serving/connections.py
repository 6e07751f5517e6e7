"""Connections on which no request comes: uvicorn waits for the head of one for ever and takes any size."""

import asyncio
import signal
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 30.0  # for a whole head; the body has limits of its own
HEAD_BYTES = 64 * 1024

_TOO_SLOW = b"408 Request Timeout"
_TOO_LONG = b"431 Request Header Fields Too Large"


class TimedConnection(HttpToolsProtocol):
    """A connection of uvicorn's that is closed unless a request's head comes in time and is short."""

    head_s = HEAD_S
    _is_in_head = False
    _head_bytes = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the clock for the first request."""
        super().connection_made(transport)
        self._set_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what has come, then look whether a request is under way."""
        super().data_received(data)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(_TOO_LONG)
        # A request that is answered already may still send its body: nobody waits for that for ever.
        if self._is_in_head or self.cycle is None or self.cycle.response_complete:
            self._set_timer()
        else:
            self._stop_timer()

    def on_message_begin(self) -> None:
        """Count what belongs to this head."""
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """The head is whole: from here on the body's limits hold."""
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
    """Have the uvicorn that starts this service take such connections, where it is one with httptools.

    It asks for the kind of its connections after the service's lifespan has begun, and is found as the
    owner of the handler of SIGTERM. Another server has limits of its own.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    config: Any = getattr(server, "config", None)
    if getattr(config, "http_protocol_class", None) is HttpToolsProtocol:
        config.http_protocol_class = kind
