"""Turns: one writer at a time, on stores of every kind, for outputs that count on one another.

A writer puts a claim, then lists all claims. Of two writers at least one sees the other, since each lists
after its own is there. Who sees no other has the turn, and keeps its claim until it is done; who sees
another withdraws, but the one with the lowest name, who waits. Conditional PUT is not relied on: servers
say that they have it and let two writers win.
"""

import contextlib
import logging
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from dino_assets.errors import CommitRefusedError, ObjectNotFoundError
from dino_assets.store.objects import ObjectStore

log = logging.getLogger(__name__)
# A turn is a few requests long. A claim this old is of a writer that was killed, and who is held up for
# half as long gives its turn up by itself.
STALE = timedelta(minutes=2)
LOOK_EVERY_S = 0.2


class Turn:
    """A writer's turn."""

    def __init__(self, name: str, ends: float) -> None:
        self.name = name
        self._ends = ends

    def check(self) -> None:
        """Look whether it is still this writer's turn.

        Raises:
            CommitRefusedError: it was held up so long that another may have it.
        """
        if time.monotonic() > self._ends:
            raise CommitRefusedError(
                f"the store was too slow to commit among {self.name!r}: others may be writing by now. "
                "Run again.",
                reason="too-slow",
            )


@contextlib.contextmanager
def take_turn(
    store: ObjectStore,
    name: str,
    *,
    stale: timedelta | None = None,
    look_every_s: float = LOOK_EVERY_S,
) -> Iterator[Turn]:
    """Wait for a turn among the writers of ``name``, and have it until the block ends.

    Raises:
        CommitRefusedError: others had it all the time.
    """
    stale = STALE if stale is None else stale
    queue = _Queue(store, name, stale, look_every_s)
    while True:
        begun = time.monotonic()
        own = f"{_prefix(name)}{uuid.uuid4().hex}.json"
        store.put(own, b"{}\n")
        try:
            if queue.wait(own):
                yield Turn(name, begun + stale.total_seconds() / 2)
                return
        finally:
            store.delete(own)
        if queue.is_too_late:
            raise CommitRefusedError(
                f"others were committing among {name!r} for {2 * stale.total_seconds():.0f} s. Run again.",
                reason="others-first",
            )
        time.sleep(2 * look_every_s)  # the one that waits comes first


@dataclass
class _Queue:
    """One writer's wait for its turn, by one claim after the other."""

    store: ObjectStore
    name: str
    stale: timedelta
    look_every_s: float
    began: float = field(default_factory=time.monotonic)
    has_logged: bool = False

    @property
    def is_too_late(self) -> bool:
        """Whether a killed writer's claim would be old by now, so that living ones are in the way."""
        return time.monotonic() - self.began > 2 * self.stale.total_seconds()

    def wait(self, own: str) -> bool:
        """Wait as long as this claim has the lowest name; tells whether it has the turn."""
        while others := self._list_others(own):
            if not self.has_logged:
                log.info("waiting: others are committing among %r", self.name)
                self.has_logged = True
            if min(others) < own or self.is_too_late:
                return False
            time.sleep(self.look_every_s)
            self.store.put(own, b"{}\n")  # its time is compared with that of the others
        return True

    def _list_others(self, own: str) -> list[str]:
        """Claims of other writers; one that is too old is of a killed writer, and removed."""
        put_at = self.store.head(own).modified
        others = []
        for info in self.store.list(_prefix(self.name)):
            if info.key == own:
                continue
            # By the store's own clock alone, which put both times.
            if put_at - info.modified > self.stale:
                log.warning("%r is left by a writer that was killed; it is removed", info.key)
                with contextlib.suppress(ObjectNotFoundError):
                    self.store.delete(info.key)
            else:
                others.append(info.key)
        return others


def _prefix(name: str) -> str:
    return f"claims/{name}/"
