"""Progress lines of a transfer for logs; a terminal has a progress bar instead."""

import time
from collections.abc import Callable


class ProgressLines:
    """A ``Progress`` function that writes one line per ``every_s`` seconds at most, and one at the end."""

    def __init__(
        self,
        say: Callable[[str], object],
        *,
        what: str,
        every_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._what = what
        self._every_s = every_s
        self._clock = clock
        self._first: tuple[float, int] | None = None
        self._last_s = 0.0
        self._is_over = False

    def __call__(self, done: int, total: int) -> None:
        """Note the bytes so far; ``done`` may decrease if a file is fetched again."""
        now = self._clock()
        if self._first is None or done < self._first[1]:
            self._first = (now, done)
            self._last_s = now
            present = f", {done / 1e6:,.1f} MB are there already" if done else ""
            self._say(f"{self._what}: fetching {total / 1e6:,.1f} MB{present}")
        elif (done >= total and not self._is_over) or now - self._last_s >= self._every_s:
            self._last_s = now
            self._is_over = done >= total
            started, first_bytes = self._first
            rate = (done - first_bytes) / 1e6 / max(now - started, 1e-3)
            self._say(
                f"{self._what}: {done / 1e6:,.1f} of {total / 1e6:,.1f} MB "
                f"({done / max(total, 1):.0%}), {rate:,.1f} MB/s"
            )
