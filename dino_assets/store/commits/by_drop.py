"""Committing several drops in one go: sorted, one failure does not stop the others."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from dino_assets.errors import DropBlockedError, DropsFailedError
from dino_assets.store.commits.protocol import Committed, Draft
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore

log = logging.getLogger(__name__)


class DropDrafts:
    """What a partitioned stage returns: one draft per drop, made when its turn comes.

    Iterable any number of times and not a generator, which Dagster would take for an op's outputs.
    """

    def __init__(
        self,
        drops: Iterable[str],
        make: Callable[[str], Draft],
        *,
        around: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """``around`` is entered before the first drop is committed and left after the last one."""
        self.drops = tuple(sorted(set(drops)))
        self.make = make
        self.around = around

    def __iter__(self) -> Iterator[tuple[str, Draft]]:
        return ((drop, self.make(drop)) for drop in self.drops)


@dataclass(frozen=True)
class DropOutcome:
    """How one drop ended."""

    drop: str
    committed: Committed | None
    error: Exception | None
    seconds: float


def commit_drops(store: ObjectStore, drafts: DropDrafts) -> Iterator[DropOutcome]:
    """Commit drop by drop, in sorted order, and say how each ended; never raises for a drop."""
    with drafts.around():
        for drop in drafts.drops:
            yield _commit_drop(store, drop, drafts.make)


def _commit_drop(store: ObjectStore, drop: str, make: Callable[[str], Draft]) -> DropOutcome:
    started = time.perf_counter()
    committed: Committed | None = None
    error: Exception | None = None
    try:
        committed = commit(store, make(drop))
    except DropBlockedError as err:
        log.warning("%s", err)
        error = err
    except Exception as err:  # whatever a drop did, the others are not to blame
        log.exception("drop %s failed", drop)
        error = err
    return DropOutcome(drop, committed, error, time.perf_counter() - started)


def raise_failures(asset: str, outcomes: list[DropOutcome], *, may_wait: bool = False) -> None:
    """End a run that had failures with one error that names them all.

    Blocked drops ``may_wait`` where more is made of the others: they are blocked there, too.

    Raises:
        DropsFailedError: at least one drop failed.
    """
    failures = {o.drop: o.error for o in outcomes if o.error is not None}
    if not failures or (
        may_wait and all(isinstance(err, DropBlockedError) for err in failures.values())
    ):
        return
    lines = "\n".join(f"  {drop}: {type(err).__name__}: {err}" for drop, err in failures.items())
    done = len(outcomes) - len(failures)
    raise DropsFailedError(
        f"{asset}: {len(failures)} of {len(outcomes)} drops failed, {done} are committed and will be "
        f"reused by the next run:\n{lines}",
        failures=failures,
    )
