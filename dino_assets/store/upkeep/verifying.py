"""Verification of the store: every object read back, what is bad named or given up."""

import contextlib
from collections.abc import Container, Iterator, Sequence
from functools import cache

from dino_assets.errors import CorruptObjectError, ObjectNotFoundError
from dino_assets.store.commits.catalogue import RECORDS
from dino_assets.store.commits.manifests import read_manifests
from dino_assets.store.commits.parts import verify_part
from dino_assets.store.commits.protocol import Part
from dino_assets.store.commits.records import find_copy
from dino_assets.store.objects import ObjectInfo, ObjectStore
from dino_assets.store.upkeep.collecting import list_json_objects, read_receipts

_UNSTEADY = (
    "Nothing was deleted, since two reads gave different bytes: look at the memory and the network "
    "between here and the store, then verify again."
)


def verify(
    store: ObjectStore, *, should_repair: bool = False, records: Container[str] = RECORDS
) -> Iterator[CorruptObjectError]:
    """Read every manifest, receipt and part, and yield what is wrong and what was done about it.

    With ``should_repair`` a manifest or receipt that is bad or has a bad part is deleted: its output
    is then absent, and the next run makes it again. Parts are left, since a writer may be putting a
    good one in place of a bad one right now. Nothing is deleted whose bytes are others at a second read:
    what is wrong then is the way to them.

    Digests and indexes are not looked at, since their readers hold them against what is there; a repair
    begins them anew.

    The manifests of assets in ``records`` (those of the catalogue) are never deleted: they say what
    cannot be found out again. A bad one is put back from its copy. Their bad parts are given up, so that the
    next commit of that recipe makes them again.
    """

    @cache  # a receipt's parts are usually a manifest's too: each is read once
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
            yield from (_spared(store, info, parts, fault) for fault in faults)
        else:
            yield from _repaired(store, info, faults, should_repair)
    for info, receipt in read_receipts(store):
        if isinstance(receipt, CorruptObjectError):
            faults = [receipt]
        else:
            faults = list(filter(None, map(find_fault, receipt.parts)))
        yield from _repaired(store, info, faults, should_repair)
    if should_repair:
        # Nothing above trusts them, and whoever needs them next makes them anew.
        for info in [*store.list("digests"), *store.list("indexes")]:
            store.delete(info.key)


def _repaired(
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
                return [_with(fault, f"Deleted {info.key!r}: run it again.") for fault in faults]
    return faults


def _spared(
    store: ObjectStore, info: ObjectInfo, parts: Sequence[Part], fault: CorruptObjectError
) -> CorruptObjectError:
    """Repair what a record has lost without losing the record."""
    manifest = info.key
    if fault.key == manifest:
        if not fault.is_steady:
            return _with(fault, _UNSTEADY)
        if _put_back(store, info):
            return _with(fault, "It is put back from its copy, as it was committed.")
        _, asset, space, name = manifest.removesuffix(".json").split("/")
        command = f"dino-assets rounds --set-aside {name} --space {space}"
        return _with(
            fault,
            "It is a record that cannot be made again, and no copy of it is whole, so it was left: put "
            "it back from a backup"
            + (f", or set it aside with `{command}`." if asset in RECORDS else "."),
        )
    if not any(part.key == fault.key and _give_up(store, part) for part in parts):
        return fault
    return _with(
        fault,
        f"The part is given up and {manifest!r} kept, which is a record: run that output again to "
        "have the part again.",
    )


def _put_back(store: ObjectStore, info: ObjectInfo) -> bool:
    """Put a damaged manifest back from its copy; tells whether that was done."""
    data = find_copy(store, info.key)
    try:
        if data is None or not _is_same(store.head(info.key), info):
            return False
    except ObjectNotFoundError:
        return False
    store.put(info.key, data, is_lasting=True)
    return True


def _give_up(store: ObjectStore, part: Part) -> bool:
    """Delete a bad part, unless a writer has put a good one there since; tells whether it is gone."""
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
    # A writer may have replaced it since it was listed. Some servers list with milliseconds and
    # answer HEAD in whole seconds.
    seconds = {info.modified.replace(microsecond=0) for info in (one, other)}
    return one.etag == other.etag and len(seconds) == 1
