"""Indexes: rows that say where a thing may be, so that nobody looks through everything that is committed.

    indexes/<name>/<sha256>.json.gz

Rows are hints and never the truth. A writer adds its row before it commits what the row points at, and a
reader holds each row that it goes by against what is committed. Every object is a set of rows, immutable
and named by its content, and all together are the index: so two writers keep each other's rows, and there
is no turn to wait for. Whoever finds many puts their union beside them and then deletes them; a kill in
between leaves rows twice. An index that is gone, or has a damaged object, is made again from what is
committed.
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
_LOOKS = 3


class _MovedError(Exception):
    """Somebody put objects together since they were listed."""


def read_index(store: ObjectStore, name: str, make: Callable[[], Iterable[Row]]) -> set[Row]:
    """Read all rows of an index; ``make`` gives those of what is committed, should it be gone or damaged."""
    for _ in range(_LOOKS):
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
        log.info("index %r is made of all that is committed", name)
        rows |= set(make())
    if rows and not (is_whole and len(keys) <= MOST_OBJECTS):
        _replace(store, name, rows, keys)
    return rows


def add_row(store: ObjectStore, name: str, row: Row, make: Callable[[], Iterable[Row]]) -> None:
    """Add a row, before what it points at is committed; ``make`` as for ``read_index``."""
    if not _list_keys(store, name):
        # With this row alone it would seem whole.
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
        # It costs the next one time. Where nothing can be written at all, the commit says so.
        log.info("%r cannot be written: %s", key, err)
        return None
    return key


def _read_rows(store: ObjectStore, key: str) -> list[Row] | None:
    """The rows of one object; None where it is damaged, at a second read too."""
    for _ in range(2):
        try:
            data = store.get(key)
        except ObjectNotFoundError:
            raise _MovedError from None
        if key.endswith(f"/{hashlib.sha256(data).hexdigest()}.json.gz"):
            return [tuple(row) for row in json.loads(gzip.decompress(data))]
    log.info("%r is not what was written", key)
    return None


def _list_keys(store: ObjectStore, name: str) -> list[str]:
    keys = (info.key for info in store.list(_prefix(name)))
    return sorted(key for key in keys if key.endswith(".json.gz"))


def _prefix(name: str) -> str:
    return f"indexes/{name}"
