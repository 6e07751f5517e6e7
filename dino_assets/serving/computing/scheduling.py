"""Round-robin scheduling of tiles: one tile of each picture in turn.

A picture of one tile waits for the running call only, not for all 294 tiles of an earlier picture. There
are exactly as many threads as the engine uses: with more, `/health` waits for Python's global lock.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.encoder.tokens import Tokens, Vectors


class Computer(Protocol):
    """The interface of an engine set: batch shapes, concurrent calls, ``encode``, ``to_half``."""

    @property
    def shapes(self) -> Sequence[int]:
        """Tiles per call, ascending."""
        ...

    @property
    def threads(self) -> int:
        """Calls that may run at the same time."""
        ...

    def encode(self, tiles: NDArray[np.uint8], *, is_alone: bool = False) -> Tokens:
        """Encode at most ``shapes[-1]`` tiles; with ``is_alone``, no other call runs and no tile waits."""
        ...

    def to_half(self, values: Vectors) -> NDArray[np.float16]:
        """Round numbers to 16 bits."""
        ...


@dataclass(eq=False)
class PictureJob:
    """The tiles of one picture, with functions that cut a tile and store its tokens."""

    tiles: int
    cut: Callable[[int], NDArray[np.uint8]]  # (side, side, 3)
    keep: Callable[[int, Tokens], None]  # stores one tile's tokens; called by several threads
    release: Callable[[], None] = lambda: None  # called after the last use of `cut` and `keep`
    discard: Callable[[], None] = lambda: None  # called after `release` if the job failed
    done: "Future[None]" = field(default_factory=Future)
    next_tile: int = 0
    kept: int = 0
    running: int = 0
    is_over: bool = False  # finished, failed or given up
    has_failed: bool = False  # also True if the job was given up

    @property
    def waiting(self) -> int:
        """Tiles that no call has taken yet."""
        return 0 if self.is_over else self.tiles - self.next_tile


class Scheduler:
    """A fixed number of threads that compute tiles of all jobs in turn."""

    def __init__(self, computer: Computer, *, tile_s: float = 0.0) -> None:
        self.computer = computer
        self.tile_s = tile_s  # seconds of one tile on one thread, as a moving average
        self.computed = 0
        self._turns: deque[PictureJob] = deque()
        self._changed = threading.Condition()
        self._calls: dict[int, float] = {}  # thread → start of its running call
        self._is_closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"tiles-{number}", daemon=True)
            for number in range(computer.threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Tiles that no call has taken yet, of all jobs."""
        with self._changed:
            return sum(job.waiting for job in self._turns)

    def longest_call_s(self) -> float:
        """Return the seconds since the oldest running call began; 0 if none runs."""
        now = time.monotonic()
        with self._changed:
            return max((now - since for since in self._calls.values()), default=0.0)

    def submit(self, job: PictureJob) -> None:
        """Queue a job; its future ``done`` ends when all tiles are computed, or has the job's error."""
        with self._changed:
            self._turns.append(job)
            self._changed.notify_all()

    def give_up(self, job: PictureJob) -> bool:
        """Cancel a job; return False if all its tiles were computed already.

        Running calls are not interrupted. No further tile is started, and the job's tokens are discarded.
        """
        with self._changed:
            if not job.is_over:
                self._end(job, has_failed=True)
        job.done.cancel()
        return job.has_failed

    def close(self) -> None:
        """End the threads once no tile waits; a thread that hangs is left, and ends with the process."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(5)

    def _work(self) -> None:
        me = threading.get_ident()
        while batch := self._take(me):
            started = time.monotonic()
            try:
                tiles = np.stack([job.cut(number) for job, number in batch])
                is_alone = self._is_alone()
                tokens = self.computer.encode(tiles, is_alone=is_alone)
                self._measure(len(batch), time.monotonic() - started, is_alone=is_alone)
                fault = None
            except Exception as err:  # noqa: BLE001 - the jobs' futures raise it
                fault = err
            with self._changed:
                del self._calls[me]
            for row, (job, number) in enumerate(batch):
                if fault is None and not job.is_over:
                    try:
                        job.keep(number, tokens.of_tile(row))
                    except Exception as err:  # noqa: BLE001 - the same
                        self._finish(job, err)
                        continue
                self._finish(job, fault)

    def _take(self, me: int) -> list[tuple[PictureJob, int]]:
        """Take tiles, one of each job in turn, to fill the smallest shape that holds all waiting tiles."""
        with self._changed:
            while not self._turns:
                if self._is_closing:
                    return []
                self._changed.wait()
            waiting = sum(job.waiting for job in self._turns)
            shapes = self.computer.shapes
            most = next((shape for shape in shapes if shape >= waiting), shapes[-1])
            batch: list[tuple[PictureJob, int]] = []
            while self._turns and len(batch) < most:
                job = self._turns.popleft()
                batch.append((job, job.next_tile))
                job.next_tile += 1
                job.running += 1
                if job.waiting:
                    self._turns.append(job)
            self._calls[me] = time.monotonic()
            return batch

    def _is_alone(self) -> bool:
        """Check whether only the calling thread computes, and no tile waits."""
        with self._changed:
            return len(self._calls) == 1 and not self._turns

    def _measure(self, tiles: int, seconds: float, *, is_alone: bool) -> None:
        """Count tiles; a call that had all threads says nothing about the time of a tile on one."""
        tile_s = seconds / tiles
        with self._changed:
            self.computed += tiles
            if not self.tile_s:
                self.tile_s = tile_s
            elif not is_alone:
                self.tile_s = 0.9 * self.tile_s + 0.1 * tile_s

    def _finish(self, job: PictureJob, fault: Exception | None) -> None:
        """Count a computed tile of a job; end the job if this was its last tile, or if ``fault`` is given."""
        is_last = False
        with self._changed:
            job.running -= 1
            job.kept += 1
            is_last = not job.is_over and (fault is not None or job.kept == job.tiles)
            if is_last:
                self._end(job, has_failed=fault is not None)
            elif job.is_over and not job.running:
                self._let_go(job)
        if is_last and job.done.set_running_or_notify_cancel():
            if fault is None:
                job.done.set_result(None)
            else:
                job.done.set_exception(fault)

    def _end(self, job: PictureJob, *, has_failed: bool) -> None:
        job.is_over, job.has_failed = True, has_failed
        if job in self._turns:
            self._turns.remove(job)
        if not job.running:  # a running call still uses `cut` and `keep`
            self._let_go(job)

    def _let_go(self, job: PictureJob) -> None:
        job.release()
        if job.has_failed:
            job.discard()
        job.release = job.discard = lambda: None
