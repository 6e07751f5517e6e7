"""Examination of drops' sources: whether they can be read, and whether their files are still there."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dino_assets.counting import count_of
from dino_assets.drops.changes import SourceChanges, find_changes
from dino_assets.drops.records import Drop, SourceEntry
from dino_assets.drops.registry import find_drops
from dino_assets.drops.sources.opening import open_source
from dino_assets.drops.sources.source import is_wanted
from dino_assets.drops.stored_boxes import BOXES_NAME, read_stored_boxes
from dino_assets.errors import ConfigError, CorruptObjectError, SourceError, StoreError
from dino_assets.settings.records import RequestLimits
from dino_assets.store.commits.manifests import find_manifest
from dino_assets.store.commits.protocol import Manifest, OutputId
from dino_assets.store.objects import ObjectStore
from dino_assets.verdicts import Verdict

# Listing costs 1 s per 100,000 files on a disk, and one request per 1,000 files in a bucket.
BUDGET_S = 20.0
LISTING_BUDGET_S = 5.0
# A person waits for `drops list`: an unreachable bucket delays it by two seconds, once.
LATE_BUDGET_S = 0.5
_LATE_LIMITS = RequestLimits(connect_s=1, stall_s=2, retries=0, retry_for_s=2)
_READERS = 16
_LIMITS = RequestLimits(connect_s=3, stall_s=10, retries=1, retry_for_s=10)


@dataclass(frozen=True)
class DropExamination:
    """Result of examining drops: counts, and a verdict on each drop with a problem.

    ``sound`` counts the drops without a problem. ``unseen`` counts the drops that were not examined because
    the time was up. ``boxed`` counts the active drops whose tiles are a detector's boxes.
    """

    sound: int
    retired: int
    unseen: int
    verdicts: tuple[Verdict, ...]
    boxed: int = 0


def examine_drops(
    store: ObjectStore,
    *,
    root: Path,
    clock: Callable[[], float] = time.monotonic,
    budget_s: float = BUDGET_S,
) -> DropExamination:
    """List the source of every active drop, and compare the files with the recorded ``images``.

    No photograph is read, but the boxes of a detector are. If a source cannot be read, the drop's verdict is
    a failure. It is only a warning if the drop is already embedded: then only rounds need its photographs,
    and a round leaves such a drop out. After ``budget_s`` seconds, no further drop is examined.

    Raises:
        StoreError: the store itself cannot be read.
    """
    records = find_drops(store)
    active = {
        name: drop
        for name, drop in records.items()
        if not (isinstance(drop, Drop) and drop.is_retired)
    }
    keys = (info.key for info in store.list("manifests/embeddings"))
    embedded = {key.rpartition("/")[2].removesuffix(".json") for key in keys}
    ends_s = clock() + budget_s

    def examine(name: str) -> Verdict | None:
        if clock() >= ends_s:
            return None
        return _examine(store, name, active[name], root, is_embedded=name in embedded)

    with ThreadPoolExecutor(_READERS) as pool:
        verdicts = list(pool.map(examine, active))
    judged = [verdict for verdict in verdicts if verdict is not None]
    troubled = tuple(verdict for verdict in judged if verdict.warns or not verdict.passed)
    return DropExamination(
        sound=len(judged) - len(troubled),
        retired=len(records) - len(active),
        unseen=len(verdicts) - len(judged),
        verdicts=troubled,
        boxed=sum(isinstance(drop, Drop) and bool(drop.boxes) for drop in active.values()),
    )


def find_damaged(store: ObjectStore) -> Iterator[CorruptObjectError]:
    """Find drops whose record, facts or boxes of a detector cannot be read; yield the error of each."""
    for name, drop in find_drops(store).items():
        if isinstance(drop, CorruptObjectError):
            yield drop
        elif drop.boxes:
            try:
                read_stored_boxes(store, name, drop.boxes)
            except CorruptObjectError as err:
                yield err


def _examine(
    store: ObjectStore,
    name: str,
    drop: Drop | CorruptObjectError,
    root: Path,
    *,
    is_embedded: bool,
) -> Verdict:
    if isinstance(drop, CorruptObjectError):
        return Verdict(name, False, str(drop))
    try:
        if drop.boxes:
            read_stored_boxes(store, name, drop.boxes)
        source = open_source(drop.source, root=root, limits=_LIMITS)
        trouble = _compare(store, drop, source.entries(), is_list=source.is_list)
    except (SourceError, ConfigError, StoreError) as err:
        if isinstance(err, StoreError) and err.store == store.url:
            raise
        if not is_embedded:
            return Verdict(name, False, f"its images cannot be made: {err}")
        consequence = f"rounds leave it out (`dino-assets drops retire {name}` ends this warning)"
        return Verdict(name, True, f"{consequence}: {err}", warns=True)
    except CorruptObjectError as err:
        return Verdict(name, False, str(err))
    return Verdict(name, True, trouble or "all its files are there", warns=bool(trouble))


def find_empty(
    drops: Collection[Drop],
    *,
    root: Path,
    clock: Callable[[], float] = time.monotonic,
    budget_s: float = LISTING_BUDGET_S,
) -> set[str]:
    """List the drops whose sources hold no photographs, such as an empty mount or a folder of notes.

    Drops whose sources cannot be listed, or are not reached within ``budget_s``, are left out.
    """
    ends_s = clock() + budget_s

    def is_empty(drop: Drop) -> bool:
        if clock() >= ends_s:
            return False
        try:
            source = open_source(drop.source, root=root, limits=_LIMITS)
            return not any(is_wanted(each, is_list=source.is_list) for each in source.entries())
        except (SourceError, ConfigError, StoreError, CorruptObjectError):
            return False  # `doctor` reports the reason

    with ThreadPoolExecutor(_READERS) as pool:
        emptiness = list(pool.map(is_empty, drops))
    return {drop.name for drop, empty in zip(drops, emptiness, strict=True) if empty}


def find_late(
    store: ObjectStore,
    made: Mapping[Drop, Manifest],
    *,
    root: Path,
    clock: Callable[[], float] = time.monotonic,
    budget_s: float = LATE_BUDGET_S,
) -> tuple[dict[str, SourceChanges], int]:
    """Find drops whose sources hold photographs that are not in ``images``.

    Return the changes by drop name, and the number of drops that were not examined. ``made`` maps each drop
    to the manifest of its images. Sources that cannot be listed are skipped. After ``budget_s`` seconds, no
    further drop is examined. Most names contain a date, so drops are examined from the last name to the
    first: the newest drops come first.
    """
    ends_s = clock() + budget_s
    drops = sorted(made, key=lambda drop: drop.name, reverse=True)

    def list_changes(drop: Drop) -> SourceChanges | Literal["unseen"] | None:
        if clock() >= ends_s:
            return "unseen"
        try:
            source = open_source(drop.source, root=root, limits=_LATE_LIMITS)
            return find_changes(store, made[drop], source.entries(), is_list=source.is_list)
        except (SourceError, ConfigError, StoreError, CorruptObjectError):
            return None  # `doctor` reports the reason

    with ThreadPoolExecutor(_READERS) as pool:
        changes_of = dict(zip(drops, pool.map(list_changes, drops), strict=True))
    late = {
        drop.name: changes
        for drop, changes in changes_of.items()
        if isinstance(changes, SourceChanges) and changes.has_new
    }
    return late, sum(changes == "unseen" for changes in changes_of.values())


def _compare(store: ObjectStore, drop: Drop, entries: list[SourceEntry], *, is_list: bool) -> str:
    """Describe what is missing or different, and what to do; return an empty text if nothing changed.

    Raises:
        SourceError: the source has no file, or no photograph.
    """
    if not entries:
        raise SourceError(
            f"no file at {drop.source!r}. Check that the disk or card is mounted.",
            reason="empty",
            path=drop.source,
        )
    if not any(is_wanted(entry, is_list=is_list) for entry in entries):
        raise SourceError(
            f"no photographs at {drop.source!r}, only {count_of(len(entries), 'other file')}. "
            "Check that the disk or card is mounted, or leave the drop out with: dino-assets drops "
            f"retire {drop.name}",
            reason="no-photographs",
            path=drop.source,
        )
    absent = [entry.path for entry in entries if entry.refusal == "missing"]
    manifest = find_manifest(store, OutputId("images", drop.name))
    if absent:
        return (
            f"{len(absent)} of the {count_of(len(entries), 'file')} in its list "
            f"{'is' if len(absent) == 1 else 'are'} missing, the first is {absent[0]!r}. Copy missing files "
            "to the listed paths, or remove them from the list"
        )
    if not drop.boxes and not is_list and any(entry.path == BOXES_NAME for entry in entries):
        return (
            f"{BOXES_NAME!r} is in its folder, and no boxes are registered. To make its boxes tiles: "
            f"`dino-assets drops register {drop.name}`, then `dino-assets run {drop.name}`. Otherwise rename it"
        )
    changes = find_changes(store, manifest, entries, is_list=is_list) if manifest else None
    if changes is None:
        return ""
    take_in = f"`dino-assets drops register {drop.name}`, then `dino-assets run {drop.name}`"
    new, gone = changes.describe_new(), changes.describe_gone()
    if gone:
        leaves_out = (
            f"{gone}. A round that needs a missing photograph leaves the drop out. Bring them back"
        )
        return f"{'; '.join(filter(None, [new, leaves_out]))}, or accept the change with: {take_in}"
    times = "its files have other times than when the drop was read, as if they were copied again"
    return f"{new or times}. To accept the change: {take_in}"
