"""Indexes: rows that say where something may be, so that a search need not read all manifests.

    indexes/<name>/<sha256>.json.gz

Rows are only hints. A writer adds a row before it commits the output that the row points at. A reader
checks each row that it uses against the committed output. Each object is an immutable set of rows, named
by its content; all objects together are the index. Two writers therefore keep each other's rows without
waiting. A reader that sees many objects puts one object with all rows, then deletes the older objects. If
the reader is killed in between, rows exist twice, which does no harm. An index that is missing or has a
damaged object is rebuilt from what is committed.
"""

import gzip
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from dino_assets.errors import ObjectNotFoundError, StoreError
from dino_assets.store.objects import ObjectStore

log = logging.getLogger(__name__)
Row = tuple[str, ...]
MOST_OBJECTS = 32
_READERS = 16
_ATTEMPTS = 3


class _MovedError(Exception):
    """Another reader has merged objects since they were listed."""


def read_index(store: ObjectStore, name: str, make: Callable[[], Iterable[Row]]) -> set[Row]:
    """Read all rows of an index; rebuild it if it is missing or damaged.

    ``make`` lists the rows of everything that is committed, from which the index is rebuilt.
    """
    for _ in range(_ATTEMPTS):
        keys = _list_keys(store, name)
        try:
            with ThreadPoolExecutor(_READERS) as pool:
                pieces = list(pool.map(lambda key: _read_rows(store, key), keys))
        except _MovedError:
            continue
        break
    else:
        keys, pieces = [], []
    rows = {row for piece in pieces if piece is not None for row in piece}
    is_whole = bool(pieces) and None not in pieces
    if not is_whole:
        log.info("rebuilding index %r from all committed outputs", name)
        rows |= set(make())
    if rows and not (is_whole and len(keys) <= MOST_OBJECTS):
        _replace(store, name, rows, keys)
    return rows


def add_row(store: ObjectStore, name: str, row: Row, make: Callable[[], Iterable[Row]]) -> None:
    """Add a row to an index. Call this before the output that the row points at is committed.

    A missing index is rebuilt first, with ``make`` as in ``read_index``.
    """
    if not _list_keys(store, name):
        # Rebuild first: an index with only this row would look complete.
        read_index(store, name, make)
    _put_rows(store, name, {row})


def _replace(store: ObjectStore, name: str, rows: set[Row], keys: Sequence[str]) -> None:
    union = _put_rows(store, name, rows)
    if union is None:
        return
    for key in keys:
        if key != union:
            store.delete(key)


def _put_rows(store: ObjectStore, name: str, rows: set[Row]) -> str | None:
    body = ("[" + ",\n".join(json.dumps(row) for row in sorted(rows)) + "]\n").encode()
    data = gzip.compress(body, compresslevel=1, mtime=0)
    key = f"{_prefix(name)}/{hashlib.sha256(data).hexdigest()}.json.gz"
    try:
        store.put(key, data)
    except StoreError as err:
        # Not raised, because rows are only hints. If the store is read-only, the commit itself fails.
        log.info("cannot write index %r: %s", key, err)
        return None
    return key


def _read_rows(store: ObjectStore, key: str) -> list[Row] | None:
    """Read the rows of one object; return None if a second read gives damaged bytes, too."""
    for _ in range(2):
        try:
            data = store.get(key)
        except ObjectNotFoundError:
            raise _MovedError from None
        if key.endswith(f"/{hashlib.sha256(data).hexdigest()}.json.gz"):
            return [tuple(row) for row in json.loads(gzip.decompress(data))]
    log.info("index object %r is damaged", key)
    return None


def _list_keys(store: ObjectStore, name: str) -> list[str]:
    keys = (info.key for info in store.list(_prefix(name)))
    return sorted(key for key in keys if key.endswith(".json.gz"))


def _prefix(name: str) -> str:
    return f"indexes/{name}"
