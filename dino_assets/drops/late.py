"""Late files: photographs that are added to a finished drop; no run reads them automatically."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dino_assets.drops.arrivals import Arrival, FolderState, summarise_entries
from dino_assets.drops.changes import SourceChanges, find_changes
from dino_assets.drops.facts import find_fact_owner
from dino_assets.drops.finished import Stamps
from dino_assets.drops.sources.opening import open_source
from dino_assets.errors import ConfigError, CorruptObjectError, SourceError, StoreError
from dino_assets.settings.records import BRIEF_LIMITS
from dino_assets.store.commits.manifests import find_manifest
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.objects import ObjectStore

# Listing 500 files costs 5 ms on a disk, so one tick lists 100 finished drops.
BUDGET_S = 0.5
# If one listing exceeds the budget (a million files take 10 s), the next listing waits so long that listings
# take at most this share of all time.
MAX_SHARE = 0.02


@dataclass(frozen=True)
class LateFiles:
    """Late files of one finished drop.

    ``is_settled`` is True in one tick of the sensor only: when the second listing of the source shows the
    same files as the first.
    """

    folder: str
    drop: str
    state: FolderState
    changes: SourceChanges
    is_settled: bool

    def describe(self) -> str:
        """Describe what to do, and then why, because long notes are cut at the end."""
        return (
            f"finished; to add the new files: dino-assets drops register {self.drop} "
            f"({self.changes.describe_new()})"
        )


@dataclass(frozen=True)
class _LastListing:
    """Last listing of a drop's source, and the stamps of its record and manifests at that time."""

    stamps: Stamps
    state: FolderState
    changes: SourceChanges | None
    times_listed: int


class LateWatch:
    """Watch for late files: each call of ``find_late`` lists the sources of a few finished drops, in turn.

    Listings are kept in memory, so a new process starts without them.
    """

    def __init__(self) -> None:
        self._listings: dict[tuple[str, str], _LastListing] = {}
        self._after = ""
        self._ended_s = -math.inf
        self._rest_s = 0.0

    def find_late(
        self,
        store: ObjectStore,
        finished: Sequence[Arrival],
        stamps: Mapping[str, Stamps],
        *,
        root: Path,
        clock: Callable[[], float],
    ) -> tuple[LateFiles, ...]:
        """List as many finished drops as time allows; return all late files found so far.

        A drop that cannot be listed is skipped: its outputs remain valid.
        """
        store_name = str(store.folder or store.url)
        listed_now = set(
            self._look_in_turn(store, store_name, finished, stamps, root=root, clock=clock)
        )
        late = []
        for arrival in finished:
            last = self._listings.get((store_name, arrival.drop))
            if last is None or last.stamps != _select_stamps(stamps, arrival):
                continue
            if last.changes is not None and last.changes.has_new:
                is_settled = arrival in listed_now and last.times_listed == 2
                late.append(
                    LateFiles(arrival.folder, arrival.drop, last.state, last.changes, is_settled)
                )
        return tuple(late)

    def _look_in_turn(
        self,
        store: ObjectStore,
        store_name: str,
        finished: Sequence[Arrival],
        stamps: Mapping[str, Stamps],
        *,
        root: Path,
        clock: Callable[[], float],
    ) -> list[Arrival]:
        started_s = clock()
        listed_now: list[Arrival] = []
        # A negative difference means that the clock was set back: then list at once.
        if 0 <= started_s - self._ended_s < self._rest_s:
            return listed_now
        for arrival in sorted(finished, key=lambda a: (a.folder <= self._after, a.folder)):
            if clock() - started_s >= BUDGET_S:
                break
            self._after = arrival.folder
            key, of_drop = (store_name, arrival.drop), _select_stamps(stamps, arrival)
            listing = _list_changes(store, arrival, of_drop, self._listings.get(key), root=root)
            if listing is not None:
                self._listings[key] = listing
                listed_now.append(arrival)
        self._ended_s = clock()
        took_s = self._ended_s - started_s
        self._rest_s = took_s / MAX_SHARE if took_s > BUDGET_S else 0.0
        return listed_now


def _list_changes(
    store: ObjectStore,
    arrival: Arrival,
    stamps: Stamps,
    before: _LastListing | None,
    *,
    root: Path,
) -> _LastListing | None:
    try:
        source = open_source(arrival.source, root=root, limits=BRIEF_LIMITS)
        entries = source.entries()
        state = summarise_entries(entries)
        if before and before.stamps == stamps and before.state.fingerprint == state.fingerprint:
            return _LastListing(stamps, state, before.changes, before.times_listed + 1)
        images = find_manifest(store, OutputId("images", arrival.drop))
        if images is None:
            return None
        changes = find_changes(store, images, entries, is_list=source.is_list)
    except (SourceError, ConfigError, StoreError, CorruptObjectError):
        return None  # `doctor` reports the reason
    return _LastListing(stamps, state, changes, 1)


def _select_stamps(stamps: Mapping[str, Stamps], arrival: Arrival) -> Stamps:
    """Select the stamps of a drop's record and manifests, not of its facts: a new tag makes no images old."""
    of_drop = stamps.get(arrival.drop, {})
    return {key: stamp for key, stamp in of_drop.items() if find_fact_owner(key) is None}
