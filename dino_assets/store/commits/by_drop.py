"""Commits of several drops, one after the other: a drop that fails does not stop the rest."""

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
    """The drafts of several drops, each made just before its commit.

    An asset with one output per drop returns this object. A generator would not do, because Dagster treats
    what a generator yields as separate outputs. The drafts can be iterated any number of times.
    """

    def __init__(
        self,
        drops: Iterable[str],
        make: Callable[[str], Draft],
        *,
        around: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Take the drops, and the function ``make`` that drafts the output of one drop.

        ``around`` makes a context that stays open while all drops are drafted and committed.
        """
        self.drops = tuple(sorted(set(drops)))
        self.make = make
        self.around = around

    def __iter__(self) -> Iterator[tuple[str, Draft]]:
        return ((drop, self.make(drop)) for drop in self.drops)


@dataclass(frozen=True)
class DropOutcome:
    """The result of one drop: what was committed, or the error."""

    drop: str
    committed: Committed | None
    error: Exception | None
    seconds: float


def commit_drops(store: ObjectStore, drafts: DropDrafts) -> Iterator[DropOutcome]:
    """Commit drop by drop, in sorted order, and yield each result; an error becomes part of the result."""
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
    except Exception as err:  # any error of one drop must not stop the others
        log.exception("drop %s failed", drop)
        error = err
    return DropOutcome(drop, committed, error, time.perf_counter() - started)


def raise_failures(asset: str, outcomes: list[DropOutcome], *, may_wait: bool = False) -> None:
    """Raise one error that names all failed drops; do nothing if none failed.

    With ``may_wait``, nothing is raised if a check stopped every failed drop (DropBlockedError), because a
    later step of the run reports such drops.

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
