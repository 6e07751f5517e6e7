"""Transfer of one file from the Hub into a ``.part`` file: resumed, retried, verified while streaming.

huggingface_hub does not resume across processes, gives up after a reset connection, and checks only
sizes. Its HTTP client is used here, with the configured proxies and certificates.
"""

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from io import BufferedRandom
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dino_assets.compute.threads import map_ahead
from dino_assets.weights.hub.listings import HubFile
from dino_assets.weights.hub.session import invalid_url, no_connection, open_session

log = logging.getLogger(__name__)

T = TypeVar("T")
BATCH_BYTES = 2**20  # pieces have 64 KB; larger batches wake the writing thread less often
MAX_WAIT_S = 300.0
_MAX_WRONG = 2


class Interrupted(Exception):
    """One attempt failed; another may succeed. ``reason`` holds no address and no secret.

    ``after_s`` is the wait that the server asks for. ``is_wrong`` means that the received or announced bytes
    cannot be the file; ``is_unreachable``, that the host is unknown or refuses connections.
    """

    def __init__(
        self,
        reason: str,
        *,
        after_s: float | None = None,
        is_wrong: bool = False,
        is_unreachable: bool = False,
    ) -> None:
        self.reason = reason
        self.after_s = after_s
        self.is_wrong = is_wrong
        self.is_unreachable = is_unreachable
        super().__init__(reason)


@dataclass(frozen=True)
class TransferRetries:
    """Limits of retries: the number of ``attempts`` in a row that may fail without a new byte.

    An attempt fails after ``stall_s`` seconds without a byte. ``unreachable_attempts`` is the limit if the
    host is unreachable; None means ``attempts``.
    """

    attempts: int = 6
    unreachable_attempts: int | None = None
    stall_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    rng: np.random.Generator = field(default_factory=np.random.default_rng)

    def run(
        self, call: Callable[[], T], *, what: object, count_bytes: Callable[[], int] = lambda: 0
    ) -> T:
        """Call a function, and repeat it after temporary failures; ``what`` names the call in the log.

        Raises:
            Interrupted: too many failures in a row, or wrong bytes twice.
            HfHubHTTPError: the server refuses permanently.
        """
        failures = wrong = 0
        while True:
            before = count_bytes()
            try:
                with _interruptions():
                    return call()
            except Interrupted as err:
                failures = 1 if count_bytes() > before else failures + 1
                wrong += err.is_wrong
                most = self.unreachable_attempts if err.is_unreachable else None
                if failures >= (most or self.attempts) or wrong >= _MAX_WRONG:
                    raise
                wait_s = self._wait_s(failures, err.after_s)
                log.warning("%s: %s; trying again in %.1f s", what, err.reason, wait_s)
                self.sleep(wait_s)

    def _wait_s(self, failures: int, asked_s: float | None) -> float:
        """Compute the wait: what the server asks for, else a random time that doubles with each failure."""
        if asked_s is not None:
            return min(asked_s, MAX_WAIT_S)
        return float(self.rng.uniform(0.5, 1.0)) * min(2.0 ** (failures - 1), 60.0)


@dataclass(frozen=True)
class FileRequest:
    """The address of a file, and the request headers; the token in them is sent to no other server."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


class PartFile:
    """A ``.part`` file and the running hash of its bytes.

    ``refused_at`` is a position from which the server did not send the rest of the file. An attempt from the
    same position requests the whole file.
    """

    def __init__(self, sink: BufferedRandom, file: HubFile) -> None:
        self.file = file
        self.refused_at = 0
        self._sink = sink
        self._sink.seek(0)
        self._hasher = hashlib.file_digest(self._sink, file.hasher)
        self.bytes = self._sink.tell()
        if self.bytes > file.bytes:
            self.reset()

    def __str__(self) -> str:
        return f"{self.file.name}, {self.bytes:,} of {self.file.bytes:,} bytes"

    def reset(self) -> None:
        """Delete all bytes."""
        self._sink.truncate(0)
        self._hasher = self.file.hasher()
        self.bytes = 0

    def append(self, batch: bytearray) -> int:
        """Hash and write a batch; return the number of bytes that are now in the file."""
        self._hasher.update(batch)
        self._sink.write(batch)
        self._sink.flush()
        self.bytes += len(batch)
        return self.bytes

    def verify(self) -> None:
        """Check size and hash, and sync the file to disk; delete all bytes if they are wrong.

        Raises:
            Interrupted: the bytes are wrong.
        """
        if self.bytes != self.file.bytes or self._hasher.hexdigest() != self.file.digest:
            self.reset()
            raise Interrupted("the bytes differ from the Hub's hash", is_wrong=True)
        os.fsync(self._sink.fileno())


def fetch_file(
    file: HubFile,
    part: Path,
    source: FileRequest,
    *,
    retries: TransferRetries,
    report: Callable[[int], None] = lambda done: None,
) -> None:
    """Fetch a file into ``part`` and verify it; bytes that are there already are kept.

    Raises:
        Interrupted: too many failures in a row, or wrong bytes twice; good bytes stay in ``part``.
        HfHubHTTPError: the server refuses permanently.
        ConfigError: the environment's proxies or certificates cannot be used.
        OSError: the disk is full, or cannot be written.
    """
    with part.open("a+b") as sink:
        partial = PartFile(sink, file)

        def attempt() -> None:
            report(partial.bytes)
            if partial.bytes < file.bytes:
                _stream(partial, source, retries.stall_s, report)
            partial.verify()

        retries.run(attempt, what=partial, count_bytes=lambda: partial.bytes)


def _stream(
    part: PartFile, source: FileRequest, stall_s: float, report: Callable[[int], None]
) -> None:
    """Send one request for the missing bytes, or for the whole file, and write the received bytes."""
    start = 0 if part.bytes == part.refused_at else part.bytes
    headers = {**source.headers, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    # The client does not forward the token to other origins.
    with open_session().stream(
        "GET", source.url, headers=headers, follow_redirects=True, timeout=stall_s
    ) as response:
        _check(response, start, part)
        if not start or response.status_code == 200:
            part.reset()  # the server does not support ranges, or not this one
        breaks: list[Exception] = []
        # In a second thread, so that hashing does not slow the transfer.
        for done in map_ahead(part.append, _batches(response, part, breaks), threads=1):
            report(done)
        if breaks:
            raise breaks[0]
    if part.bytes < part.file.bytes:
        raise Interrupted("the answer ended early")


def _batches(response: Any, part: PartFile, breaks: list[Exception]) -> Iterator[bytearray]:
    """Yield the body in batches until it ends, fails or is too long; append an error to ``breaks``."""
    missing = part.file.bytes - part.bytes
    batch = bytearray()
    try:
        for piece in response.iter_raw():
            batch += piece
            missing -= len(piece)
            if missing < 0:
                break
            if len(batch) >= BATCH_BYTES:
                yield batch
                batch = bytearray()
    except Exception as err:  # noqa: BLE001 - raised later, after the received bytes are written
        breaks.append(err)
    yield batch


def _check(response: Any, start: int, part: PartFile) -> None:
    """Check an answer's headers before its body is read: log-in pages often answer with status 200."""
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    status, headers, size = response.status_code, response.headers, part.file.bytes
    length = headers.get("Content-Length")
    origins = [answer.url.netloc for answer in (*response.history, response)]
    if status >= 400 and not _may_pass(status) and status != 416 and origins[0] != origins[-1]:
        # A signed address expires; the next attempt gets a new one from the Hub.
        raise Interrupted(f"HTTP {status} from the storage, whose signed address may have expired")
    if status != 416:
        hf_raise_for_status(response)
    if headers.get("Content-Encoding", "identity") != "identity":
        raise Interrupted("the server sends another encoding than requested", is_wrong=True)
    is_range = (
        status == 206
        and headers.get("Content-Range") == f"bytes {start}-{size - 1}/{size}"
        and length in (None, str(size - start))
    )
    if status in (206, 416) and not is_range:
        part.refused_at = part.bytes
        raise Interrupted("the server does not send the requested range", is_wrong=True)
    if status not in (200, 206):
        raise Interrupted(f"HTTP {status}")
    if status == 200 and length not in (None, str(size)):
        raise Interrupted(f"the server has {length} bytes, the Hub lists {size}", is_wrong=True)
    if length is None and part.bytes and "text/html" in headers.get("Content-Type", ""):
        raise Interrupted("the server sends a web page", is_wrong=True)


@contextlib.contextmanager
def _interruptions() -> Iterator[None]:
    """Turn every failure of a connection into Interrupted; its text is dropped, as it may quote headers."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    try:
        yield
        return
    except HfHubHTTPError as err:
        status, headers = err.response.status_code, err.response.headers
        if not _may_pass(status):
            raise
        interruption = Interrupted(f"HTTP {status}", after_s=_retry_after_s(headers))
    except (no_connection(), ConnectionRefusedError) as err:
        interruption = Interrupted(type(err).__name__, is_unreachable=True)
    # UnicodeError: a redirect to an invalid host name.
    except (HTTPError, invalid_url(), ConnectionError, TimeoutError, UnicodeError) as err:
        interruption = Interrupted(type(err).__name__)
    raise interruption from None


def _may_pass(status: int) -> bool:
    return status in (408, 425, 429) or status >= 500


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After`` in seconds; a date is compared with the server's own ``Date``."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
    return max(0.0, until.total_seconds())
