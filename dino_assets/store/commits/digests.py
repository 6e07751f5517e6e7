"""Digests: a digest is one object that caches many small JSON objects, so that readers fetch only new ones.

    digests/drops.json.gz, digests/manifests/<asset>/<space>.json.gz

A digest has one row for each unit. A unit is one JSON object, or several that belong together. The row holds
the value of the unit, and the stamp (ETag, time, size) of each object. A reader lists the objects, and uses
a row only if its stamps equal the listed ones. All other units are read from their objects. A lost or old
digest therefore costs only time, and a damaged one is ignored.

A reader that had to read many objects writes a new digest. If two readers write at the same time, the later
digest stays. Units missing in it are read again from their objects. Small stores have no digests.
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
# Up to this many objects are read without a digest.
FEW = 32
_READERS = 16
# Unit → the objects that it is read from.
Units = Mapping[str, Sequence[ObjectInfo]]
Read = Callable[[ObjectStore, str], Any]
_Row = tuple[list[str], Any]


def digest_key(name: str) -> str:
    """Return the key of a digest."""
    return f"digests/{name}.json.gz"


def list_objects(store: ObjectStore, *prefixes: str) -> list[ObjectInfo]:
    """List the JSON objects below some prefixes, in parallel."""

    def list_one(prefix: str) -> list[ObjectInfo]:
        return [info for info in store.list(prefix) if is_json(info.key)]

    with ThreadPoolExecutor(len(prefixes)) as pool:
        return [info for infos in pool.map(list_one, prefixes) for info in infos]


@contextmanager
def collecting_later() -> Iterator[None]:
    """Delay Python's garbage collection until the block ends.

    Otherwise, garbage collection takes half of the time of reading 10,000 records.
    """
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
    """Read the wanted units, by default all, from the digest ``name`` or else from their objects.

    ``units`` maps all listed units to their objects. ``read(store, unit)`` returns the JSON value of one
    unit; it may read only that unit's objects, and only by ``store.get``. In the result, the value of a
    damaged unit is its CorruptObjectError, and deleted units are left out.
    """
    requested = list(units) if wanted is None else list(wanted)
    with collecting_later():
        rows = load_digest(store, name) if len(requested) > FEW else {}
    stamps = {unit: [_stamp(info) for info in units[unit]] for unit in (units if rows else ())}
    rows = {unit: row for unit, row in rows.items() if stamps.get(unit) == row[0]}
    new = [unit for unit in requested if unit not in rows]

    def read_one(unit: str) -> tuple[Any, _Row | None]:
        recording = _RecordingStore(store)
        try:
            value = read(recording, unit)
        except ObjectNotFoundError:
            return None, None
        except CorruptObjectError as err:
            return err, None
        # An object may have been replaced after the listing: its value must not get the listed stamp.
        infos = units[unit]
        is_as_listed = all(
            info.etag and recording.etags.get(info.key) == info.etag for info in infos
        )
        return value, ([_stamp(info) for info in infos], value) if is_as_listed else None

    with ThreadPoolExecutor(_READERS) as pool:
        outcomes = dict(zip(new, pool.map(read_one, new), strict=True))
    if len(new) > FEW:
        fresh = {unit: row for unit, (_, row) in outcomes.items() if row is not None}
        _put_digest(store, name, rows | fresh)
    values = {unit: rows[unit][1] if unit in rows else outcomes[unit][0] for unit in requested}
    return {unit: value for unit, value in values.items() if value is not None}


def load_digest(store: ObjectStore, name: str) -> dict[str, _Row]:
    """Read the rows of a digest; return no rows if it is missing or damaged."""
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
        log.info("digest %r is damaged (%s); reading its objects instead", digest_key(name), err)
        return {}


def _put_digest(store: ObjectStore, name: str, rows: Mapping[str, _Row]) -> None:
    lines = (json.dumps([unit, *row], separators=(",", ":")) for unit, row in sorted(rows.items()))
    body = ("[" + ",\n".join(lines) + "]\n").encode()
    head = json.dumps({"format": FORMAT, "sha256": hashlib.sha256(body).hexdigest()}).encode()
    try:
        store.put(digest_key(name), gzip.compress(head + b"\n" + body, compresslevel=1, mtime=0))
    except StoreError as err:
        # For example, the store is read-only or full. The next reader reads the same objects again.
        log.info("cannot write digest %r: %s", digest_key(name), err)


def _stamp(info: ObjectInfo) -> str:
    return f"{info.key} {info.etag} {info.modified.timestamp()} {info.bytes}"


class _RecordingStore(ObjectStore):
    """A view of another store that records the ETag of each object it reads."""

    def __init__(self, inner: ObjectStore) -> None:
        self.url, self.folder = inner.url, inner.folder
        self.etags: dict[str, str | None] = {}
        self._inner = inner

    def get(self, key: str) -> bytes:
        data, self.etags[key] = self._inner.get_tagged(key)
        return data
