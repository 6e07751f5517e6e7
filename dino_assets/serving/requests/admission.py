"""Admission control: accept a picture or refuse it before it is decoded.

Work is counted in seconds: waiting tiles times the measured seconds of a tile, plus pixels to decode. Above
the limit, uploads are refused until the work has fallen to half of the limit. Each refusal says when that
will be. If uploads were accepted again just below the limit, new work could come at any moment, and no
forecast would be right.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dino_assets.serving.problems import Problem
from dino_assets.serving.requests.planning import UploadPlan

# Pixels that one thread decodes, measured with JPEGs of 20 MP on a busy core. A wrong value matters little:
# tiles take seconds.
DECODE_PX_PER_S = 60e6
MOST_WAIT_S = 3600


@dataclass(frozen=True)
class Limits:
    """Limits of accepted, unanswered work, for all requests together."""

    queue_s: float
    requests: int = 256
    token_bytes: int = 4 * 2**30  # on disk, until they are stored


@dataclass
class Load:
    """Accepted work that is not yet computed."""

    requests: int = 0
    tiles: int = 0
    pixels: float = 0
    token_bytes: int = 0


class Admission:
    """The count of accepted work; it refuses pictures above the limits."""

    def __init__(
        self,
        limits: Limits,
        *,
        tile_s: Callable[[], float],
        threads: int,
        free_bytes: Callable[[], int],
    ) -> None:
        self.limits = limits
        self.load = Load()
        self._is_full = False  # set at the limit, cleared at half of it
        self._tile_s, self._threads, self._free_bytes = tile_s, threads, free_bytes

    def forecast_s(self) -> float:
        """Forecast the seconds until all accepted work is computed."""
        computing_s = self.load.tiles * self._tile_s() / self._threads
        return computing_s + self.load.pixels / DECODE_PX_PER_S / self._threads

    def check(self) -> None:
        """Refuse a request while too much work waits; called before its body is read.

        Raises:
            Problem: busy.
        """
        waiting_s = self.forecast_s()
        if self._is_full or waiting_s > self.limits.queue_s:
            self._is_full = waiting_s > self.limits.queue_s / 2
        # An empty queue accepts any picture, however long it takes.
        if self._is_full and self.load.requests:
            wait_s = forecast_wait(waiting_s, self.limits.queue_s)
            raise Problem(
                "busy",
                f"about {waiting_s:.0f} s of work are waiting; try again in {wait_s} s",
                retry_after_s=wait_s,
                waiting_s=round(waiting_s, 1),
            )
        if self.load.requests >= self.limits.requests:
            wait_s = max(1, math.ceil(waiting_s / 2))
            raise Problem(
                "busy",
                f"{self.load.requests} pictures are waiting, the most that are accepted; try again in "
                f"{wait_s} s",
                retry_after_s=wait_s,
            )

    @contextlib.contextmanager
    def admit(self, plan: UploadPlan) -> Iterator["Share"]:
        """Accept a picture and count its work until the block ends; yield its share of the load.

        Raises:
            Problem: busy, disk-full.
        """
        self.check()
        coming_bytes = self.load.token_bytes + plan.token_bytes
        if self.load.requests and coming_bytes > self.limits.token_bytes:
            wait_s = max(1, math.ceil(self.forecast_s() / 2))
            raise Problem(
                "busy",
                f"embeddings of {self.load.token_bytes:,} bytes are being computed, and at most "
                f"{self.limits.token_bytes:,} fit; try again in {wait_s} s",
                retry_after_s=wait_s,
            )
        if coming_bytes > self._free_bytes():
            raise Problem(
                "disk-full",
                f"the embedding needs {plan.token_bytes:,} bytes in addition to the work in progress, and "
                "the service's disk has fewer; free some space",
            )
        share = Share(self.load, plan)
        try:
            yield share
        finally:
            share.close()


class Share:
    """One picture's part of the load; it shrinks while the picture is decoded and computed."""

    def __init__(self, load: Load, plan: UploadPlan) -> None:
        self._load = load
        self._tiles, self._pixels = plan.tiles, plan.size[0] * plan.size[1]
        self._token_bytes = plan.token_bytes
        load.requests += 1
        load.tiles += self._tiles
        load.pixels += self._pixels
        load.token_bytes += self._token_bytes

    def decoded(self) -> None:
        """Count the picture as decoded."""
        self._load.pixels -= self._pixels
        self._pixels = 0

    def computed(self, tiles: int) -> None:
        """Count some more tiles as computed."""
        tiles = min(tiles, self._tiles)
        self._tiles -= tiles
        self._load.tiles -= tiles

    def close(self) -> None:
        """Remove the picture from the load."""
        self.decoded()
        self.computed(self._tiles)
        self._load.requests -= 1
        self._load.token_bytes -= self._token_bytes


def forecast_wait(waiting_s: float, queue_s: float) -> int:
    """Forecast the whole seconds until the waiting work has fallen to half of the limit."""
    return max(1, min(MOST_WAIT_S, math.ceil(waiting_s - queue_s / 2)))
