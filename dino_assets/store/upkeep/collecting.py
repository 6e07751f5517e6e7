"""Garbage collection: parts and receipts that nothing refers to."""

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dino_assets.counting import count_of
from dino_assets.errors import CorruptObjectError, ObjectNotFoundError
from dino_assets.store.commits.manifests import manifest_key, read_manifests
from dino_assets.store.commits.protocol import Receipt
from dino_assets.store.commits.receipts import read_receipt
from dino_assets.store.commits.sealing import is_json
from dino_assets.store.objects import ObjectInfo, ObjectStore

log = logging.getLogger(__name__)
MIN_AGE = timedelta(days=7)
_PART = re.compile(r"parts/[^#]+/[0-9a-f]{64}(\.[^#/]+)?")  # whatever else lies there is not ours
_STAGING = re.compile(r".+#\d+")  # what a killed put leaves on a local disk; obstore never lists it
_BIN = "collected/"  # where a part waits while we look whether somebody took it up again


@dataclass(frozen=True)
class Collection:
    """What a collection removed, or would remove."""

    parts: list[str]
    receipts: list[str]
    staging: list[str]
    bytes: int
    kept_parts: int


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
    staging = list(_staging_files(store.folder, oldest))
    if not is_dry_run:
        for path in staging:
            path.unlink(missing_ok=True)
    parts = [key for key in unneeded if key in gone]
    done = Collection(
        parts=parts,
        receipts=overtaken,
        staging=[path.name for path in staging],
        bytes=sum(unneeded[key].bytes for key in parts),
        kept_parts=len(listed) - len(parts),
    )
    log.info(
        f"collected {count_of(len(done.parts), 'part')} ({done.bytes / 1e6:.1f} MB), "
        f"{count_of(len(done.receipts), 'receipt')}, "
        f"{count_of(len(done.staging), 'staging file')}; kept {count_of(done.kept_parts, 'part')}"
    )
    return done


def _references(store: ObjectStore, oldest: datetime) -> tuple[set[str], list[str]]:
    """Keys of parts in use, and of old receipts that a later manifest has overtaken."""
    receipts = list(read_receipts(store))
    committed_at = {info.key: info.modified for info in list_json_objects(store, "manifests")}
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


def list_json_objects(store: ObjectStore, prefix: str) -> list[ObjectInfo]:
    """List the JSON objects below a prefix."""
    return [info for info in store.list(prefix) if is_json(info.key)]


def read_receipts(store: ObjectStore) -> Iterator[tuple[ObjectInfo, Receipt | CorruptObjectError]]:
    """Read every receipt; one that is damaged comes as the error."""
    for info in list_json_objects(store, "receipts"):
        try:
            yield info, read_receipt(store, info.key)
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
    areas = ("parts", "manifests", "receipts", "drops", "copies", "digests", "indexes", "collected")
    for area in areas:
        for path in sorted((folder / area).rglob("*#*")):
            try:
                is_old = datetime.fromtimestamp(path.stat().st_mtime, UTC) <= oldest
            except FileNotFoundError:  # its writer has just finished
                continue
            if is_old and _STAGING.fullmatch(path.name) and path.is_file():
                yield path
