"""Readiness checks: the store answers, and no model call hangs."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from dino_assets.errors import DinoAssetsError, ObjectNotFoundError, public_name
from dino_assets.store.objects import ObjectStore

log = logging.getLogger(__name__)

PROBE_KEY = "serving/probe"
PROBE_EVERY_S = 5.0
PROBE_LIMIT_S = 3.0
# A call counts as hanging after 20 times the usual seconds, but not before 60 s: a busy machine is slow.
OVERDUE_S, OVERDUE_TIMES = 60.0, 20.0


def find_overdue_s(tile_s: float, *, least_s: float = OVERDUE_S) -> float:
    """Return the seconds after which a model call counts as hanging."""
    return max(least_s, OVERDUE_TIMES * tile_s)


@dataclass
class StoreLook:
    """One check of the store, running or ended."""

    begun: float
    ended: float | None = None
    fault: str = ""


class StoreProbe:
    """A repeated check of the store in a background thread: a hanging store delays no request."""

    def __init__(self, store: ObjectStore, *, now: Callable[[], float] = time.monotonic) -> None:
        self._store, self._now = store, now
        self._newest: StoreLook | None = None
        self._last_ended: StoreLook | None = None
        self._lock = threading.Lock()

    def look(self) -> str | None:
        """Return why the store cannot be used; empty if it can be used, None until the first check ends.

        If the last check is older than ``PROBE_EVERY_S``, a new one is started and not waited for.
        """
        with self._lock:
            look = self._newest
            is_old = look is None or (
                look.ended is not None and self._now() - look.ended > PROBE_EVERY_S
            )
            if is_old:
                look = self._newest = StoreLook(self._now())
                threading.Thread(target=self._check, args=(look,), daemon=True).start()
        assert look is not None
        if look.ended is not None:
            return look.fault
        if self._now() - look.begun > PROBE_LIMIT_S:
            return f"the store has not answered for {self._now() - look.begun:.0f} s"
        return self._last_ended.fault if self._last_ended else None

    def _check(self, look: StoreLook) -> None:
        try:
            self._store.head(PROBE_KEY)
        except ObjectNotFoundError:
            pass  # the store answers
        except Exception as err:  # noqa: BLE001 - after any error the store cannot be used
            name = public_name(err) if isinstance(err, DinoAssetsError) else type(err).__name__
            look.fault = f"the store cannot be used: {name}; `dino-assets doctor` says why"
            if self._last_ended is None or not self._last_ended.fault:  # logged once per outage
                log.warning("the store cannot be used: %s", err)
        look.ended = self._now()
        self._last_ended = look
