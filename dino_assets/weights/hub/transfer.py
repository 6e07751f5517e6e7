"""One file from the Hub into a ``.part`` file: resumed, retried, verified while it streams.

huggingface_hub does not resume across processes, gives up on a reset connection and checks sizes only;
its HTTP client, with the proxies and certificates somebody configured, serves here too.
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
BATCH_BYTES = 2**20  # pieces come in 64 KB, and each batch wakes a thread
MAX_WAIT_S = 300.0
_MAX_WRONG = 2


class Interrupted(Exception):
    """This attempt is over; another may succeed. ``reason`` holds no address and no secret.

    ``is_wrong``: what came, or was announced, cannot be the file. ``is_unreachable``: nothing answers at
    this address, at once and for certain.
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
    """How long to insist: failures in a row without a new byte, and seconds without a byte.

    ``unreachable_attempts`` are for an address where nothing answers; None: as many as any.
    """

    attempts: int = 6
    unreachable_attempts: int | None = None
    stall_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    rng: np.random.Generator = field(default_factory=np.random.default_rng)

    def run(
        self, call: Callable[[], T], *, what: object, count_bytes: Callable[[], int] = lambda: 0
    ) -> T:
        """Call again where that may help; ``what`` is for the log.

        Raises:
            Interrupted: too many failures in a row, or twice the wrong bytes.
            HfHubHTTPError: refused for good.
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
                log.warning("%s: %s; once more in %.1f s", what, err.reason, wait_s)
                self.sleep(wait_s)

    def _wait_s(self, failures: int, asked_s: float | None) -> float:
        """Doubling with jitter, or what the server asked for."""
        if asked_s is not None:
            return min(asked_s, MAX_WAIT_S)
        return float(self.rng.uniform(0.5, 1.0)) * min(2.0 ** (failures - 1), 60.0)


@dataclass(frozen=True)
class FileRequest:
    """Where a file is asked for, and the headers, whose token only this very origin may see."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


class PartFile:
    """A ``.part`` file and the running hash of what it holds.

    ``refused_at`` is where the server would not begin: from there the whole file is asked for.
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
        """Throw away what came."""
        self._sink.truncate(0)
        self._hasher = self.file.hasher()
        self.bytes = 0

    def append(self, batch: bytearray) -> int:
        """Hash and write; how many bytes there are now."""
        self._hasher.update(batch)
        self._sink.write(batch)
        self._sink.flush()
        self.bytes += len(batch)
        return self.bytes

    def verify(self) -> None:
        """Put the whole file on the disk, or throw away what is not the file.

        Raises:
            Interrupted: it is not the file.
        """
        if self.bytes != self.file.bytes or self._hasher.hexdigest() != self.file.digest:
            self.reset()
            raise Interrupted("the bytes are not those the Hub lists", is_wrong=True)
        os.fsync(self._sink.fileno())


def fetch_file(
    file: HubFile,
    part: Path,
    source: FileRequest,
    *,
    retries: TransferRetries,
    report: Callable[[int], None] = lambda done: None,
) -> None:
    """Fill ``part`` until it is the file, verified and on the disk. What is there already is kept.

    Raises:
        Interrupted: too many failures in a row, or wrong bytes twice; what came stays in ``part``.
        HfHubHTTPError: refused for good.
        ConfigError: no client can be made with the environment's proxies or certificates.
        OSError: the disk is full, or may not be written.
    """
    with part.open("a+b") as sink:
        had = PartFile(sink, file)

        def attempt() -> None:
            report(had.bytes)
            if had.bytes < file.bytes:
                _stream(had, source, retries.stall_s, report)
            had.verify()

        retries.run(attempt, what=had, count_bytes=lambda: had.bytes)


def _stream(
    part: PartFile, source: FileRequest, stall_s: float, report: Callable[[int], None]
) -> None:
    """One request for what is missing, or for all of it, into the part."""
    start = 0 if part.bytes == part.refused_at else part.bytes
    headers = {**source.headers, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    # The client sends the token on within the origin only.
    with open_session().stream(
        "GET", source.url, headers=headers, follow_redirects=True, timeout=stall_s
    ) as response:
        _check(response, start, part)
        if not start or response.status_code == 200:
            part.reset()  # the server knows no ranges, or not this one
        breaks: list[Exception] = []
        # In a second thread, so that hashing costs no time while the network is slower.
        for done in map_ahead(part.append, _batches(response, part, breaks), threads=1):
            report(done)
        if breaks:
            raise breaks[0]
    if part.bytes < part.file.bytes:
        raise Interrupted("the answer ended early")


def _batches(response: Any, part: PartFile, breaks: list[Exception]) -> Iterator[bytearray]:
    """The body, up to where the line broke or it was longer than the file; never raises."""
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
    except Exception as err:  # noqa: BLE001 - raised when what came before is in the file
        breaks.append(err)
    yield batch


def _check(response: Any, start: int, part: PartFile) -> None:
    """Before a byte is read or dropped: log-in pages and proxies answer too, often with a 200."""
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    status, headers, size = response.status_code, response.headers, part.file.bytes
    length = headers.get("Content-Length")
    origins = [answer.url.netloc for answer in (*response.history, response)]
    if status >= 400 and not _may_pass(status) and status != 416 and origins[0] != origins[-1]:
        # An address that was signed for a while; the Hub gives a new one.
        raise Interrupted(f"HTTP {status} from the storage, its address may have expired")
    if status != 416:
        hf_raise_for_status(response)
    if headers.get("Content-Encoding", "identity") != "identity":
        raise Interrupted("the server sends another encoding than asked for", is_wrong=True)
    is_range = (
        status == 206
        and headers.get("Content-Range") == f"bytes {start}-{size - 1}/{size}"
        and length in (None, str(size - start))
    )
    if status in (206, 416) and not is_range:
        part.refused_at = part.bytes
        raise Interrupted("the server does not send the range asked for", is_wrong=True)
    if status not in (200, 206):
        raise Interrupted(f"HTTP {status}")
    if status == 200 and length not in (None, str(size)):
        raise Interrupted(f"the server has {length} bytes, the Hub lists {size}", is_wrong=True)
    if length is None and part.bytes and "text/html" in headers.get("Content-Type", ""):
        raise Interrupted("the server sends a web page", is_wrong=True)


@contextlib.contextmanager
def _interruptions() -> Iterator[None]:
    """Whatever breaks a connection, as one thing. Only its kind is told: texts may quote headers."""
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
    # UnicodeError: redirected to a name that no host can have.
    except (HTTPError, invalid_url(), ConnectionError, TimeoutError, UnicodeError) as err:
        interruption = Interrupted(type(err).__name__)
    raise interruption from None


def _may_pass(status: int) -> bool:
    return status in (408, 425, 429) or status >= 500


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """``Retry-After`` as seconds; a date counts from the server's own."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
    return max(0.0, until.total_seconds())
