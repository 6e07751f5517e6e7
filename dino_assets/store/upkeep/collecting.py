"""Garbage collection of parts and receipts that nothing refers to."""

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
_PART = re.compile(r"parts/[^#]+/[0-9a-f]{64}(\.[^#/]+)?")  # other objects there are not touched
_STAGING = re.compile(r".+#\d+")  # left on a local disk by a killed put; obstore never lists it
_BIN = "collected/"  # parts wait here until all references have been read a second time


@dataclass(frozen=True)
class Collection:
    """What a garbage collection deleted, or would delete."""

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
    """Delete unreferenced parts, receipts older than their output's manifest, and files of killed writers.

    With ``is_dry_run``, nothing is moved or deleted, and the result says what would be.

    Writers may run meanwhile, but only one collection at a time. Unreferenced parts older than ``min_age``
    are moved aside. Then all references are read again. Parts that a writer has used meanwhile are moved
    back, and the rest are deleted. A writer checks its parts after putting its manifest, and a collection
    reads the manifests after moving parts, so one of the two always notices a conflict. ``min_age`` only
    avoids needless moves.

    Raises:
        CorruptObjectError: a manifest cannot be read, so its parts are unknown. Nothing is deleted.
    """
    oldest = (now or datetime.now(UTC)) - min_age
    listed = [info for info in store.list("parts") if _PART.fullmatch(info.key)]
    needed, superseded = _references(store, oldest)
    unneeded = {i.key: i for i in listed if i.key not in needed and i.modified <= oldest}
    if is_dry_run:
        deleted = set(unneeded)
    else:
        for key in unneeded:
            if _is_still_old(store, key, oldest):
                with contextlib.suppress(ObjectNotFoundError):
                    store.move(key, _BIN + key)
        deleted = _empty_bin(store, oldest)
        superseded = [key for key in superseded if _is_still_old(store, key, oldest)]
        for key in superseded:
            store.delete(key)
    staging = list(_staging_files(store.folder, oldest))
    if not is_dry_run:
        for path in staging:
            path.unlink(missing_ok=True)
    parts = [key for key in unneeded if key in deleted]
    done = Collection(
        parts=parts,
        receipts=superseded,
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
    """List the keys of parts in use, and the keys of old receipts whose output was committed later."""
    receipts = list(read_receipts(store))
    committed_at = {info.key: info.modified for info in list_json_objects(store, "manifests")}
    manifests = read_manifests(store, sorted(committed_at))
    needed = {part.key for manifest in manifests for part in manifest.parts}
    superseded: list[str] = []
    for info, receipt in receipts:
        if isinstance(receipt, CorruptObjectError):
            log.warning("kept a damaged receipt: %s", receipt)
            continue
        # A receipt newer than the manifest belongs to unfinished work. Its parts are kept at any age,
        # because computing them was expensive.
        committed = committed_at.get(manifest_key(receipt.output))
        if committed is not None and info.modified <= min(committed, oldest):
            superseded.append(info.key)
        else:
            needed |= {part.key for part in receipt.parts}
    return needed, superseded


def list_json_objects(store: ObjectStore, prefix: str) -> list[ObjectInfo]:
    """List the JSON objects below a prefix."""
    return [info for info in store.list(prefix) if is_json(info.key)]


def read_receipts(store: ObjectStore) -> Iterator[tuple[ObjectInfo, Receipt | CorruptObjectError]]:
    """Read every receipt; yield the error in place of a damaged one."""
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
    """Move collected parts back if they are needed after all, and delete the rest; return the deleted keys.

    This includes parts that an earlier collection moved aside before it was killed.
    """
    binned = [info.key for info in store.list(_BIN)]
    needed, _ = _references(store, oldest)
    deleted: set[str] = set()
    for key in binned:
        original = key.removeprefix(_BIN)
        if original in needed:
            store.move(key, original)
        else:
            store.delete(key)
            deleted.add(original)
    return deleted


def _staging_files(folder: Path | None, oldest: datetime) -> Iterator[Path]:
    if folder is None:
        return
    areas = (
        "parts", "manifests", "receipts", "drops", "boxes", "copies", "digests", "indexes", "collected",
    )  # fmt: skip
    for area in areas:
        for path in sorted((folder / area).rglob("*#*")):
            try:
                is_old = datetime.fromtimestamp(path.stat().st_mtime, UTC) <= oldest
            except FileNotFoundError:  # its writer has just finished
                continue
            if is_old and _STAGING.fullmatch(path.name) and path.is_file():
                yield path
