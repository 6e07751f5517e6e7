"""Verification of a store: reading every committed object, reporting damage, and repairing it on request."""

import contextlib
from collections.abc import Container, Iterator, Sequence
from functools import cache

from dino_assets.errors import CorruptObjectError, ObjectNotFoundError
from dino_assets.store.commits.catalogue import RECORDS
from dino_assets.store.commits.manifests import read_manifests
from dino_assets.store.commits.parts import verify_part
from dino_assets.store.commits.protocol import Part
from dino_assets.store.commits.records import find_copy
from dino_assets.store.commits.rereading import read_again
from dino_assets.store.commits.sealing import unseal
from dino_assets.store.objects import ObjectInfo, ObjectStore
from dino_assets.store.upkeep.collecting import list_json_objects, read_receipts

_ASIDE = "damaged/"  # objects that exist only once and cannot be read
_ONLY_ONCE = ("answers", "imports", "prototypes")  # what people made, one object each
_UNSTEADY = (
    "Nothing was deleted, because two reads gave different bytes. Check this machine's memory and the "
    "network to the store, then verify again."
)


def verify(
    store: ObjectStore, *, should_repair: bool = False, records: Container[str] = RECORDS
) -> Iterator[CorruptObjectError]:
    """Read every manifest, receipt and part. Yield each fault as an error that says what was done about it.

    With ``should_repair``, a manifest or receipt that is damaged or has a damaged part is deleted. Its output
    is then absent, and the next run makes that output again. All parts are kept, because a writer may be
    replacing the damaged one at this moment. If a second read gives different bytes, nothing is deleted: the
    fault is between this machine and the store.

    Digests and indexes are not verified, because their readers check them. A repair deletes them, and readers
    make them again.

    The manifests of assets in ``records`` are never deleted, because they cannot be made again. A damaged
    manifest of such an asset is restored from its copy. A damaged part is deleted, so that the next commit
    of the same recipe makes that part again.

    Answers of people, records of imports and prototypes exist only once. A repair moves damaged ones below
    ``damaged/``, so that labels and heat maps can be made from the intact objects.
    """

    @cache  # receipts and manifests share parts: read each part once
    def find_fault(part: Part) -> CorruptObjectError | None:
        try:
            verify_part(store, part)
        except CorruptObjectError as err:
            return err
        return None

    for info in sorted(list_json_objects(store, "manifests"), key=lambda info: info.key):
        parts: Sequence[Part] = ()
        try:
            manifests = read_manifests(store, [info.key])
        except CorruptObjectError as err:
            faults = [err]
        else:
            parts = [part for m in manifests for part in m.parts]
            faults = list(filter(None, map(find_fault, parts)))
        if should_repair and info.key.split("/")[1] in records:
            yield from (_repair_record(store, info, parts, fault) for fault in faults)
        else:
            yield from _repair(store, info, faults, should_repair)
    for info, receipt in read_receipts(store):
        if isinstance(receipt, CorruptObjectError):
            faults = [receipt]
        else:
            faults = list(filter(None, map(find_fault, receipt.parts)))
        yield from _repair(store, info, faults, should_repair)
    for folder in _ONLY_ONCE:
        for info in list_json_objects(store, folder):
            yield from _check_sealed(store, info, should_repair=should_repair)
    if should_repair:
        # Caches only: the next reader makes them again.
        for info in [*store.list("digests"), *store.list("indexes")]:
            store.delete(info.key)


def _check_sealed(
    store: ObjectStore, info: ObjectInfo, *, should_repair: bool
) -> Iterator[CorruptObjectError]:
    try:
        read_again(lambda: unseal(store.get(info.key), store=store.url, key=info.key))
    except ObjectNotFoundError:
        return
    except CorruptObjectError as fault:
        if not should_repair:
            yield fault
        elif not fault.is_steady:
            yield _with(fault, _UNSTEADY)
        else:
            store.move(info.key, _ASIDE + info.key)
            yield _with(
                fault,
                f"It was moved to {_ASIDE + info.key!r}, and labels and heat maps are made without it. To have it "
                f"back, put an undamaged copy of it from a backup at {info.key!r}.",
            )


def _repair(
    store: ObjectStore, info: ObjectInfo, faults: list[CorruptObjectError], should_repair: bool
) -> list[CorruptObjectError]:
    if not should_repair:
        return faults
    if not all(fault.is_steady for fault in faults):
        return [_with(fault, _UNSTEADY) for fault in faults]
    if faults:
        with contextlib.suppress(ObjectNotFoundError):
            if _is_same(store.head(info.key), info):
                store.delete(info.key)
                return [
                    _with(fault, f"Deleted {info.key!r}. Make its output again.")
                    for fault in faults
                ]
    return faults


def _repair_record(
    store: ObjectStore, info: ObjectInfo, parts: Sequence[Part], fault: CorruptObjectError
) -> CorruptObjectError:
    """Repair a fault of a record without deleting its manifest."""
    manifest = info.key
    if fault.key == manifest:
        if not fault.is_steady:
            return _with(fault, _UNSTEADY)
        if _restore(store, info):
            return _with(fault, "It was restored from its copy, as it was committed.")
        _, asset, space, name = manifest.removesuffix(".json").split("/")
        command = f"dino-assets rounds --set-aside {name} --space {space}"
        return _with(
            fault,
            "Nothing was deleted: it is a record that cannot be made again, and it has no undamaged copy. "
            "Restore it from a backup"
            + (f", or set it aside with `{command}`." if asset == "selections" else "."),
        )
    if not any(part.key == fault.key and _delete_damaged(store, part) for part in parts):
        return fault
    return _with(
        fault,
        f"Deleted the part and kept the record {manifest!r}. Make that output again, with the same "
        "settings, to restore the part.",
    )


def _restore(store: ObjectStore, info: ObjectInfo) -> bool:
    """Restore a damaged manifest from its copy. Return whether that was possible."""
    data = find_copy(store, info.key)
    try:
        if data is None or not _is_same(store.head(info.key), info):
            return False
    except ObjectNotFoundError:
        return False
    store.put(info.key, data, is_lasting=True)
    return True


def _delete_damaged(store: ObjectStore, part: Part) -> bool:
    """Delete a damaged part, unless a writer has replaced it meanwhile. Return whether it is absent now."""
    try:
        seen = store.head(part.key)
        try:
            verify_part(store, part)
        except CorruptObjectError as err:
            if err.is_steady and _is_same(store.head(part.key), seen):
                store.delete(part.key)
                return True
    except ObjectNotFoundError:
        return True
    return False


def _with(fault: CorruptObjectError, done: str) -> CorruptObjectError:
    return CorruptObjectError(f"{fault} {done}", store=fault.store, key=fault.key)


def _is_same(one: ObjectInfo, other: ObjectInfo) -> bool:
    # A writer may have replaced the object since it was listed. Times are compared in whole seconds, because
    # some servers give milliseconds in listings and whole seconds in HEAD.
    seconds = {info.modified.replace(microsecond=0) for info in (one, other)}
    return one.etag == other.etag and len(seconds) == 1
