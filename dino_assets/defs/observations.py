"""Observations of drops' sources: listings, recorded in Dagster's history and in the drop's record."""

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import dagster as dg

from dino_assets.defs.dagster_internals.events import (
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
)
from dino_assets.drops.arrivals import FolderState, read_folder_state
from dino_assets.drops.observing import record_observed
from dino_assets.drops.records import Drop
from dino_assets.store.objects import ObjectStore

INBOX = dg.AssetKey("inbox")
# A name of Dagster's: the UI shows this time, and freshness is computed from it.
LAST_CHANGED = "dagster/last_updated_timestamp"

PAGE = 200
MAX_ASKED = 500  # names in one query; SQLite allows at least 999 values


def record_observation(
    instance: dg.DagsterInstance,
    store: ObjectStore,
    drop: str,
    state: FolderState,
    *,
    write: Callable[[dg.AssetObservation], object],
    clock: Callable[[], float] = time.time,
) -> None:
    """Record the state of a drop's source, in the drop's record and as an observation.

    Both are written together, so that ``drops list`` calls a drop old exactly when Dagster calls it stale.
    If the previous observation has the same fingerprint, the time of the last change is copied from it.
    """
    record_observed(store, drop, state.fingerprint)
    previous = next(list_observations(instance, drop), None)
    changed_s = clock()
    if previous and find_version(previous) == state.fingerprint:
        changed_s = find_changed_s(previous)
    write(
        dg.AssetObservation(
            INBOX,
            partition=drop,
            metadata={
                "files": state.files,
                "photographs": state.photos,
                "bytes": state.bytes,
                LAST_CHANGED: dg.MetadataValue.timestamp(changed_s),
            },
            tags={DATA_VERSION_TAG: state.fingerprint, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"},
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
    """List a drop's source, record the source's state, and return it.

    Raises:
        SourceError: the source cannot be listed.
        ConfigError: the source's address is not valid.
        StoreError: the source's bucket refuses access.
    """
    state = read_folder_state(drop.source, root=root)
    record_observation(
        instance, store, drop.name, state, write=write or instance.report_runless_asset_event
    )
    return state


def list_observations(
    instance: dg.DagsterInstance, drop: str | None = None
) -> Iterator[dg.EventLogRecord]:
    """List the observations of one drop, or of all drops, latest first."""
    wanted = dg.AssetRecordsFilter(INBOX, asset_partitions=[drop] if drop else None)
    cursor: str | None = None
    while True:
        page = instance.fetch_observations(
            wanted, limit=1 if cursor is None else PAGE, cursor=cursor
        )
        yield from page.records
        if not page.has_more:
            return
        cursor = page.cursor


def find_observation(
    instance: dg.DagsterInstance, drop: str, version: str
) -> dg.EventLogRecord | None:
    """Find the latest observation of a drop's source with this version; None if there is none."""
    return next((r for r in list_observations(instance, drop) if find_version(r) == version), None)


def find_changes(instance: dg.DagsterInstance, drops: Collection[str]) -> dict[str, float]:
    """Find when the photographs of each drop changed last; drops without observations are left out.

    Each query asks only for drops whose time is not found yet, latest observations first. So each page finds
    the time of at least one drop, however long the history is.
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
    """Read from an observation the version of the drop's source; empty if it has none."""
    event = record.asset_observation
    return str((event.tags or {}).get(DATA_VERSION_TAG, "")) if event else ""


def find_changed_s(record: dg.EventLogRecord) -> float:
    """Read from an observation when the version of the source in it was first seen."""
    event = record.asset_observation
    value = event.metadata[LAST_CHANGED].value if event and LAST_CHANGED in event.metadata else None
    return float(value) if isinstance(value, int | float) else record.timestamp
