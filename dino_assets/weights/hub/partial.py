"""A file on its way: what came so far, hashed as it comes, and what may go wrong with it."""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import Self

from dino_assets.errors import DiskFullError
from dino_assets.weights.hub.listings import HubFile, feed


class Interrupted(Exception):
    """This attempt is over; another may succeed. ``reason`` holds no address and no secret."""

    def __init__(self, reason: str, *, after_s: float | None = None) -> None:
        self.reason = reason
        self.after_s = after_s
        super().__init__(reason)


class Spoiled(Interrupted):
    """What arrived cannot be the file: everything so far is thrown away."""


class Misfit(Spoiled):
    """The headers announce something else, so none of it was read: what is here already is kept."""


class RangeRefused(Misfit):
    """The rest alone cannot be had: the whole file is to be asked for."""


class PartFile:
    """A ``.part`` file and the running hash of what it holds."""

    def __init__(self, path: Path, file: HubFile) -> None:
        self.file = file
        with _room():
            self._sink = path.open("a+b")
            self._sink.seek(0)
            self._hasher = file.hasher()
            self.bytes = feed(self._hasher, self._sink)
        if self.bytes > file.bytes:
            self.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # on a full disk; what is lost is fetched again
            self._sink.close()

    def reset(self) -> None:
        """Throw away what came."""
        self._sink.truncate(0)
        self._hasher = self.file.hasher()
        self.bytes = 0

    def write(self, batch: list[bytes]) -> None:
        """Hash and append; ``bytes`` is counted by whoever hands the batch over."""
        with _room():
            for piece in batch:
                self._hasher.update(piece)
                self._sink.write(piece)
            self._sink.flush()

    def verify(self) -> None:
        """Put the whole file on the disk.

        Raises:
            Spoiled: it is not the file.
        """
        if self.bytes != self.file.bytes or self._hasher.hexdigest() != self.file.digest:
            raise Spoiled("the bytes are not those the Hub lists")
        with _room():
            self._sink.flush()
            os.fsync(self._sink.fileno())


class WriteBehind:
    """Hash and write in a second thread while the first one waits for the network.

    hashlib and the file system let go of the interpreter, so reading costs no time of its own.
    """

    def __init__(self, part: PartFile) -> None:
        self._queue: Queue[list[bytes] | None] = Queue(maxsize=4)
        self._failure: BaseException | None = None
        self._part = part
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def put(self, batch: list[bytes]) -> None:
        """Hand a batch over; waits when four are on their way."""
        if self._failure is None:
            self._part.bytes += sum(map(len, batch))
            self._queue.put(batch)

    @property
    def has_failed(self) -> bool:
        """Tell whether reading on is pointless; leaving the block raises why."""
        return self._failure is not None

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while (batch := self._queue.get()) is not None:
            if self._failure is None:
                try:
                    self._part.write(batch)
                except BaseException as err:  # noqa: BLE001 - raised where the work was ordered
                    self._failure = err


@contextlib.contextmanager
def _room() -> Iterator[None]:
    try:
        yield
        return
    except OSError as err:
        if err.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
    raise DiskFullError(
        "no space left for the download. Free some and run again: it goes on where it stopped."
    ) from None
