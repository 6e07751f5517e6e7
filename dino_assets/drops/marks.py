"""Marks that a person sets on a registered drop: tags, and whether it is retired."""

from collections.abc import Iterable
from dataclasses import replace

from dino_assets.drops.records import Drop
from dino_assets.drops.registry import check_tag, find_drop, join_tags, write_drop
from dino_assets.store.objects import ObjectStore


def set_retired(store: ObjectStore, name: str, is_retired: bool) -> tuple[Drop, bool]:
    """Retire or restore a drop; return it and whether anything changed.

    Raises:
        UnknownDropError: no drop of this name is registered.
    """
    return _change(store, name, is_retired=is_retired)


def tag_drop(
    store: ObjectStore, name: str, tags: Iterable[str], *, removed: Iterable[str] = ()
) -> tuple[Drop, bool]:
    """Add tags to a drop and remove others; return it and whether anything changed.

    Raises:
        UnknownDropError: no drop of this name is registered.
        ConfigError: a tag is not one word.
    """
    joined = join_tags(find_drop(store, name).tags, map(check_tag, tags))
    gone = set(removed)
    return _change(store, name, tags=tuple(tag for tag in joined if tag not in gone))


def _change(store: ObjectStore, name: str, **values: object) -> tuple[Drop, bool]:
    drop = find_drop(store, name)
    changed = replace(drop, **values)  # type: ignore[arg-type] # of the two fields above
    if changed != drop:
        write_drop(store, changed, before=drop)
    return changed, changed != drop
