"""Records of drops: reading, writing, finding by name."""

import logging
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

from dino_assets.drops.facts import (
    FACTS,
    find_fact_owner,
    is_sound,
    read_facts,
    write_facts,
)
from dino_assets.drops.naming import MAX_NAME_CHARS, is_drop_name, list_name_ends, make_drop_name
from dino_assets.drops.records import Drop
from dino_assets.errors import (
    ConfigError,
    CorruptObjectError,
    InvalidDropNameError,
    ObjectNotFoundError,
    UnknownDropError,
)
from dino_assets.store.commits.digests import list_objects, read_digested
from dino_assets.store.commits.rereading import read_again
from dino_assets.store.commits.sealing import read_sealed, seal
from dino_assets.store.objects import ObjectInfo, ObjectStore

log = logging.getLogger(__name__)

_RECORD = re.compile(r"drops/([^/]+)\.json")
MAX_TAG_CHARS = 80


def write_drop(store: ObjectStore, drop: Drop, *, before: Drop | None = None) -> None:
    """Write a drop's record and facts, each only if it differs from ``before``."""
    before = before or Drop(drop.name, "", "", "")
    write_facts(store, drop, before)
    record = {key: value for key, value in vars(drop).items() if key not in FACTS}
    if record == {key: vars(before)[key] for key in record}:
        return
    record |= _read_inline(store, drop.name)
    store.put(_key(drop.name), seal(record), is_lasting=True)


def _read_inline(store: ObjectStore, name: str) -> dict[str, Any]:
    """Read the facts that an earlier version wrote into the record; facts in separate objects override them."""
    try:
        values = _read_values(store, name)
        return {key: values[key] for key in FACTS if is_sound(key, values.get(key))}
    except (ObjectNotFoundError, CorruptObjectError, AttributeError):
        return {}


def check_tag(tag: str) -> str:
    """Return a tag if it is one word.

    Raises:
        ConfigError: the tag is empty, too long, or has blanks, commas or unprintable characters.
    """
    if 0 < len(tag) <= MAX_TAG_CHARS and tag.isprintable() and not set(tag) & {" ", ","}:
        return tag
    raise ConfigError(
        f"{tag!r} cannot be a tag: expected one word of at most {MAX_TAG_CHARS} characters, without "
        "commas",
        setting="tags",
        value=tag,
    )


def join_tags(tags: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    """Join two sets of tags: sorted, and each tag once."""
    return tuple(sorted({*tags, *more}))


def find_name(store: ObjectStore, called: str) -> str:
    """Find a drop's name; ``called`` is this name or the original name of its folder.

    For an unregistered drop, return the name that it would get.

    Raises:
        InvalidDropNameError: ``called`` cannot be made a valid name.
    """
    made = make_drop_name(called)
    if made == called:
        return made
    names = [match[1] for info in store.list("drops") if (match := _RECORD.fullmatch(info.key))]
    return pick_name(called, names)


def pick_name(original: str, names: Collection[str]) -> str:
    """Pick the one of ``names`` that was made from an original name; if there is none, make a new name.

    Only the hash at the end of a name is compared. A later version may spell the part before it in another
    way, and a registered drop keeps its name.
    """
    made = make_drop_name(original)
    if made == original or made in names:
        return made
    for end in list_name_ends(original):
        if old := sorted(name for name in names if name.endswith(end)):
            return old[0]
    return made


def find_names(store: ObjectStore, called: Iterable[str]) -> list[str]:
    """Find the names of several drops, each as in ``find_name``.

    A text that cannot be a name is returned unchanged, and the caller reports it.
    """
    names = []
    for each in called:
        try:
            names.append(find_name(store, each))
        except InvalidDropNameError:
            names.append(each)
    return names


def read_drop(store: ObjectStore, name: str, *, fact_keys: Collection[str] | None = None) -> Drop:
    """Read the drop registered under exactly this name; ``find_drop`` also takes a folder's original name.

    ``fact_keys`` are the keys of its facts, if the caller has listed them already.

    Raises:
        UnknownDropError: no drop of this name is registered.
        InvalidDropNameError: no drop can have this name.
        CorruptObjectError: its record or one of its facts cannot be read.
    """
    if not is_drop_name(name):
        raise InvalidDropNameError(
            f"{name!r} cannot be a drop's name. Expected 1 to {MAX_NAME_CHARS} letters, digits, dots, dashes "
            "and underscores: the first a letter or digit, no two dots in a row, and no dot at the end."
            f"{_suggest(name)}",
            drop=name,
            reason="not-a-key",
        )
    try:
        drop = _parse(read_again(lambda: _read_values(store, name)))
    except ObjectNotFoundError:
        raise _unknown(store, name) from None
    except (CorruptObjectError, TypeError, AttributeError):
        drop = None
    if drop is None or drop.name != name:
        raise CorruptObjectError(
            f"{_key(name)!r} in store {store.url!r} is not a valid record of drop {name!r}. Register the "
            "drop again.",
            store=store.url,
            key=_key(name),
        )
    return replace(drop, **read_facts(store, name, fact_keys))


def find_drop(store: ObjectStore, called: str) -> Drop:
    """Find a registered drop by its name or by its folder's original name.

    Raises:
        UnknownDropError: no drop of this name is registered.
        InvalidDropNameError: no drop can have this name.
    """
    name = find_name(store, called)
    try:
        return read_drop(store, name)
    except UnknownDropError:
        raise _unknown(store, called) from None


def inbox_address(inbox: str, name: str) -> str:
    """Return the address of a drop's folder in the inbox, which is a folder or a bucket prefix."""
    return f"{inbox.rstrip('/')}/{name}" if "://" in inbox else str(Path(inbox) / name)


def find_drops(store: ObjectStore) -> dict[str, Drop | CorruptObjectError]:
    """Read all registered drops by name; a damaged record is returned as its error."""
    return read_drops(store, group_by_drop(list_objects(store, "drops")))


def group_by_drop(listed: Iterable[ObjectInfo]) -> dict[str, list[ObjectInfo]]:
    """Group objects below ``drops`` by the registered drop whose record or fact they are."""
    drops: dict[str, list[ObjectInfo]] = {}
    for info in listed:
        match = _RECORD.fullmatch(info.key)
        name = match[1] if match else find_fact_owner(info.key)
        if name and is_drop_name(name):
            drops.setdefault(name, []).append(info)
    # Facts may remain after somebody deleted the record.
    return {name: drops[name] for name in sorted(drops) if has_record(name, drops[name])}


def has_record(name: str, infos: Iterable[ObjectInfo]) -> bool:
    """Check whether a drop's record is among the listed objects."""
    return any(info.key == _key(name) for info in infos)


def read_drops(
    store: ObjectStore,
    listed: Mapping[str, Sequence[ObjectInfo]],
    *,
    wanted: Collection[str] | None = None,
) -> dict[str, Drop | CorruptObjectError]:
    """Read listed drops, by name: the ``wanted`` ones, by default all. A damaged record becomes its error.

    In a large store, most records come from a digest: a stored copy of many records in one object.
    """

    def read(reader: ObjectStore, name: str) -> dict[str, Any]:
        fact_keys = [info.key for info in listed[name] if info.key != _key(name)]
        try:
            return vars(read_drop(reader, name, fact_keys=fact_keys))
        except UnknownDropError:  # deleted since it was listed
            raise ObjectNotFoundError("gone", store=store.url, key=_key(name)) from None

    values = read_digested(store, "drops", listed, read, wanted=wanted)
    return {
        name: value
        if isinstance(value, CorruptObjectError)
        else Drop(**value | {"tags": tuple(value["tags"])})
        for name, value in values.items()
    }


class DropReader:
    """Reader of many drops: the first call reads all of them, later calls only drops that are new."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lock = Lock()
        self._drops: dict[str, Drop | CorruptObjectError] | None = None

    def __call__(self, name: str) -> Drop:
        """Read the drop of this name.

        Raises:
            UnknownDropError, InvalidDropNameError, CorruptObjectError: as in ``read_drop``.
        """
        with self._lock:
            if self._drops is None:
                self._drops = find_drops(self._store)
        drop = self._drops.get(name)
        if isinstance(drop, CorruptObjectError):
            raise drop
        return drop or read_drop(self._store, name)


def _read_values(store: ObjectStore, name: str) -> Any:
    return read_sealed(store.get(_key(name)), store=store.url, key=_key(name))


def _parse(values: dict[str, Any]) -> Drop | None:
    """Make a drop from its JSON; None if a value has the wrong type."""
    inline = {key: values.pop(key) for key in FACTS if key in values}
    texts_are_sound = all(isinstance(text, str) for text in values.values())
    if not texts_are_sound or not all(is_sound(key, value) for key, value in inline.items()):
        return None
    return Drop(**values, **inline | {"tags": tuple(inline.get("tags", ()))})


def _unknown(store: ObjectStore, name: str) -> UnknownDropError:
    return UnknownDropError(
        f"no drop {name!r} is registered in store {store.url!r}. `dino-assets drops list` shows all names. To register this one: dino-assets "
        f"drops register {shlex.quote(name)} --from FOLDER",
        drop=name,
    )


def _suggest(name: str) -> str:
    try:
        return f" `dino-assets drops register {name!r}` would name it {make_drop_name(name)!r}."
    except InvalidDropNameError:
        return ""


def _key(name: str) -> str:
    return f"drops/{name}.json"
