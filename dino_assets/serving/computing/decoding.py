"""Decoding of uploads in two lanes, so that a photograph of 100 MP does not delay small pictures.

A lane is one thread with a limit for the bytes of its decoded pictures. A decoded picture counts until all
its tiles are cut.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dino_assets.images.decoding import decode_image

# A photograph of 16 MP still counts as small.
SMALL_BYTES = 48 * 10**6
SMALL_ROOM_BYTES = 96 * 10**6
# Two photographs of 20 MP. A single larger picture is decoded too. More at a time would not be faster.
LARGE_ROOM_BYTES = 128 * 10**6


@dataclass(eq=False)
class Waiting:
    """A picture that waits to be decoded, and the future of its pixels."""

    data: bytes
    pixel_bytes: int
    pixels: "Future[Decoded]" = field(default_factory=Future)


@dataclass(eq=False)
class Decoded:
    """Decoded pixels (H, W, 3); after ``release`` their bytes no longer count in the lane."""

    pixels: NDArray[np.uint8]
    release: Callable[[], None]


class Lane:
    """One thread that decodes pictures in order of arrival, up to a limit of decoded bytes."""

    def __init__(
        self,
        name: str,
        room_bytes: int,
        *,
        decode: Callable[[bytes], NDArray[np.uint8]] = decode_image,
    ) -> None:
        self.room_bytes = room_bytes
        self.held_bytes = 0
        self._decode = decode
        self._queue: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._work, name=f"decode-{name}", daemon=True)
        self._thread.start()

    def submit(self, waiting: Waiting) -> None:
        """Queue a picture for decoding; it is skipped if its future is cancelled before its turn."""
        with self._changed:
            self._queue.append(waiting)
            self._changed.notify_all()
        # A cancelled picture at the head of the queue must not block smaller ones behind it.
        waiting.pixels.add_done_callback(self._wake_if_cancelled)

    def _wake_if_cancelled(self, ended: "Future[Decoded]") -> None:
        if ended.cancelled():
            with self._changed:
                self._changed.notify_all()

    def close(self) -> None:
        """End the thread once its queue is empty."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(5)

    def _work(self) -> None:
        while waiting := self._take():
            try:
                pixels = self._decode(waiting.data)
            except Exception as err:  # noqa: BLE001 - the request that waits raises it
                self._release(waiting.pixel_bytes)
                waiting.pixels.set_exception(err)
            else:
                waiting.pixels.set_result(Decoded(pixels, _once(self._release, waiting)))
            del waiting

    def _take(self) -> Waiting | None:
        with self._changed:
            while True:
                while self._queue and self._queue[0].pixels.cancelled():
                    self._queue.popleft()
                if not self._queue and self._is_closing:
                    return None
                if self._queue and self._has_room(self._queue[0].pixel_bytes):
                    waiting = self._queue.popleft()
                    if waiting.pixels.set_running_or_notify_cancel():
                        self.held_bytes += waiting.pixel_bytes
                        return waiting
                    continue
                self._changed.wait()

    def _has_room(self, count: int) -> bool:
        return not self.held_bytes or self.held_bytes + count <= self.room_bytes

    def _release(self, count: int) -> None:
        with self._changed:
            self.held_bytes -= count
            self._changed.notify_all()


def _once(release: Callable[[int], None], waiting: Waiting) -> Callable[[], None]:
    count, is_held = waiting.pixel_bytes, [True]

    def give_back() -> None:
        if is_held:
            is_held.clear()
            release(count)

    return give_back


class Decoding:
    """Two decoding lanes: one for small pictures, one for large ones."""

    def __init__(self, *, decode: Callable[[bytes], NDArray[np.uint8]] = decode_image) -> None:
        self.small = Lane("small", SMALL_ROOM_BYTES, decode=decode)
        self.large = Lane("large", LARGE_ROOM_BYTES, decode=decode)

    def submit(self, data: bytes, pixel_bytes: int) -> "Future[Decoded]":
        """Queue a picture in the lane for its size; return the future of its pixels."""
        waiting = Waiting(data, pixel_bytes)
        lane = self.small if pixel_bytes <= SMALL_BYTES else self.large
        lane.submit(waiting)
        return waiting.pixels

    def close(self) -> None:
        """End both lanes."""
        self.small.close()
        self.large.close()
