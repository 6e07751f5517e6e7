"""Garbage collection and verification of the store: what no manifest and no receipt needs goes."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dino_assets.errors import CorruptObjectError, ObjectNotFoundError
from dino_assets.records import OutputId, Receipt
from dino_assets.store.manifests import (
    manifest_key,
    parse_receipt,
    read_manifests,
    verify_part,
)
from dino_assets.store.objects import ObjectInfo, ObjectStore

log = logging.getLogger(__name__)

MIN_AGE = timedelta(days=7)
_STAGING = re.compile(r".+#\d+")  # what a killed put leaves on a local disk; obstore never lists it


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

    Safe beside running writers: candidates are listed before references are read, must be older than
    ``min_age``, and are looked at once more right before deletion; writers renew what they reuse.
    """
    oldest = (now or datetime.now(UTC)) - min_age
    done = Collection()
    listed = list(store.list("parts"))
    needed, overtaken = _references(store, oldest)
    for info in listed:
        if info.key in needed or info.modified > oldest:
            done.kept_parts += 1
        elif is_dry_run or _delete_if_still_old(store, info.key, oldest):
            done.parts.append(info.key)
            done.bytes += info.bytes
    for key in overtaken:
        if not is_dry_run:
            store.delete(key)
        done.receipts.append(key)
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
    committed_at = {info.key: info.modified for info in store.list("manifests")}
    manifests = read_manifests(store, sorted(committed_at))
    needed = {part.key for manifest in manifests for part in manifest.parts}
    overtaken: list[str] = []
    for info, receipt in _receipts(store):
        # A receipt newer than the manifest belongs to work that is not finished: a root, however
        # old it is, because somebody paid for it.
        committed = committed_at.get(manifest_key(receipt.output))
        if committed is not None and info.modified <= min(committed, oldest):
            overtaken.append(info.key)
        else:
            needed |= {part.key for part in receipt.parts}
    return needed, overtaken


def _receipts(store: ObjectStore) -> Iterator[tuple[ObjectInfo, Receipt]]:
    for info in store.list("receipts"):
        _, asset, space, drop, shard = info.key.split("/")
        output = OutputId(asset, None if drop == "_" else drop, None if space == "_" else space)
        try:
            data = store.get(info.key)
        except ObjectNotFoundError:
            continue
        try:
            receipt = parse_receipt(
                data, output, shard.removesuffix(".json"), store=store.url, key=info.key
            )
        except CorruptObjectError as err:
            log.warning("left alone: %s", err)
            continue
        yield info, receipt


def _delete_if_still_old(store: ObjectStore, key: str, oldest: datetime) -> bool:
    try:
        if store.head(key).modified > oldest:
            return False
    except ObjectNotFoundError:
        return False
    store.delete(key)
    return True


def _staging_files(folder: Path | None, oldest: datetime) -> Iterator[Path]:
    if folder is None:
        return
    for area in ("parts", "manifests", "receipts", "drops"):
        for path in sorted((folder / area).rglob("*#*")):
            if (
                _STAGING.fullmatch(path.name)
                and path.is_file()
                and datetime.fromtimestamp(path.stat().st_mtime, UTC) <= oldest
            ):
                yield path


def verify(store: ObjectStore, *, should_repair: bool = False) -> Iterator[CorruptObjectError]:
    """Read every committed part and yield what is wrong.

    With ``should_repair`` a bad part is deleted, so that the next run of its output makes it again.
    """
    for key in sorted(info.key for info in store.list("manifests")):
        try:
            manifests = read_manifests(store, [key])
        except CorruptObjectError as err:
            yield err
            continue
        for part in (part for manifest in manifests for part in manifest.parts):
            try:
                verify_part(store, part)
            except CorruptObjectError as err:
                if should_repair:
                    store.delete(part.key)
                yield err
