"""What is said of a registered drop: tags, whether it is retired, and what its source was seen to hold.

Each fact is an object of its own, ``drops/<drop>/<fact>.json``. Whoever writes one writes no other, so a
look at a drop's source and a person who retires it at the same moment both stand, on any store.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from dino_assets.drops.records import Drop
from dino_assets.errors import CorruptObjectError, ObjectNotFoundError
from dino_assets.store.commits.rereading import read_again
from dino_assets.store.commits.sealing import read_sealed, seal
from dino_assets.store.objects import ObjectStore

FACTS = {"tags": "tags", "is_retired": "retired", "observed": "observed"}
_FIELDS = {file: field for field, file in FACTS.items()}


def find_owner(key: str) -> str | None:
    """Give the name of the drop that a key is a fact of."""
    area, _, rest = key.partition("/")
    name, _, file = rest.partition("/")
    is_fact = area == "drops" and file.removesuffix(".json") in _FIELDS and file.endswith(".json")
    return name if is_fact else None


def read_facts(store: ObjectStore, name: str, keys: Iterable[str] | None = None) -> dict[str, Any]:
    """Read what is said of a drop, by the fields of its record; ``keys`` spare a listing.

    Raises:
        CorruptObjectError: an object holds something else.
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
                f"{key!r} in store {store.url!r} is not what is said of a drop. Register {name!r} again.",
                store=store.url,
                key=key,
            )
        facts[field] = tuple(value) if field == "tags" else value
    return facts


def _read_value(store: ObjectStore, key: str, field: str) -> Any:
    value = read_sealed(store.get(key), store=store.url, key=key)
    # Earlier versions wrote the value alone, without a seal.
    return value.get(field) if isinstance(value, dict) else value


def is_sound(field: str, value: Any) -> bool:
    """Tell whether a value is of the kind that a field has."""
    if field == "tags":
        return isinstance(value, list) and all(isinstance(tag, str) for tag in value)
    return isinstance(value, bool if field == "is_retired" else str)


def write_facts(store: ObjectStore, drop: Drop, before: Drop) -> None:
    """Write the facts that are others than before, and leave the rest to whoever may be writing it."""
    for field, file in FACTS.items():
        value = getattr(drop, field)
        if value != getattr(before, field):
            key = f"drops/{drop.name}/{file}.json"
            store.put(key, seal({field: value}), is_lasting=True)


def delete_damaged(store: ObjectStore, name: str) -> None:
    """Delete the facts of a drop that cannot be read."""
    for key in _list_keys(store, name):
        try:
            read_facts(store, name, [key])
        except CorruptObjectError:
            store.delete(key)


def _list_keys(store: ObjectStore, name: str) -> list[str]:
    return sorted(info.key for info in store.list(f"drops/{name}") if find_owner(info.key) == name)
