"""Backup copies of the manifests of records, which cannot be made again if they are damaged.

    copies/manifests/<asset>/<space>/<drop>.json    the same bytes as the manifest, put just before it

A record (``catalogue.RECORDS``) is an output that people have acted on, such as a round that was labelled.
A copy is only read to repair its damaged manifest.
"""

from dino_assets.errors import CorruptObjectError, ObjectNotFoundError
from dino_assets.store.commits.catalogue import RECORDS
from dino_assets.store.commits.manifests import parse_manifest
from dino_assets.store.commits.parts import is_there
from dino_assets.store.commits.rereading import read_again
from dino_assets.store.objects import ObjectStore

COPIES = "copies/"


def copy_record(store: ObjectStore, key: str, data: bytes) -> None:
    """Put a copy of a manifest, if it belongs to a record."""
    if key.split("/")[1] in RECORDS:
        store.put(COPIES + key, data, is_lasting=True)


def copy_missing(store: ObjectStore, key: str, data: bytes) -> None:
    """Put a copy of a record's manifest if it has none: earlier versions made no copies."""
    if key.split("/")[1] in RECORDS and not store.exists(COPIES + key):
        copy_record(store, key, data)


def find_copy(store: ObjectStore, key: str) -> bytes | None:
    """Read the copy of a manifest; return None if it is missing or damaged, or if a part is missing."""

    def read() -> bytes:
        data = store.get(COPIES + key)
        manifest = parse_manifest(data, store=store.url, key=key)
        return data if all(is_there(store, part) for part in manifest.parts) else b""

    try:
        return read_again(read) or None
    except (ObjectNotFoundError, CorruptObjectError):
        return None
