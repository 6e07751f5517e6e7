"""A lock in the store, for outputs that depend on one another: one writer commits at a time.

A writer puts a claim, then lists all claims. If there are two writers, at least one sees the other's claim,
because each lists after putting its own claim. A writer that sees no other claim has the turn, and deletes
its claim when it is done. A writer that sees other claims compares names. If its own claim has the lowest
name, it waits; otherwise it deletes its claim, and puts a new one after a pause. Conditional PUT (write only
if the key is free) is not used, because some servers advertise it and still let two writers succeed.
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
# A turn takes only a few requests, so a claim of this age belongs to a killed writer. A writer that was
# delayed for half of this time gives up its turn.
STALE = timedelta(minutes=2)
POLL_EVERY_S = 0.2
MOST_LOSSES = 8  # the pause grows with each loss up to this number


class Turn:
    """A writer's turn to commit, valid for a limited time."""

    def __init__(self, name: str, ends: float) -> None:
        self.name = name
        self._ends = ends

    def check(self) -> None:
        """Check that it is still this writer's turn.

        Raises:
            CommitRefusedError: this writer was delayed so long that another writer may have the turn.
        """
        if time.monotonic() > self._ends:
            raise CommitRefusedError(
                f"the commit to {self.name!r} took too long, so another writer may have started. "
                "Nothing was committed. Run again.",
                reason="too-slow",
            )


@contextlib.contextmanager
def take_turn(
    store: ObjectStore,
    name: str,
    *,
    stale: timedelta | None = None,
    poll_every_s: float = POLL_EVERY_S,
) -> Iterator[Turn]:
    """Wait for a turn among the writers of ``name``, and hold it until the block ends.

    A claim older than ``stale`` is deleted, because its writer was killed.

    Raises:
        CommitRefusedError: this writer has waited for more than twice the time ``stale``.
    """
    stale = STALE if stale is None else stale
    queue = _Queue(store, name, stale, poll_every_s)
    losses = 0
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
                f"could not commit to {name!r}: other writers were committing to it for "
                f"{2 * stale.total_seconds():.0f} s. Run again.",
                reason="others-first",
            )
        # This pause is longer than that of the waiting writer, which therefore goes first. It grows with
        # every loss: otherwise many writers with slow requests would leave no moment without a claim.
        losses += 1
        round_s = poll_every_s + (time.monotonic() - begun) / queue.looks
        jitter = 0.7 + 0.6 * (uuid.uuid4().int % 1000) / 1000
        time.sleep((2 + min(losses, MOST_LOSSES)) * round_s * jitter)


@dataclass
class _Queue:
    """The wait of one writer for its turn, during which it may put several claims in succession."""

    store: ObjectStore
    name: str
    stale: timedelta
    poll_every_s: float
    began: float = field(default_factory=time.monotonic)
    has_logged: bool = False
    looks: int = 1  # number of listings since the current claim was put

    @property
    def is_too_late(self) -> bool:
        """Whether this writer has waited too long.

        By then, the claims of all killed writers are deleted, so the remaining claims are of live writers.
        """
        return time.monotonic() - self.began > 2 * self.stale.total_seconds()

    def wait(self, own: str) -> bool:
        """Wait until the claim ``own`` is the only one.

        Return True then. Return False if ``own`` has to be deleted first, because another claim has a lower
        name or because the wait was too long.
        """
        self.looks = 1
        while others := self._list_others(own):
            if not self.has_logged:
                log.info("waiting: another writer is committing to %r", self.name)
                self.has_logged = True
            if min(others) < own or self.is_too_late:
                return False
            time.sleep(self.poll_every_s)
            self.looks += 1
            # Renew this claim's time: the ages of other claims are measured from it.
            self.store.put(own, b"{}\n")
        return True

    def _list_others(self, own: str) -> list[str]:
        """List the claims of other writers. Delete those that are too old: their writers were killed."""
        put_at = self.store.head(own).modified
        others = []
        for info in self.store.list(_prefix(self.name)):
            if info.key == own:
                continue
            # Both times come from the store's clock.
            if put_at - info.modified > self.stale:
                log.warning("deleting %r, left by a killed writer", info.key)
                with contextlib.suppress(ObjectNotFoundError):
                    self.store.delete(info.key)
            else:
                others.append(info.key)
        return others


def _prefix(name: str) -> str:
    return f"claims/{name}/"
