"""Whether requests can be answered: the model is checked, the store is there, no inference hangs."""

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
# A call that takes twenty times as long as calls do hangs; on a busy machine they may take a while.
OVERDUE_S, OVERDUE_TIMES = 60.0, 20.0


def find_overdue_s(tile_s: float, *, least_s: float = OVERDUE_S) -> float:
    """How long a call may run."""
    return max(least_s, OVERDUE_TIMES * tile_s)


@dataclass
class Probe:
    """One look at the store."""

    begun: float
    ended: float | None = None
    fault: str = ""


class StoreProbe:
    """Looks at the store now and then, in a thread of its own: a store that hangs holds nothing up."""

    def __init__(self, store: ObjectStore, *, now: Callable[[], float] = time.monotonic) -> None:
        self._store, self._now = store, now
        self._probe: Probe | None = None
        self._last: Probe | None = None  # the last one that ended
        self._lock = threading.Lock()

    def look(self) -> str | None:
        """Why the store cannot be used, as far as is known; empty where it can, None while it is asked first."""
        with self._lock:
            probe = self._probe
            is_old = probe is None or (
                probe.ended is not None and self._now() - probe.ended > PROBE_EVERY_S
            )
            if is_old:
                probe = self._probe = Probe(self._now())
                threading.Thread(target=self._ask, args=(probe,), daemon=True).start()
        assert probe is not None
        if probe.ended is not None:
            return probe.fault
        if self._now() - probe.begun > PROBE_LIMIT_S:
            return f"the store has not answered for {self._now() - probe.begun:.0f} s"
        return self._last.fault if self._last else None

    def _ask(self, probe: Probe) -> None:
        try:
            self._store.head(PROBE_KEY)
        except ObjectNotFoundError:
            pass  # it answers
        except Exception as err:  # noqa: BLE001 - whatever it is, the store cannot be used
            name = public_name(err) if isinstance(err, DinoAssetsError) else type(err).__name__
            probe.fault = f"the store cannot be used: {name}; `dino-assets doctor` says more"
            if self._last is None or not self._last.fault:  # once, not at every look
                log.warning("the store cannot be used: %s", err)
        probe.ended = self._now()
        self._last = probe
