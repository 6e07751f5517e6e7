"""Facts about a registered drop: tags, boxes, whether it is retired, and its source's latest fingerprint.

Each fact is a separate object, ``drops/<drop>/<fact>.json``, and each writer writes one fact only. A sensor
that observes a source and a person who retires the drop at the same moment both succeed, on any store.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from dino_assets.drops.records import Drop
from dino_assets.errors import CorruptObjectError, ObjectNotFoundError
from dino_assets.store.commits.rereading import read_again
from dino_assets.store.commits.sealing import read_sealed, seal
from dino_assets.store.objects import ObjectStore

FACTS = {"tags": "tags", "is_retired": "retired", "observed": "observed", "boxes": "boxes"}
_FIELDS = {file: field for field, file in FACTS.items()}


def find_fact_owner(key: str) -> str | None:
    """Return the name of the drop whose fact is stored under a key, or None."""
    area, _, rest = key.partition("/")
    name, _, file = rest.partition("/")
    is_fact = area == "drops" and file.removesuffix(".json") in _FIELDS and file.endswith(".json")
    return name if is_fact else None


def read_facts(store: ObjectStore, name: str, keys: Iterable[str] | None = None) -> dict[str, Any]:
    """Read a drop's facts; return them by their field of ``Drop``.

    ``keys`` are the keys of its facts, if the caller has listed them already.

    Raises:
        CorruptObjectError: an object does not hold a fact.
    """
    facts: dict[str, Any] = {}
    for key in _list_keys(store, name) if keys is None else keys:
        field = _FIELDS[key.rpartition("/")[2].removesuffix(".json")]
        try:
            value = read_again(partial(_read_value, store, key, field))
        except ObjectNotFoundError:
            continue  # deleted since it was listed
        except CorruptObjectError:
            value = None
        if not is_sound(field, value):
            raise CorruptObjectError(
                f"{key!r} in store {store.url!r} is not a valid fact about a drop. Register drop {name!r} "
                "again.",
                store=store.url,
                key=key,
            )
        facts[field] = tuple(value) if field == "tags" else value
    return facts


def read_fact(store: ObjectStore, name: str, field: str) -> Any:
    """Read one fact of a drop by its field of ``Drop``; None if it was never written.

    Raises:
        CorruptObjectError: the object does not hold the fact.
    """
    key = f"drops/{name}/{FACTS[field]}.json"
    return read_facts(store, name, [key]).get(field)


def _read_value(store: ObjectStore, key: str, field: str) -> Any:
    value = read_sealed(store.get(key), store=store.url, key=key)
    # Earlier versions wrote the value alone, without a seal.
    return value.get(field) if isinstance(value, dict) else value


def is_sound(field: str, value: Any) -> bool:
    """Check whether a value has the type of a fact's field."""
    if field == "tags":
        return isinstance(value, list) and all(isinstance(tag, str) for tag in value)
    return isinstance(value, bool if field == "is_retired" else str)


def write_facts(store: ObjectStore, drop: Drop, before: Drop) -> None:
    """Write only the facts that differ from ``before``: another process may be writing the other facts."""
    for field, file in FACTS.items():
        value = getattr(drop, field)
        if value != getattr(before, field):
            key = f"drops/{drop.name}/{file}.json"
            store.put(key, seal({field: value}), is_lasting=True)


def delete_damaged(store: ObjectStore, name: str) -> None:
    """Delete those facts of a drop that cannot be read from the store."""
    for key in _list_keys(store, name):
        try:
            read_facts(store, name, [key])
        except CorruptObjectError:
            store.delete(key)


def _list_keys(store: ObjectStore, name: str) -> list[str]:
    return sorted(
        info.key for info in store.list(f"drops/{name}") if find_fact_owner(info.key) == name
    )
