"""Progress log of a long listing: the number of files, every few seconds."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

log = logging.getLogger(__name__)

EVERY_S = 5.0
_LOOK_EVERY = 1024  # items between two readings of the clock

Item = TypeVar("Item")


class Tally:
    """Counter of a listing's items that logs its count every few seconds."""

    def __init__(
        self, shown: str, what: str, *, read_clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shown, self._what, self._read_clock = shown, what, read_clock
        self._begun = self._logged = read_clock()

    def show(self, count: int) -> None:
        """Log a count, unless another was logged less than ``EVERY_S`` seconds ago."""
        now = self._read_clock()
        if now - self._logged >= EVERY_S:
            self._logged = now
            log.info(
                "%s: %s %s so far, %.0f s", self._shown, f"{count:,}", self._what, now - self._begun
            )

    def count(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, and log their count every few seconds."""
        for number, item in enumerate(items, start=1):
            yield item
            if number % _LOOK_EVERY == 0:
                self.show(number)
