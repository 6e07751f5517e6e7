"""Late files: photographs that come to a finished drop, which no run reads by itself."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dino_assets.drops.arrivals import Arrival, FolderState, describe_entries
from dino_assets.drops.changes import SourceChanges, find_changes
from dino_assets.drops.facts import find_owner
from dino_assets.drops.finished import Stamps
from dino_assets.drops.sources.opening import open_source
from dino_assets.errors import ConfigError, CorruptObjectError, SourceError, StoreError
from dino_assets.settings.records import BRIEF_LIMITS
from dino_assets.store.commits.manifests import find_manifest
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.objects import ObjectStore

# A listing of 500 files costs 5 ms on a disk, so 100 finished drops are looked at in a tick.
BUDGET_S = 0.5
# Of all time, what looking may take where one look takes longer: a million files are listed in 10 s.
MAX_SHARE = 0.02


@dataclass(frozen=True)
class LateFiles:
    """What came to one finished drop. ``is_settled`` is set once: a second look saw the same."""

    folder: str
    drop: str
    look: FolderState
    changes: SourceChanges
    is_settled: bool

    def describe(self) -> str:
        """Say what to do, and what for: a note is cut at its end."""
        return (
            f"finished; to take in what is new: dino-assets drops register {self.drop} "
            f"({self.changes.describe_new()})"
        )


@dataclass(frozen=True)
class _Seen:
    """What a look saw of a drop whose record and manifests had these stamps."""

    stamps: Stamps
    look: FolderState
    changes: SourceChanges | None
    looks: int


class LateWatch:
    """Looks at finished drops in turn. Its memory is lost with the process, and then it looks again."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._after = ""
        self._ended_s = -math.inf
        self._rest_s = 0.0

    def look(
        self,
        store: ObjectStore,
        finished: Sequence[Arrival],
        stamps: Mapping[str, Stamps],
        *,
        root: Path,
        clock: Callable[[], float],
    ) -> tuple[LateFiles, ...]:
        """Look at as many finished drops as there is time for; give all that is known of late files.

        One that cannot be listed is passed over, since what is made of it stands.
        """
        where = str(store.folder or store.url)
        looked = set(self._look_in_turn(store, where, finished, stamps, root=root, clock=clock))
        late = []
        for arrival in finished:
            seen = self._seen.get((where, arrival.drop))
            if seen is None or seen.stamps != _stamps_of(stamps, arrival):
                continue
            if seen.changes is not None and seen.changes.has_new:
                is_settled = arrival in looked and seen.looks == 2
                late.append(
                    LateFiles(arrival.folder, arrival.drop, seen.look, seen.changes, is_settled)
                )
        return tuple(late)

    def _look_in_turn(
        self,
        store: ObjectStore,
        where: str,
        finished: Sequence[Arrival],
        stamps: Mapping[str, Stamps],
        *,
        root: Path,
        clock: Callable[[], float],
    ) -> list[Arrival]:
        started_s = clock()
        looked: list[Arrival] = []
        # A clock that was set back is no reason to rest.
        if 0 <= started_s - self._ended_s < self._rest_s:
            return looked
        for arrival in sorted(finished, key=lambda a: (a.folder <= self._after, a.folder)):
            if clock() - started_s >= BUDGET_S:
                break
            self._after = arrival.folder
            key, own = (where, arrival.drop), _stamps_of(stamps, arrival)
            seen = _look_at(store, arrival, own, self._seen.get(key), root=root)
            if seen is not None:
                self._seen[key] = seen
                looked.append(arrival)
        self._ended_s = clock()
        took_s = self._ended_s - started_s
        self._rest_s = took_s / MAX_SHARE if took_s > BUDGET_S else 0.0
        return looked


def _look_at(
    store: ObjectStore, arrival: Arrival, stamps: Stamps, before: _Seen | None, *, root: Path
) -> _Seen | None:
    try:
        source = open_source(arrival.source, root=root, limits=BRIEF_LIMITS)
        entries = source.entries()
        look = describe_entries(entries)
        if before and before.stamps == stamps and before.look.fingerprint == look.fingerprint:
            return _Seen(stamps, look, before.changes, before.looks + 1)
        images = find_manifest(store, OutputId("images", arrival.drop))
        if images is None:
            return None
        changes = find_changes(store, images, entries, is_list=source.is_list)
    except (SourceError, ConfigError, StoreError, CorruptObjectError):
        return None  # `doctor` says why
    return _Seen(stamps, look, changes, 1)


def _stamps_of(stamps: Mapping[str, Stamps], arrival: Arrival) -> Stamps:
    """Stamps of a drop's record and manifests; what else is said of it makes no images old."""
    own = stamps.get(arrival.drop, {})
    return {key: stamp for key, stamp in own.items() if find_owner(key) is None}
