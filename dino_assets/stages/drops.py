"""Registering drops: a name, a source, and what the source looked like."""

import hashlib
import json
import logging
import re
from dataclasses import asdict
from pathlib import Path

from dino_assets.errors import (
    CorruptObjectError,
    DropConflictError,
    InvalidDropNameError,
    ObjectNotFoundError,
    UnknownDropError,
)
from dino_assets.records import Drop
from dino_assets.stages.sources import BUCKET_SCHEMES, fingerprint, open_source
from dino_assets.store.objects import ObjectStore

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_RECORD = re.compile(rf"drops/({_NAME.pattern})\.json")


def make_drop_name(original: str) -> str:
    """A folder's name as a partition key: itself where possible, else a slug and 8 hex of its hash.

    Raises:
        InvalidDropNameError: nothing is left of it.
    """
    if not original.strip():
        raise InvalidDropNameError("a drop needs a name; give letters or digits, such as flight-07")
    if _NAME.fullmatch(original):
        return original
    raw = original.encode(errors="surrogateescape")
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", original).strip("._-")[:71] or "drop"
    return f"{slug}-{hashlib.sha256(raw).hexdigest()[:8]}"


def register_drop(
    store: ObjectStore, name: str, *, source: str, root: Path, may_replace: bool = False
) -> tuple[Drop, bool]:
    """Write ``drops/<name>.json``; returns the drop and whether anything changed. Idempotent.

    Raises:
        SourceError: there is nothing at ``source``.
        DropConflictError: the name stands for another source and ``may_replace`` is off.
    """
    key_name = make_drop_name(name)
    address = _absolute(source, root)
    drop = Drop(
        name=key_name,
        source=address,
        fingerprint=fingerprint(open_source(address, root=root).entries()),
        original_name=name.encode(errors="surrogateescape").decode(errors="backslashreplace"),
    )
    try:
        known = read_drop(store, key_name)
    except (UnknownDropError, CorruptObjectError):
        known = None
    if known == drop:
        return drop, False
    if known is not None and known.source != drop.source and not may_replace:
        raise DropConflictError(
            f"drop {key_name!r} is registered from {known.source!r}, not {drop.source!r}. Choose "
            "another name, or pass --replace if the same pictures moved."
        )
    body = json.dumps(asdict(drop), sort_keys=True, indent=1) + "\n"
    store.put(_key(key_name), body.encode())
    return drop, True


def read_drop(store: ObjectStore, name: str) -> Drop:
    """The drop registered under a name.

    Raises:
        UnknownDropError: there is none.
        InvalidDropNameError: there cannot be one.
    """
    if not _NAME.fullmatch(name):
        raise InvalidDropNameError(
            f"{name!r} cannot be a drop's name: 1 to 80 letters, digits and ._- from a letter or digit "
            f"on. `dino-assets drops register {name!r}` would call it {make_drop_name(name)!r}."
        )
    try:
        data = store.get(_key(name))
    except ObjectNotFoundError:
        raise UnknownDropError(
            f"no drop {name!r} is registered in store {store.url!r}. Register it with: dino-assets "
            f"drops register {name} --from FOLDER"
        ) from None
    try:
        drop = Drop(**json.loads(data))
    except (ValueError, TypeError, RecursionError):
        drop = None
    if (
        drop is None
        or drop.name != name
        or not all(isinstance(v, str) for v in vars(drop).values())
    ):
        raise CorruptObjectError(
            f"{_key(name)!r} in store {store.url!r} is not a drop's record. Register {name!r} again.",
            store=store.url,
            key=_key(name),
        )
    return drop


def list_drops(store: ObjectStore) -> list[Drop]:
    """All registered drops, by name."""
    found = (_RECORD.fullmatch(info.key) for info in store.list("drops"))
    return [read_drop(store, name) for name in sorted(match[1] for match in found if match)]


def _key(name: str) -> str:
    return f"drops/{name}.json"


def _absolute(source: str, root: Path) -> str:
    """Local sources are kept absolute: the daemon that reads them has another working directory."""
    if source.startswith(BUCKET_SCHEMES):
        return source
    return str((root / Path(source).expanduser()).resolve())
