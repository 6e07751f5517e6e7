"""One large PUT to a signed address: as slow as the line is, and given up when no byte moves.

obstore limits a put by its whole time or not at all: its limit for stalled reads runs while a body is
being sent, too.
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
_LOOK_EVERY_S = 0.5
# A server writes 64 MiB to its disks before it answers, and a proxy may pass them on more slowly.
_ANSWER_STALLS = 3
# Servers close idle connections, the hastiest after 5 s.
_IDLE_S = 4.0
_MOST_IDLE = 8
_MOST_ANSWER_BYTES = 2**20


@dataclass(frozen=True)
class UploadAnswer:
    """What a server answered: its status, and the beginning of what it says."""

    status: int
    reason: str
    text: str


@dataclass
class _Line:
    """A connection to one server, straight or through a proxy."""

    connection: http.client.HTTPConnection
    wants_whole_address: bool  # of a proxy that is asked in plain HTTP
    headers: dict[str, str]
    last_used: float = 0.0


class Uploader:
    """Sends objects whole, each in one request, and keeps connections for the next."""

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._idle: dict[str, list[_Line]] = {}
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
        """PUT to a signed address; None where the way there is none that this can take.

        Raises:
            OSError: no connection, it broke off, or no byte moved for ``stall_s`` (TimeoutError).
        """
        address = urlsplit(url)
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        headers = {
            "Content-Length": str(len(data)),
            # Servers compare it; a signed address says nothing about the body.
            "Content-MD5": base64.b64encode(md5).decode(),
            **headers,
        }
        idle = self._take(address)
        if idle is not None:
            try:
                return self._send(idle, address, data, headers, note_progress)
            except TimeoutError:
                raise
            except OSError:
                pass  # closed meanwhile, as idle connections are
        line = _open(address, self._limits)
        return None if line is None else self._send(line, address, data, headers, note_progress)

    def _take(self, address: SplitResult) -> _Line | None:
        with self._lock:
            lines = self._idle.get(address.netloc, [])
            while lines:
                line = lines.pop()
                if time.monotonic() - line.last_used < _IDLE_S:
                    return line
                line.connection.close()
        return None

    def _give_back(self, line: _Line, address: SplitResult) -> None:
        line.last_used = time.monotonic()
        with self._lock:
            lines = self._idle.setdefault(address.netloc, [])
            if len(lines) < _MOST_IDLE:
                lines.append(line)
                return
        line.connection.close()

    def _send(
        self,
        line: _Line,
        address: SplitResult,
        data: bytes,
        headers: dict[str, str],
        note_progress: Callable[[], None],
    ) -> UploadAnswer:
        connection = line.connection
        is_reusable = False
        try:
            path = f"{address.path or '/'}?{address.query}"
            target = (
                f"{address.scheme}://{address.netloc}{path}" if line.wants_whole_address else path
            )
            connection.putrequest("PUT", target, skip_accept_encoding=True)
            for name, value in (line.headers | headers).items():
                connection.putheader(name, value)
            connection.endheaders()
            is_whole = self._send_body(connection, data, note_progress)
            response = connection.getresponse()
            text = response.read(_MOST_ANSWER_BYTES).decode(errors="replace")
            is_reusable = is_whole and response.isclosed() and not response.will_close
            return UploadAnswer(response.status, response.reason, text)
        except http.client.HTTPException as err:
            raise ConnectionError(f"no answer of HTTP: {type(err).__name__}") from err
        finally:
            if is_reusable:
                self._give_back(line, address)
            else:
                connection.close()

    def _send_body(
        self,
        connection: http.client.HTTPConnection,
        data: bytes,
        note_progress: Callable[[], None],
    ) -> bool:
        """Send all and wait for the answer; tells whether all was sent, else the answer came before.

        A piece is sent once the system has taken it, and may lie there for long: what counts in the end
        are the bytes that the other side has acknowledged.
        """
        line = connection.sock
        view = memoryview(data)
        try:
            for start in range(0, len(view), _PIECE_BYTES):
                connection.send(view[start : start + _PIECE_BYTES])
                note_progress()
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses answers before it has read all, and closes.
            if not _can_read(line, 0):
                raise
            return False
        waiting, since = _count_waiting(line), time.monotonic()
        while not _can_read(line, _LOOK_EVERY_S):
            now, still = time.monotonic(), _count_waiting(line)
            if still < waiting:
                waiting, since = still, now
                note_progress()
            patience_s = self._limits.stall_s * (1 if still else _ANSWER_STALLS)
            if now - since > patience_s:
                raise TimeoutError(f"no byte for {patience_s:.0f} s")
        return True


def _close(idle: dict[str, list[_Line]]) -> None:
    for lines in idle.values():
        for line in lines:
            line.connection.close()


def _can_read(line: socket.socket, within_s: float) -> bool:
    if isinstance(line, ssl.SSLSocket) and line.pending():
        return True
    poll = select.poll()  # `select` itself ends at 1,024 open files
    poll.register(line, select.POLLIN)
    return bool(poll.poll(1000 * within_s))


def _count_waiting(line: socket.socket) -> int:
    """Count the bytes that the other side has not acknowledged; 0 where the system does not say it."""
    try:
        answer = fcntl.ioctl(line.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, AttributeError):
        return 0
    return int(struct.unpack("i", answer)[0])


def _open(address: SplitResult, limits: RequestLimits) -> _Line | None:
    """Connect, through the proxy that the environment names; None where that is of another kind."""
    host, is_safe = address.hostname or "", address.scheme == "https"
    proxies = urllib.request.getproxies()
    spelled = proxies.get(address.scheme) or proxies.get("all")
    if spelled and urllib.request.proxy_bypass(address.netloc):
        spelled = None
    kind = http.client.HTTPSConnection if is_safe else http.client.HTTPConnection
    if not spelled:
        line = _Line(kind(host, address.port, timeout=limits.connect_s), False, {})
        return _connect(line, limits)
    proxy = urlsplit(spelled if "://" in spelled else f"http://{spelled}")
    if proxy.scheme != "http" or not proxy.hostname:
        return None
    login = {}
    if proxy.username:
        words = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        login["Proxy-Authorization"] = f"Basic {base64.b64encode(words.encode()).decode()}"
    connection = kind(proxy.hostname, proxy.port or 80, timeout=limits.connect_s)
    if is_safe:
        connection.set_tunnel(host, address.port or 443, headers=login)
        login = {}
    return _connect(_Line(connection, not is_safe, login), limits)


def _connect(line: _Line, limits: RequestLimits) -> _Line | None:
    try:
        line.connection.connect()
    except ssl.SSLError:
        return None  # obstore has roots of trust of its own, and its own words for what is wrong
    line.connection.sock.settimeout(limits.stall_s)
    return line
