"""Second copies of the manifests of records, which cannot be made again once they are damaged.

    copies/manifests/<asset>/<space>/<drop>.json    the very bytes of the manifest, put just before it

A record (``catalogue.RECORDS``) says what people have acted on since, such as a round that is labelled. No
reader looks at copies: one is read where its manifest is damaged and somebody repairs it.
"""

from dino_assets.errors import CorruptObjectError, ObjectNotFoundError
from dino_assets.store.commits.catalogue import RECORDS
from dino_assets.store.commits.manifests import parse_manifest
from dino_assets.store.commits.parts import is_there
from dino_assets.store.commits.rereading import read_again
from dino_assets.store.objects import ObjectStore

COPIES = "copies/"


def copy_record(store: ObjectStore, key: str, data: bytes) -> None:
    """Put a copy of a manifest, if it is that of a record."""
    if key.split("/")[1] in RECORDS:
        store.put(COPIES + key, data, is_lasting=True)


def copy_missing(store: ObjectStore, key: str, data: bytes) -> None:
    """Put a copy of a record's manifest where there is none: an earlier version made none."""
    if key.split("/")[1] in RECORDS and not store.exists(COPIES + key):
        copy_record(store, key, data)


def find_copy(store: ObjectStore, key: str) -> bytes | None:
    """Give the copy of a manifest, if it is whole and all its parts are in the store."""

    def read() -> bytes:
        data = store.get(COPIES + key)
        manifest = parse_manifest(data, store=store.url, key=key)
        return data if all(is_there(store, part) for part in manifest.parts) else b""

    try:
        return read_again(read) or None
    except (ObjectNotFoundError, CorruptObjectError):
        return None
