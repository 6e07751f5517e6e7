"""HTTP client of the load test. It uses only the standard library, to need little CPU."""

import contextlib
import http.client
import json
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from dino_assets.errors import ConfigError

BOUNDARY = "dino-assets-bench"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True)
class Reply:
    """One HTTP answer; names of ``headers`` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def members(self) -> dict[str, Any]:
        """The members of the body; empty if it is not a JSON object."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


def parse_address(url: str) -> SplitResult:
    """Split an address into its parts; the default scheme is http.

    Raises:
        ConfigError: the address is not of the form ``http://HOST[:PORT][/PATH]``.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        parts, has_port = urlsplit(""), False
    is_plain = not (parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme in ("http", "https") and parts.hostname and has_port and is_plain:
        return parts
    raise ConfigError(
        f"{url!r} is not the address of a service; give one like http://127.0.0.1:8000",
        setting="url",
        value=url,
    )


@dataclass(eq=False)
class Connection:
    """A persistent HTTP connection, as real clients use; reopened if the server closed it."""

    url: str
    key: str = ""
    timeout_s: float = 60.0
    _open: "http.client.HTTPConnection | None" = field(default=None, init=False)
    _is_ended: bool = field(default=False, init=False)

    def ask(
        self, method: str, path: str, *, body: bytes | None = None, content_type: str = ""
    ) -> Reply:
        """Send one request and read its answer.

        Raises:
            OSError: no answer, or not in time.
            http.client.HTTPException: the answer is not HTTP.
        """
        address = parse_address(self.url)
        headers = {"Content-Type": content_type} if content_type else {}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        while True:
            if self._is_ended:
                raise ConnectionAbortedError(f"the connection to {address.netloc} was ended here")
            is_fresh = self._open is None
            connection = self._open = self._open or self._connect(address)
            try:
                connection.request(
                    method, address.path.rstrip("/") + path, body=body, headers=headers
                )
                answer = connection.getresponse()
                data = answer.read()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self.close()
                if is_fresh:  # an idle connection may be closed by the server: try once more
                    raise
            except BaseException:
                self.close()
                raise
            else:
                named = {name.lower(): value for name, value in answer.getheaders()}
                return Reply(answer.status, named, data)

    def close(self) -> None:
        """Close the connection; the next request reopens it."""
        if self._open is not None:
            connection, self._open = self._open, None
            connection.close()

    def end(self) -> None:
        """End the connection: a request running in another thread fails, and so does every later request."""
        self._is_ended = True
        connected = self._open.sock if self._open is not None else None
        if connected is not None:
            # `close` alone does not wake a thread that waits for an answer.
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def _connect(self, address: SplitResult) -> http.client.HTTPConnection:
        host = str(address.hostname)
        if address.scheme == "https":
            return http.client.HTTPSConnection(
                host, address.port, timeout=self.timeout_s, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(host, address.port, timeout=self.timeout_s)


def make_form(data: bytes, *, filename: str, fields: dict[str, str]) -> bytes:
    """Make a multipart form of type ``FORM_TYPE`` with one file and some text fields."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    file = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"'
    parts += [f"{file}\r\nContent-Type: application/octet-stream\r\n\r\n".encode(), data]
    return b"".join([*parts, f"\r\n--{BOUNDARY}--\r\n".encode()])
