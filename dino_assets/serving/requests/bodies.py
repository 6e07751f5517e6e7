"""Upload bodies: reading into memory, with limits for size, time and the bytes of all uploads together."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

from dino_assets.serving.problems import Problem
from dino_assets.serving.requests.multipart import Form, FormReader

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
# Room for boundaries, headers and fields in addition to the file.
FORM_BYTES = 64 * 1024
# How often the wait for a body checks whether the service is being stopped.
_LOOK_EVERY_S = 0.25


class ClientGoneError(Exception):
    """The client closed the connection before its answer was sent."""


@dataclass(frozen=True)
class BodyLimits:
    """Limits of a body's size and speed."""

    file_bytes: int
    silence_s: float = 30.0
    least_bytes_per_s: int = 16_000


class UploadRoom:
    """The memory for all uploads together, counted while they arrive."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0

    @contextlib.contextmanager
    def hold(self) -> Iterator["Upload"]:
        """Yield an empty upload; its bytes are counted until it is dropped or the block ends."""
        upload = Upload(self)
        try:
            yield upload
        finally:
            upload.drop()


class Upload:
    """One upload's bytes, and its share of the room."""

    def __init__(self, room: UploadRoom) -> None:
        self._room = room
        self.bytes = 0
        self.form = Form()

    @property
    def data(self) -> bytes:
        """The picture's file."""
        assert self.form.data is not None
        return self.form.data

    def drop(self) -> None:
        """Free the bytes."""
        self.form.data = None
        self._room.held_bytes -= self.bytes
        self.bytes = 0

    def grow(self, to_bytes: int) -> None:
        """Reserve memory up to ``to_bytes`` in all.

        Raises:
            Problem: busy, because other uploads hold too much memory.
        """
        more = max(0, to_bytes - self.bytes)
        if self._room.held_bytes + more > self._room.most_bytes:
            raise Problem("busy", "too many uploads are arriving at the same time; try again soon")
        self._room.held_bytes += more
        self.bytes += more


async def read_form(
    receive: Receive,
    *,
    content_type: str,
    declared_bytes: int | None,
    limits: BodyLimits,
    upload: Upload,
    check_open: Callable[[], None] = lambda: None,
) -> None:
    """Read a form into an upload; ``check_open`` raises if the service is being stopped.

    ``declared_bytes`` is the body's length according to its header, None if the header does not say it.

    Raises:
        Problem: not-a-form, malformed-body, body-too-large, body-timeout, no-file, unknown-field, busy.
        ClientGoneError: the client closed the connection.
    """
    reader = FormReader(content_type)
    most_bytes = limits.file_bytes + FORM_BYTES
    if declared_bytes is not None:
        _check_size(declared_bytes, most_bytes, limits)
        upload.grow(declared_bytes)
    started, count = time.monotonic(), 0
    while True:
        message = await _receive_in_time(receive, limits, started, count, check_open)
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        piece = message.get("body", b"")
        count += len(piece)
        _check_size(count, most_bytes, limits)
        upload.grow(count)
        reader.write(piece)
        if not message.get("more_body", False):
            break
    upload.form = reader.finish()
    _check_size(len(upload.data), limits.file_bytes, limits)


def _check_size(count: int, most_bytes: int, limits: BodyLimits) -> None:
    if count > most_bytes:
        raise Problem(
            "body-too-large",
            f"the upload has more than {limits.file_bytes:,} bytes; send a smaller file, or raise "
            "DINO_UPLOAD_MB",
            limit_bytes=limits.file_bytes,
        )


async def _receive_in_time(
    receive: Receive,
    limits: BodyLimits,
    started: float,
    count: int,
    check_open: Callable[[], None],
) -> MutableMapping[str, Any]:
    # The allowed time grows with the received bytes: a slow connection passes, a trickle does not.
    allowed_s = limits.silence_s + count / limits.least_bytes_per_s
    deadline = min(time.monotonic() + limits.silence_s, started + allowed_s)
    coming = asyncio.ensure_future(receive())
    try:
        while not coming.done():
            check_open()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise _time_out(count, limits)
            await asyncio.wait((coming,), timeout=min(left_s, _LOOK_EVERY_S))
        check_open()
        return coming.result()
    finally:
        coming.cancel()


def _time_out(count: int, limits: BodyLimits) -> Problem:
    return Problem(
        "body-timeout",
        f"{count:,} bytes arrived, then too few for {limits.silence_s:.0f} s; send the whole file again",
        # Late bytes of this body must not be read as the next request.
        headers={"Connection": "close"},
    )
