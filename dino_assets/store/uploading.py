"""Upload of a large object by one PUT to a signed address.

The whole upload has no time limit: it is ended only when no byte moves for a while. obstore is not used,
because it can only limit the total time of a put. A signed address contains a signature, so that no other
credentials are needed.
"""

import base64
import fcntl
import hashlib
import http.client
import select
import socket
import ssl
import struct
import termios
import threading
import time
import urllib.request
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from dino_assets.settings.records import RequestLimits

_PIECE_BYTES = 64 * 2**10
_POLL_EVERY_S = 0.5
# The answer may take this many times ``stall_s``: the server first writes up to 64 MiB to its disks,
# and a proxy may forward them slowly.
_ANSWER_STALLS = 3
# Servers close idle connections, some after 5 s.
_IDLE_S = 4.0
_MOST_IDLE = 8
_MOST_ANSWER_BYTES = 2**20


@dataclass(frozen=True)
class UploadAnswer:
    """A server's response: its status, and the beginning of its body."""

    status: int
    reason: str
    text: str


@dataclass
class _Connection:
    """A connection to one server, direct or through a proxy."""

    http: http.client.HTTPConnection
    wants_whole_address: bool  # for a plain HTTP proxy
    headers: dict[str, str]
    last_used: float = 0.0


class Uploader:
    """Uploads objects in one request each, and keeps connections for later requests."""

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._idle: dict[str, list[_Connection]] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._idle)

    def put(
        self,
        url: str,
        data: bytes,
        *,
        headers: dict[str, str],
        note_progress: Callable[[], None],
    ) -> UploadAnswer | None:
        """PUT an object to a signed address. Return None if the proxy or the certificate is not supported.

        Raises:
            OSError: the connection failed or was interrupted, or no byte moved for ``stall_s``
                (TimeoutError).
        """
        address = urlsplit(url)
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        headers = {
            "Content-Length": str(len(data)),
            # Servers check it; the signature of an address does not cover the body.
            "Content-MD5": base64.b64encode(md5).decode(),
            **headers,
        }
        idle = self._take_idle(address)
        if idle is not None:
            try:
                return self._send(idle, address, data, headers, note_progress)
            except TimeoutError:
                raise
            except OSError:
                pass  # the server has closed the idle connection
        connection = _open(address, self._limits)
        if connection is None:
            return None
        return self._send(connection, address, data, headers, note_progress)

    def _take_idle(self, address: SplitResult) -> _Connection | None:
        with self._lock:
            idle = self._idle.get(address.netloc, [])
            while idle:
                connection = idle.pop()
                if time.monotonic() - connection.last_used < _IDLE_S:
                    return connection
                connection.http.close()
        return None

    def _keep_idle(self, connection: _Connection, address: SplitResult) -> None:
        connection.last_used = time.monotonic()
        with self._lock:
            idle = self._idle.setdefault(address.netloc, [])
            if len(idle) < _MOST_IDLE:
                idle.append(connection)
                return
        connection.http.close()

    def _send(
        self,
        connection: _Connection,
        address: SplitResult,
        data: bytes,
        headers: dict[str, str],
        note_progress: Callable[[], None],
    ) -> UploadAnswer:
        is_reusable = False
        try:
            path = f"{address.path or '/'}?{address.query}"
            whole = f"{address.scheme}://{address.netloc}{path}"
            target = whole if connection.wants_whole_address else path
            connection.http.putrequest("PUT", target, skip_accept_encoding=True)
            for name, value in (connection.headers | headers).items():
                connection.http.putheader(name, value)
            connection.http.endheaders()
            is_whole = self._send_body(connection.http, data, note_progress)
            response = connection.http.getresponse()
            text = response.read(_MOST_ANSWER_BYTES).decode(errors="replace")
            is_reusable = is_whole and response.isclosed() and not response.will_close
            return UploadAnswer(response.status, response.reason, text)
        except http.client.HTTPException as err:
            raise ConnectionError(f"the response is not HTTP: {type(err).__name__}") from err
        finally:
            if is_reusable:
                self._keep_idle(connection, address)
            else:
                connection.http.close()

    def _send_body(
        self,
        connection: http.client.HTTPConnection,
        data: bytes,
        note_progress: Callable[[], None],
    ) -> bool:
        """Send the body and wait for a response. Return False if the response came before all was sent.

        The operating system buffers pieces, possibly for long. Progress after the last piece is therefore
        measured by the bytes that the other side has acknowledged.
        """
        socket_ = connection.sock
        view = memoryview(data)
        try:
            for start in range(0, len(view), _PIECE_BYTES):
                connection.send(view[start : start + _PIECE_BYTES])
                note_progress()
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses the upload answers early and closes the connection.
            if not _can_read(socket_, 0):
                raise
            return False
        unacknowledged, since = _count_unacknowledged(socket_), time.monotonic()
        while not _can_read(socket_, _POLL_EVERY_S):
            now, remaining = time.monotonic(), _count_unacknowledged(socket_)
            if remaining < unacknowledged:
                unacknowledged, since = remaining, now
                note_progress()
            patience_s = self._limits.stall_s * (1 if remaining else _ANSWER_STALLS)
            if now - since > patience_s:
                raise TimeoutError(f"no byte moved for {patience_s:.0f} s")
        return True


def _close(idle: dict[str, list[_Connection]]) -> None:
    for connections in idle.values():
        for connection in connections:
            connection.http.close()


def _can_read(socket_: socket.socket, within_s: float) -> bool:
    if isinstance(socket_, ssl.SSLSocket) and socket_.pending():
        return True
    poll = select.poll()  # `select.select` is limited to 1,024 open files
    poll.register(socket_, select.POLLIN)
    return bool(poll.poll(1000 * within_s))


def _count_unacknowledged(socket_: socket.socket) -> int:
    """Count the sent bytes that the other side has not acknowledged; 0 where the system cannot say."""
    try:
        answer = fcntl.ioctl(socket_.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, AttributeError):
        return 0
    return int(struct.unpack("i", answer)[0])


def _open(address: SplitResult, limits: RequestLimits) -> _Connection | None:
    """Connect, through the environment's proxy if there is one.

    Return None if the proxy is not an HTTP proxy, or if the connection cannot be made with TLS.
    """
    host, is_safe = address.hostname or "", address.scheme == "https"
    proxies = urllib.request.getproxies()
    spelled = proxies.get(address.scheme) or proxies.get("all")
    if spelled and urllib.request.proxy_bypass(address.netloc):
        spelled = None
    kind = http.client.HTTPSConnection if is_safe else http.client.HTTPConnection
    if not spelled:
        direct = kind(host, address.port, timeout=limits.connect_s)
        return _connect(_Connection(direct, False, {}), limits)
    proxy = urlsplit(spelled if "://" in spelled else f"http://{spelled}")
    if proxy.scheme != "http" or not proxy.hostname:
        return None
    login = {}
    if proxy.username:
        words = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        login["Proxy-Authorization"] = f"Basic {base64.b64encode(words.encode()).decode()}"
    proxied = kind(proxy.hostname, proxy.port or 80, timeout=limits.connect_s)
    if is_safe:
        proxied.set_tunnel(host, address.port or 443, headers=login)
        login = {}
    return _connect(_Connection(proxied, not is_safe, login), limits)


def _connect(connection: _Connection, limits: RequestLimits) -> _Connection | None:
    try:
        connection.http.connect()
    except ssl.SSLError:
        return None  # obstore then tries with its own root certificates, and explains what is wrong
    connection.http.sock.settimeout(limits.stall_s)
    return connection
