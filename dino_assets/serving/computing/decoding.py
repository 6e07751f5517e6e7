"""Uploads become pixels in two lanes, so that a photograph of 100 MP holds up no snapshot.

A lane is one thread and a limit of what its decoded pictures may take until all their tiles are cut.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dino_assets.images.decoding import decode_image

# A photograph of 16 MP is a small one.
SMALL_BYTES = 48 * 10**6
SMALL_ROOM_BYTES = 96 * 10**6
# Two photographs of 20 MP; one picture is decoded whatever it takes. More at once would take no less time.
LARGE_ROOM_BYTES = 128 * 10**6


@dataclass(eq=False)
class Waiting:
    """A picture on its way to be decoded; its pixels come with the room that they take."""

    data: bytes
    pixel_bytes: int
    pixels: "Future[Decoded]" = field(default_factory=Future)


@dataclass(eq=False)
class Decoded:
    """Pixels (H, W, 3), and how to give their room back."""

    pixels: NDArray[np.uint8]
    release: Callable[[], None]


class Lane:
    """One thread that decodes pictures in their order, as long as there is room."""

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
        """Have a picture decoded; cancelled before its turn, it never is."""
        with self._changed:
            self._queue.append(waiting)
            self._changed.notify_all()
        # One that waits for room may hold up smaller ones behind it.
        waiting.pixels.add_done_callback(self._look_again)

    def _look_again(self, ended: "Future[Decoded]") -> None:
        if ended.cancelled():
            with self._changed:
                self._changed.notify_all()

    def close(self) -> None:
        """End the thread once nothing waits."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(5)

    def _work(self) -> None:
        while waiting := self._take():
            try:
                pixels = self._decode(waiting.data)
            except Exception as err:  # noqa: BLE001 - it is the request's own answer
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
    """The two lanes."""

    def __init__(self, *, decode: Callable[[bytes], NDArray[np.uint8]] = decode_image) -> None:
        self.small = Lane("small", SMALL_ROOM_BYTES, decode=decode)
        self.large = Lane("large", LARGE_ROOM_BYTES, decode=decode)

    def submit(self, data: bytes, pixel_bytes: int) -> "Future[Decoded]":
        """Have a picture decoded in its lane."""
        waiting = Waiting(data, pixel_bytes)
        lane = self.small if pixel_bytes <= SMALL_BYTES else self.large
        lane.submit(waiting)
        return waiting.pixels

    def close(self) -> None:
        """End both."""
        self.small.close()
        self.large.close()
