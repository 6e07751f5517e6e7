"""Garbage collection and verification of the store: what no manifest and no receipt needs goes."""

import contextlib
import logging
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dino_assets.errors import CorruptObjectError, ObjectNotFoundError
from dino_assets.records import Part, Receipt
from dino_assets.store.manifests import manifest_key, read_manifests
from dino_assets.store.objects import ObjectInfo, ObjectStore
from dino_assets.store.parts import verify_part
from dino_assets.store.receipts import parse_receipt
from dino_assets.store.sealing import is_json

log = logging.getLogger(__name__)

MIN_AGE = timedelta(days=7)
_PART = re.compile(r"parts/[^#]+/[0-9a-f]{64}(\.[^#/]+)?")  # whatever else lies there is not ours
_STAGING = re.compile(r".+#\d+")  # what a killed put leaves on a local disk; obstore never lists it
_BIN = "collected/"  # where a part waits while we look whether somebody took it up again


@dataclass
class Collection:
    """What a collection removed, or would remove."""

    parts: list[str] = field(default_factory=list)
    receipts: list[str] = field(default_factory=list)
    staging: list[str] = field(default_factory=list)
    bytes: int = 0
    kept_parts: int = 0


def collect(
    store: ObjectStore,
    *,
    now: datetime | None = None,
    min_age: timedelta = MIN_AGE,
    is_dry_run: bool = False,
) -> Collection:
    """Delete parts that nothing refers to, receipts that a manifest has overtaken, staging files.

    Safe beside running writers, one collection at a time. Candidates are listed before references
    are read, must be older than ``min_age``, and are moved aside; then references are read once
    more, and what a writer took up meanwhile is moved back. A writer looks for its parts after its
    manifest is there, so one of the two sees the other; ages only spare needless work.

    Raises:
        CorruptObjectError: a manifest cannot be read, so what it needs is unknown: nothing is deleted.
    """
    oldest = (now or datetime.now(UTC)) - min_age
    done = Collection()
    listed = [info for info in store.list("parts") if _PART.fullmatch(info.key)]
    needed, overtaken = _references(store, oldest)
    unneeded = {i.key: i for i in listed if i.key not in needed and i.modified <= oldest}
    if is_dry_run:
        gone = set(unneeded)
    else:
        for key in unneeded:
            if _is_still_old(store, key, oldest):
                with contextlib.suppress(ObjectNotFoundError):
                    store.move(key, _BIN + key)
        gone = _empty_bin(store, oldest)
        overtaken = [key for key in overtaken if _is_still_old(store, key, oldest)]
        for key in overtaken:
            store.delete(key)
    done.receipts.extend(overtaken)
    done.parts.extend(key for key in unneeded if key in gone)
    done.bytes = sum(unneeded[key].bytes for key in done.parts)
    done.kept_parts = len(listed) - len(done.parts)
    for path in _staging_files(store.folder, oldest):
        if not is_dry_run:
            path.unlink(missing_ok=True)
        done.staging.append(path.name)
    log.info(
        "collected %d parts (%.1f MB), %d receipts, %d staging files; kept %d parts",
        len(done.parts),
        done.bytes / 1e6,
        len(done.receipts),
        len(done.staging),
        done.kept_parts,
    )
    return done


def _references(store: ObjectStore, oldest: datetime) -> tuple[set[str], list[str]]:
    """Keys of parts in use, and of old receipts that a later manifest has overtaken."""
    receipts = list(_receipts(store))
    committed_at = {info.key: info.modified for info in _json_objects(store, "manifests")}
    manifests = read_manifests(store, sorted(committed_at))
    needed = {part.key for manifest in manifests for part in manifest.parts}
    overtaken: list[str] = []
    for info, receipt in receipts:
        if isinstance(receipt, CorruptObjectError):
            log.warning("left alone: %s", receipt)
            continue
        # A receipt newer than the manifest belongs to work that is not finished: a root, however
        # old it is, because somebody paid for it.
        committed = committed_at.get(manifest_key(receipt.output))
        if committed is not None and info.modified <= min(committed, oldest):
            overtaken.append(info.key)
        else:
            needed |= {part.key for part in receipt.parts}
    return needed, overtaken


def _json_objects(store: ObjectStore, prefix: str) -> list[ObjectInfo]:
    return [info for info in store.list(prefix) if is_json(info.key)]


def _receipts(store: ObjectStore) -> Iterator[tuple[ObjectInfo, Receipt | CorruptObjectError]]:
    for info in _json_objects(store, "receipts"):
        try:
            yield info, parse_receipt(store.get(info.key), store=store.url, key=info.key)
        except ObjectNotFoundError:
            continue
        except CorruptObjectError as err:
            yield info, err


def _is_still_old(store: ObjectStore, key: str, oldest: datetime) -> bool:
    try:
        return store.head(key).modified <= oldest
    except ObjectNotFoundError:
        return False


def _empty_bin(store: ObjectStore, oldest: datetime) -> set[str]:
    """Put back what is needed after all, delete the rest; also what a killed collection left."""
    binned = [info.key for info in store.list(_BIN)]
    needed, _ = _references(store, oldest)
    gone: set[str] = set()
    for key in binned:
        original = key.removeprefix(_BIN)
        if original in needed:
            store.move(key, original)
        else:
            store.delete(key)
            gone.add(original)
    return gone


def _staging_files(folder: Path | None, oldest: datetime) -> Iterator[Path]:
    if folder is None:
        return
    for area in ("parts", "manifests", "receipts", "drops", "collected"):
        for path in sorted((folder / area).rglob("*#*")):
            try:
                is_old = datetime.fromtimestamp(path.stat().st_mtime, UTC) <= oldest
            except FileNotFoundError:  # its writer has just finished
                continue
            if is_old and _STAGING.fullmatch(path.name) and path.is_file():
                yield path


def verify(
    store: ObjectStore, *, should_repair: bool = False, records: Container[str] = ()
) -> Iterator[CorruptObjectError]:
    """Read every manifest, receipt and part, and yield what is wrong and what was done about it.

    With ``should_repair`` a manifest or receipt that is bad or has a bad part is deleted: its output
    is then absent, and the next run makes it again. Parts are left, since a writer may be putting a
    good one in place of a bad one right now.

    The manifests of assets in ``records`` are never deleted: they say what cannot be found out again.
    Their bad parts are, so that the next commit of that recipe makes them again.
    """
    verdicts: dict[Part, CorruptObjectError | None] = {}
    for info in sorted(_json_objects(store, "manifests"), key=lambda info: info.key):
        parts: Sequence[Part] = ()
        try:
            manifests = read_manifests(store, [info.key])
        except CorruptObjectError as err:
            faults = [err]
        else:
            parts = [part for m in manifests for part in m.parts]
            faults = _faults(store, parts, verdicts)
        if should_repair and info.key.split("/")[1] in records:
            yield from (_spared(store, info.key, parts, fault) for fault in faults)
        else:
            yield from _repaired(store, info, faults, should_repair)
    for info, receipt in _receipts(store):
        if isinstance(receipt, CorruptObjectError):
            faults = [receipt]
        else:
            faults = _faults(store, receipt.parts, verdicts)
        yield from _repaired(store, info, faults, should_repair)


def _faults(
    store: ObjectStore, parts: Sequence[Part], verdicts: dict[Part, CorruptObjectError | None]
) -> list[CorruptObjectError]:
    # A receipt's parts are usually a manifest's too: each is read once.
    for part in parts:
        if part not in verdicts:
            try:
                verify_part(store, part)
                verdicts[part] = None
            except CorruptObjectError as err:
                verdicts[part] = err
    return [fault for part in parts if (fault := verdicts[part]) is not None]


def _repaired(
    store: ObjectStore, info: ObjectInfo, faults: list[CorruptObjectError], should_repair: bool
) -> list[CorruptObjectError]:
    if faults and should_repair:
        with contextlib.suppress(ObjectNotFoundError):
            if _is_same(store.head(info.key), info):
                store.delete(info.key)
                return [_with(fault, f"Deleted {info.key!r}: run it again.") for fault in faults]
    return faults


def _spared(
    store: ObjectStore, manifest: str, parts: Sequence[Part], fault: CorruptObjectError
) -> CorruptObjectError:
    """Repair what a record has lost without losing the record."""
    if fault.key == manifest:
        return _with(
            fault,
            "It is a record that cannot be made again, so it was left: put it back from a backup, or "
            "delete it yourself once nobody needs to know what it said.",
        )
    if not any(part.key == fault.key and _give_up(store, part) for part in parts):
        return fault
    return _with(
        fault,
        f"The part is given up and {manifest!r} kept, which is a record: run that output again to "
        "have the part again.",
    )


def _give_up(store: ObjectStore, part: Part) -> bool:
    """Delete a bad part, unless a writer has put a good one there since; tells whether it is gone."""
    try:
        seen = store.head(part.key)
        try:
            verify_part(store, part)
        except CorruptObjectError:
            if _is_same(store.head(part.key), seen):
                store.delete(part.key)
                return True
    except ObjectNotFoundError:
        return True
    return False


def _with(fault: CorruptObjectError, done: str) -> CorruptObjectError:
    return CorruptObjectError(f"{fault} {done}", store=fault.store, key=fault.key)


def _is_same(one: ObjectInfo, other: ObjectInfo) -> bool:
    # A writer may have replaced it since it was listed. Some servers list with milliseconds and
    # answer HEAD in whole seconds.
    seconds = {info.modified.replace(microsecond=0) for info in (one, other)}
    return one.etag == other.etag and len(seconds) == 1
