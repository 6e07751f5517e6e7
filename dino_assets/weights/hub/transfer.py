"""One file from the Hub into a ``.part`` file: resumed, retried, verified while it streams.

huggingface_hub does not resume across processes, gives up on a reset connection and checks sizes only;
its HTTP client, with the proxies and certificates somebody configured, serves here too.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import numpy as np

from dino_assets.settings.urls import is_address
from dino_assets.weights.hub.listings import HubFile
from dino_assets.weights.hub.partial import (
    Interrupted,
    Misfit,
    PartFile,
    RangeRefused,
    Spoiled,
    WriteBehind,
)
from dino_assets.weights.hub.session import invalid_url, open_session

log = logging.getLogger(__name__)

BATCH_BYTES = 2**20  # handed over at once: pieces come in 64 KB, each hand-over wakes a thread
MAX_WAIT_S = 300.0
_MAX_REDIRECTS = 5
_MAX_SPOILED = 2


@dataclass(frozen=True)
class Patience:
    """How long to insist: failures in a row without a new byte, and seconds without a byte."""

    attempts: int = 6
    stall_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    rng: np.random.Generator = field(default_factory=np.random.default_rng)

    def wait_s(self, failures: int, asked_s: float | None) -> float:
        """Doubling with jitter, or what the server asked for."""
        if asked_s is not None:
            return min(asked_s, MAX_WAIT_S)
        return float(self.rng.uniform(0.5, 1.0)) * min(2.0 ** (failures - 1), 60.0)


@dataclass(frozen=True)
class Source:
    """Where a file is asked for, and the headers that only this very origin may see."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


def fetch_file(
    file: HubFile,
    part: Path,
    source: Source,
    *,
    patience: Patience,
    report: Callable[[int], None] = lambda done: None,
) -> None:
    """Fill ``part`` until it is the file, verified and on the disk. What is there already is kept.

    Raises:
        Spoiled: the bytes, or the headers before them, were wrong twice.
        Interrupted: too many failures in a row; what came stays in ``part``.
        HfHubHTTPError: refused for good.
        ConfigError: no client can be made with the environment's proxies or certificates.
        DiskFullError: no room.
    """
    failures = spoiled = 0
    refused_at: int | None = None
    with PartFile(part, file) as had:
        report(had.bytes)
        while True:
            before = had.bytes
            try:
                if had.bytes < file.bytes:
                    start = 0 if had.bytes == refused_at else had.bytes
                    _stream(had, source, start, patience.stall_s, report)
                had.verify()
                return
            except Spoiled as err:
                interruption: Interrupted = err
                if isinstance(err, RangeRefused):
                    refused_at = had.bytes
                elif not isinstance(err, Misfit):
                    had.reset()
                spoiled += 1
                failures += 1
            except Interrupted as err:
                interruption = err
                failures = 1 if had.bytes > before else failures + 1
            if failures >= patience.attempts or spoiled >= _MAX_SPOILED:
                raise interruption
            wait_s = patience.wait_s(failures, interruption.after_s)
            log.warning(
                "%s: %s at %s of %s bytes; once more in %.1f s",
                file.name,
                interruption.reason,
                f"{had.bytes:,}",
                f"{file.bytes:,}",
                wait_s,
            )
            patience.sleep(wait_s)
            report(had.bytes)


def call_patiently(call: Callable[[], Any], *, what: str, patience: Patience, attempts: int) -> Any:
    """The result of a short request to the Hub, asked again where that may help; ``what`` it is for.

    Raises:
        Interrupted: it did not help.
        HfHubHTTPError: refused for good.
    """
    for failures in range(1, attempts + 1):
        try:
            with _interruptions():
                return call()
        except Interrupted as err:
            if failures == attempts:
                raise
            wait_s = patience.wait_s(failures, err.after_s)
            log.warning("%s: %s; once more in %.1f s", what, err.reason, wait_s)
            patience.sleep(wait_s)
    raise AssertionError("attempts must be positive")


def _stream(
    part: PartFile, source: Source, start: int, stall_s: float, report: Callable[[int], None]
) -> None:
    """One request for what is missing, or for all of it with a ``start`` of 0, into the part."""
    with _interruptions(), _ask(source, start, stall_s) as response:
        _check_headers(response, start, part)
        if part.bytes and (response.status_code == 200 or not start):
            part.reset()  # the server knows no ranges, or not this one
        with WriteBehind(part) as behind:
            batch: list[bytes] = []
            waiting = 0
            try:
                for piece in response.iter_raw():
                    batch.append(piece)
                    waiting += len(piece)
                    if part.bytes + waiting > part.file.bytes:
                        raise Spoiled("more bytes came than the Hub lists")
                    if waiting >= BATCH_BYTES:
                        behind.put(batch)
                        batch, waiting = [], 0
                        report(part.bytes)
                    if behind.has_failed:
                        return
            finally:
                behind.put(batch)  # what came before the line broke is kept
        report(part.bytes)
        if part.bytes < part.file.bytes:
            raise Interrupted("the answer ended early")


@contextlib.contextmanager
def _ask(source: Source, start: int, stall_s: float) -> Iterator[Any]:
    """The answer to a request, redirects followed; the token never goes to another origin."""
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    url, home = source.url, _origin(source.url)
    for _ in range(_MAX_REDIRECTS):
        is_home = _origin(url) == home
        headers = {"Accept-Encoding": "identity"}
        headers |= dict(source.headers) if is_home else {}
        headers |= {"Range": f"bytes={start}-"} if start else {}
        with open_session().stream(
            "GET", url, headers=headers, follow_redirects=False, timeout=stall_s
        ) as response:
            if response.has_redirect_location:
                url = _redirected(url, response.headers["Location"])
                continue
            status = response.status_code
            if _may_pass(status):
                raise Interrupted(f"HTTP {status}", after_s=_retry_after_s(response.headers))
            if status >= 400 and status != 416:
                if not is_home:
                    # An address that was signed for a while; the Hub gives a new one.
                    raise Interrupted(
                        f"HTTP {status} from the storage, its address may have expired"
                    )
                hf_raise_for_status(response)
            yield response
            return
    raise Interrupted(f"more than {_MAX_REDIRECTS} redirects")


def _redirected(url: str, location: str) -> str:
    try:
        found = urljoin(url, location)
    except ValueError:
        found = ""
    if not is_address(found):
        raise Interrupted("redirected to what is no address")
    return found


def _check_headers(response: Any, start: int, part: PartFile) -> None:
    """Before a byte is read or dropped: log-in pages and proxies answer too, often with a 200."""
    status, headers, size = response.status_code, response.headers, part.file.bytes
    length = headers.get("Content-Length")
    if status == 416:
        raise RangeRefused("the server has no such range")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise Misfit("the server sends another encoding than asked for")
    if status == 206:
        is_asked_for = headers.get("Content-Range") == f"bytes {start}-{size - 1}/{size}"
        if not is_asked_for or length not in (None, str(size - start)):
            raise RangeRefused("the server sends another range than asked for")
    elif status != 200:
        raise Interrupted(f"HTTP {status}")
    elif length not in (None, str(size)):
        raise Misfit(f"the server has {length} bytes, the Hub lists {size}")
    elif length is None and part.bytes and "text/html" in headers.get("Content-Type", ""):
        raise Misfit("the server sends a web page")


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
        found = Interrupted(f"HTTP {status}", after_s=_retry_after_s(headers))
    except (HTTPError, invalid_url(), ConnectionError, TimeoutError) as err:
        found = Interrupted(type(err).__name__)
    raise found from None


def _may_pass(status: int) -> bool:
    return status in (408, 425, 429) or status >= 500


def _origin(url: str) -> tuple[str, str | None, int | None]:
    split = urlsplit(url)
    return split.scheme, split.hostname, split.port or {"http": 80, "https": 443}.get(split.scheme)


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
