"""Digests: many small JSON objects in one, so that readers of thousands ask only for those that are new.

    digests/drops.json.gz, digests/manifests/<asset>/<space>.json.gz

A digest is a cache and never the truth. A LIST names the objects with their stamps (ETag, time, size); a row
of the digest counts where it was read under these very stamps, and every other object is read itself. So a
lost or old digest costs time and nothing else, and a damaged one is no digest. Who has read many objects
puts a new digest in its place; of two at once the last one stays, and what the other one knew is read again.
Small stores have none.
"""

import gc
import gzip
import hashlib
import json
import logging
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from dino_assets.errors import CorruptObjectError, ObjectNotFoundError, StoreError
from dino_assets.store.commits.sealing import is_json
from dino_assets.store.objects import ObjectInfo, ObjectStore

log = logging.getLogger(__name__)
FORMAT = 1
# So few objects are read themselves: a digest is neither asked for nor written for them.
FEW = 32
_READERS = 16
# Of each unit, the objects that it is read from.
Units = Mapping[str, Sequence[ObjectInfo]]
Read = Callable[[ObjectStore, str], Any]
_Row = tuple[list[str], Any]


def digest_key(name: str) -> str:
    """Where a digest lives."""
    return f"digests/{name}.json.gz"


def list_objects(store: ObjectStore, *prefixes: str) -> list[ObjectInfo]:
    """List the JSON objects below some prefixes, all at once."""

    def list_one(prefix: str) -> list[ObjectInfo]:
        return [info for info in store.list(prefix) if is_json(info.key)]

    with ThreadPoolExecutor(len(prefixes)) as pool:
        return [info for infos in pool.map(list_one, prefixes) for info in infos]


@contextmanager
def collecting_later() -> Iterator[None]:
    """Let Python look for garbage after the block: looking at 10,000 records as they come is half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_digested(
    store: ObjectStore,
    name: str,
    units: Units,
    read: Read,
    *,
    wanted: Collection[str] | None = None,
) -> dict[str, Any]:
    """Read the wanted units, by default all, from the digest of this name or else themselves.

    ``units`` are all that were listed. ``read(store, unit)`` gives a unit's JSON value, by ``get`` of its
    objects alone. In place of a damaged one is its CorruptObjectError; one that is gone is left out.
    """
    asked = list(units) if wanted is None else list(wanted)
    with collecting_later():
        rows = load_digest(store, name) if len(asked) > FEW else {}
    stamps = {unit: [_stamp(info) for info in units[unit]] for unit in (units if rows else ())}
    rows = {unit: row for unit, row in rows.items() if stamps.get(unit) == row[0]}
    new = [unit for unit in asked if unit not in rows]

    def read_one(unit: str) -> tuple[Any, _Row | None]:
        noting = _NotingStore(store)
        try:
            value = read(noting, unit)
        except ObjectNotFoundError:
            return None, None
        except CorruptObjectError as err:
            return err, None
        # What was read may be newer than what was listed.
        infos = units[unit]
        is_as_listed = all(info.etag and noting.etags.get(info.key) == info.etag for info in infos)
        return value, ([_stamp(info) for info in infos], value) if is_as_listed else None

    with ThreadPoolExecutor(_READERS) as pool:
        outcomes = dict(zip(new, pool.map(read_one, new), strict=True))
    if len(new) > FEW:
        fresh = {unit: row for unit, (_, row) in outcomes.items() if row is not None}
        _put_digest(store, name, rows | fresh)
    values = {unit: rows[unit][1] if unit in rows else outcomes[unit][0] for unit in asked}
    return {unit: value for unit, value in values.items() if value is not None}


def load_digest(store: ObjectStore, name: str) -> dict[str, _Row]:
    """Read a digest's rows; there are none where it is not there, or not what was written."""
    try:
        data = store.get(digest_key(name))
    except ObjectNotFoundError:
        return {}
    try:
        head, _, body = gzip.decompress(data).partition(b"\n")
        if json.loads(head) != {"format": FORMAT, "sha256": hashlib.sha256(body).hexdigest()}:
            raise ValueError("sha256")
        return {unit: (stamps, value) for unit, stamps, value in json.loads(body)}
    except (OSError, EOFError, zlib.error, ValueError, TypeError, RecursionError) as err:
        log.info("%r is not what was written (%s); its objects are read", digest_key(name), err)
        return {}


def _put_digest(store: ObjectStore, name: str, rows: Mapping[str, _Row]) -> None:
    lines = (json.dumps([unit, *row], separators=(",", ":")) for unit, row in sorted(rows.items()))
    body = ("[" + ",\n".join(lines) + "]\n").encode()
    head = json.dumps({"format": FORMAT, "sha256": hashlib.sha256(body).hexdigest()}).encode()
    try:
        store.put(digest_key(name), gzip.compress(head + b"\n" + body, compresslevel=1, mtime=0))
    except StoreError as err:
        # Of a store that may be read alone, or of a full one: the next reader reads as many again.
        log.info("%r cannot be written: %s", digest_key(name), err)


def _stamp(info: ObjectInfo) -> str:
    return f"{info.key} {info.etag} {info.modified.timestamp()} {info.bytes}"


class _NotingStore(ObjectStore):
    """Reads from another store, and keeps which version of each object it got."""

    def __init__(self, inner: ObjectStore) -> None:
        self.url, self.folder = inner.url, inner.folder
        self.etags: dict[str, str | None] = {}
        self._inner = inner

    def get(self, key: str) -> bytes:
        data, self.etags[key] = self._inner.get_tagged(key)
        return data
