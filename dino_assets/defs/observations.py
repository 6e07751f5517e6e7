"""Observations of drops' sources: what a listing said, as Dagster's history and the drop's record have it."""

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import dagster as dg

from dino_assets.defs.dagster_internals import (
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
)
from dino_assets.drops.arrivals import FolderState, read_folder_state
from dino_assets.drops.observing import record_observed
from dino_assets.drops.records import Drop
from dino_assets.store.objects import ObjectStore

INBOX = dg.AssetKey("inbox")
# Dagster's own name: the UI shows it, and freshness follows from it.
LAST_CHANGED = "dagster/last_updated_timestamp"

PAGE = 200
MAX_ASKED = 500  # names in one query: SQLite takes 999 values at least


def record_look(
    instance: dg.DagsterInstance,
    store: ObjectStore,
    drop: str,
    look: FolderState,
    *,
    write: Callable[[dg.AssetObservation], object],
    clock: Callable[[], float] = time.time,
) -> None:
    """Write what a drop's source looks like, to its record and as an observation.

    Both at once, so that what ``drops list`` calls old is what Dagster calls stale. When the pictures
    changed is carried over from the observation before, if that saw the same.
    """
    record_observed(store, drop, look.fingerprint)
    before = next(list_observations(instance, drop), None)
    changed_s = clock()
    if before and find_version(before) == look.fingerprint:
        changed_s = find_changed_s(before)
    write(
        dg.AssetObservation(
            INBOX,
            partition=drop,
            metadata={
                "files": look.files,
                "photographs": look.photos,
                "bytes": look.bytes,
                LAST_CHANGED: dg.MetadataValue.timestamp(changed_s),
            },
            tags={DATA_VERSION_TAG: look.fingerprint, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"},
        )
    )


def observe_drop(
    instance: dg.DagsterInstance,
    store: ObjectStore,
    drop: Drop,
    *,
    root: Path,
    write: Callable[[dg.AssetObservation], object] | None = None,
) -> FolderState:
    """List a drop's source and record what it looks like.

    Raises:
        SourceError: it cannot be listed.
        ConfigError: its address makes no sense.
        StoreError: its bucket refuses.
    """
    look = read_folder_state(drop.source, root=root)
    record_look(
        instance, store, drop.name, look, write=write or instance.report_runless_asset_event
    )
    return look


def list_observations(
    instance: dg.DagsterInstance, drop: str | None = None
) -> Iterator[dg.EventLogRecord]:
    """Observations of one drop, or of all, the latest first."""
    asked = dg.AssetRecordsFilter(INBOX, asset_partitions=[drop] if drop else None)
    cursor: str | None = None
    while True:
        page = instance.fetch_observations(
            asked, limit=1 if cursor is None else PAGE, cursor=cursor
        )
        yield from page.records
        if not page.has_more:
            return
        cursor = page.cursor


def find_observation(
    instance: dg.DagsterInstance, drop: str, version: str
) -> dg.EventLogRecord | None:
    """Find the latest observation that saw this version of a drop's source."""
    return next((r for r in list_observations(instance, drop) if find_version(r) == version), None)


def find_changes(instance: dg.DagsterInstance, drops: Collection[str]) -> dict[str, float]:
    """When the photographs of each of these drops changed last, as far as somebody looked.

    A page holds the latest observations of the drops that are still wanted, so one at least is found on
    each, however long the history is.
    """
    changed_s: dict[str, float] = {}
    names = sorted(set(drops))
    for start in range(0, len(names), MAX_ASKED):
        wanted = set(names[start : start + MAX_ASKED])
        while wanted:
            asked = dg.AssetRecordsFilter(INBOX, asset_partitions=sorted(wanted))
            records = instance.fetch_observations(asked, limit=PAGE).records
            if not records:
                break
            for record in records:
                if (drop := str(record.partition_key)) in wanted:
                    wanted.remove(drop)
                    changed_s[drop] = find_changed_s(record)
    return changed_s


def find_version(record: dg.EventLogRecord) -> str:
    """The version that an observation saw."""
    event = record.asset_observation
    return str((event.tags or {}).get(DATA_VERSION_TAG, "")) if event else ""


def find_changed_s(record: dg.EventLogRecord) -> float:
    """When the pictures that an observation saw were seen first."""
    event = record.asset_observation
    value = event.metadata[LAST_CHANGED].value if event and LAST_CHANGED in event.metadata else None
    return float(value) if isinstance(value, int | float) else record.timestamp
