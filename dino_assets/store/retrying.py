"""Retries of failed requests to a bucket: their number, duration and pauses."""

import logging
import time
from collections.abc import Callable

from dino_assets.errors import StoreUnavailableError
from dino_assets.settings.records import RequestLimits

log = logging.getLogger(__name__)
NEVER = RequestLimits(retries=0)  # for folders: a request that failed would fail again
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
# Each attempt of an upload starts from the beginning. This limit stops it on a network that interrupts
# every long upload.
_MOST_LOST_UPLOADS = 5
# Shorter interruptions are not logged.
_QUIET_S = 1.0


class Retries:
    """Count of one call's attempts; ``wait`` is called after each failure, and pauses or gives up."""

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
        """Restart the time limit, because bytes have just moved."""
        self._moved = self._clock()

    def wait(self, failure: StoreUnavailableError, *, lost_bytes: bool = False) -> None:
        """Wait until the next attempt. With ``lost_bytes``, that attempt has to send all bytes again.

        Raises:
            StoreUnavailableError: the limit of attempts or of time is reached. After several failures, the
                message also says how many attempts were made, in how many seconds.
        """
        self._failures += 1
        now = self._clock()
        self._lost += lost_bytes and now - self._attempt_began > self._limits.stall_s
        pause_s = min(_FIRST_PAUSE_S * 2 ** (self._failures - 1), _LONGEST_PAUSE_S)
        import numpy as np  # imported here, because few commands ever wait

        # Random, so that not all clients return at the same moment and overload a restarted server.
        pause_s *= float(np.random.default_rng().uniform(0.5, 1))
        if (
            self._failures > self._limits.retries
            or self._lost >= _MOST_LOST_UPLOADS
            or now - self._moved + pause_s > self._limits.retry_for_s
        ):
            raise self._give_up(failure, now - self._began)
        if now - self._moved > _QUIET_S and not self._has_warned:
            log.warning("%s; retrying for up to %.0f s", failure, self._limits.retry_for_s)
            self._has_warned = True
        self._sleep(pause_s)
        self._attempt_began = self._clock()

    def _give_up(self, failure: StoreUnavailableError, seconds: float) -> StoreUnavailableError:
        if self._failures == 1:
            return failure
        return StoreUnavailableError(
            f"{failure} Gave up after {self._failures} attempts in {seconds:.0f} s.",
            store=failure.store,
            key=failure.key,
            reason=failure.reason,
        )
