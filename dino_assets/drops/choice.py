"""Choice of the drops for a map or a round: by name, by tag, or all; never retired ones."""

import logging
from collections.abc import Collection, Iterable, Mapping

from dino_assets.drops.records import Drop
from dino_assets.errors import ConfigError, CorruptObjectError

log = logging.getLogger(__name__)
Records = Mapping[str, Drop | CorruptObjectError]
_SHOWN = 20


def choose_drops(
    records: Records, made: Collection[str], *, drops: Collection[str], tags: Collection[str]
) -> frozenset[str]:
    """Choose the drops that ``drops`` names or that have one of ``tags``; every drop if both are empty.

    ``made`` are drops with outputs: they can be chosen even if they are not registered. Retired drops are
    left out. Drops with a damaged record are left out with a warning, because they may be retired.

    Raises:
        ConfigError: a drop or a tag does not exist, or a named drop is retired.
    """
    _check_names(records, made, drops)
    _check_tags(records, tags)
    damaged = [name for name, drop in records.items() if not isinstance(drop, Drop)]
    if damaged:
        log.warning(
            "drops left out because their records are damaged: %s. To repair a record, register the drop "
            "again",
            _join(damaged),
        )
    return find_chosen(records, made, drops=drops, tags=tags)


def find_chosen(
    records: Records, made: Collection[str], *, drops: Collection[str], tags: Collection[str]
) -> frozenset[str]:
    """Choose drops like ``choose_drops``, but ignore names and tags that do not exist."""
    sound = {name: drop for name, drop in records.items() if isinstance(drop, Drop)}
    # An embedded drop may be unregistered: its partition key may have been added by hand.
    active = {name for name, drop in sound.items() if not drop.is_retired}
    active |= set(made) - records.keys()
    if drops or tags:
        tagged = {name for name, drop in sound.items() if not set(tags).isdisjoint(drop.tags)}
        active &= tagged | set(drops)
    return frozenset(active)


def _check_names(records: Records, made: Collection[str], drops: Iterable[str]) -> None:
    for name in drops:
        drop = records.get(name)
        if drop is None and name not in made:
            there_are = _join({*made, *(n for n, d in records.items() if not _is_retired(d))})
            raise ConfigError(
                f"no drop {name!r} is registered. Existing drops: {there_are}",
                setting="drops",
                value=name,
                reason="unknown-drop",
            )
        if isinstance(drop, CorruptObjectError):
            raise drop
        if _is_retired(drop):
            raise ConfigError(
                f"drop {name!r} is retired. Bring it back with: dino-assets drops restore {name}",
                setting="drops",
                value=name,
                reason="retired",
            )


def _check_tags(records: Records, tags: Iterable[str]) -> None:
    active = [d for d in records.values() if isinstance(d, Drop) and not d.is_retired]
    there_are = {tag for drop in active for tag in drop.tags}
    for tag in tags:
        if tag not in there_are:
            raise ConfigError(
                f"no drop has the tag {tag!r}. Existing tags: {_join(there_are)}. To tag a drop: "
                f"dino-assets drops tag NAME {tag}",
                setting="tags",
                value=tag,
                reason="unknown-tag",
            )


def _is_retired(drop: Drop | CorruptObjectError | None) -> bool:
    return isinstance(drop, Drop) and drop.is_retired


def _join(names: Collection[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(sorted(names)[:_SHOWN]) or "none") + more
