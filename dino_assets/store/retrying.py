"""Trying a bucket again: how often, for how long, and with what pauses."""

import logging
import time
from collections.abc import Callable

from dino_assets.errors import StoreUnavailableError
from dino_assets.settings.records import RequestLimits

log = logging.getLogger(__name__)
NEVER = RequestLimits(retries=0)  # of a folder: what fails there fails again
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
# An upload begins anew each time: a line that breaks every long one is not tried for hours.
_MOST_LOST = 5
# A shorter interruption passes without a word.
_QUIET_S = 1.0


class Retries:
    """The attempts of one call: after each failure it waits, or gives up."""

    def __init__(
        self,
        limits: RequestLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limits = limits
        self._clock, self._sleep = clock, sleep
        self._began = self._moved = self._attempt_began = clock()
        self._failures = self._lost = 0
        self._has_warned = False

    def note_progress(self) -> None:
        """Count the time from here: bytes have just moved."""
        self._moved = self._clock()

    def wait(self, failure: StoreUnavailableError, *, lost_bytes: bool = False) -> None:
        """Wait until the next attempt. With ``lost_bytes`` all that was sent is sent again.

        Raises:
            StoreUnavailableError: tried too often or too long; the failure with how often and how long.
        """
        self._failures += 1
        now = self._clock()
        self._lost += lost_bytes and now - self._attempt_began > self._limits.stall_s
        pause_s = min(_FIRST_PAUSE_S * 2 ** (self._failures - 1), _LONGEST_PAUSE_S)
        import numpy as np  # here, since few commands ever wait

        # Not all at the same moment: a server that has just come back would stumble again.
        pause_s *= float(np.random.default_rng().uniform(0.5, 1))
        if (
            self._failures > self._limits.retries
            or self._lost >= _MOST_LOST
            or now - self._moved + pause_s > self._limits.retry_for_s
        ):
            raise self._give_up(failure, now - self._began)
        if now - self._moved > _QUIET_S and not self._has_warned:
            log.warning("%s. It is tried again for up to %.0f s", failure, self._limits.retry_for_s)
            self._has_warned = True
        self._sleep(pause_s)
        self._attempt_began = self._clock()

    def _give_up(self, failure: StoreUnavailableError, seconds: float) -> StoreUnavailableError:
        if self._failures == 1:
            return failure
        return StoreUnavailableError(
            f"{failure} It was tried {self._failures} times in {seconds:.0f} s.",
            store=failure.store,
            key=failure.key,
            reason=failure.reason,
        )
