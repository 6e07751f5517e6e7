"""Drops that a round leaves out, since their pictures cannot be read."""

import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

from dino_assets.drops.sources.source import Source
from dino_assets.errors import (
    CommitRefusedError,
    ConfigError,
    CorruptObjectError,
    DinoAssetsError,
    DropError,
    NotCommittedError,
    SourceError,
    StoreError,
    UnusableImageError,
)
from dino_assets.store.objects import ObjectStore

log = logging.getLogger(__name__)
# What can be wrong with one drop and with no other: its source, its record, its tiles.
OF_ONE_DROP = (
    SourceError,
    StoreError,  # of the bucket that its pictures are in
    DropError,
    ConfigError,
    CorruptObjectError,
    CommitRefusedError,
    NotCommittedError,
    UnusableImageError,
)
_READERS = 16
_SHOWN = 3


def explain(store: ObjectStore, err: DinoAssetsError) -> str:
    """Give an error's sentence, unless it is the store's own: that is no drop's fault, and is raised."""
    if isinstance(err, StoreError) and err.store == store.url:
        raise err
    return str(err)


def find_unopenable(
    store: ObjectStore, drops: Collection[str], open_source: Callable[[str], Source]
) -> dict[str, str]:
    """Open every drop's source; return why, for those where it fails. No file is looked at."""

    def look(drop: str) -> str:
        try:
            open_source(drop)
        except OF_ONE_DROP as err:
            return explain(store, err)
        return ""

    names = sorted(drops)
    with ThreadPoolExecutor(_READERS) as pool:
        outcomes = pool.map(look, names)
        return {drop: why for drop, why in zip(names, outcomes, strict=True) if why}


def warn_of(left_out: Mapping[str, str]) -> None:
    """Log which drops are left out, and why."""
    for drop, why in sorted(left_out.items()):
        log.warning("left out drop %r, which cannot be read: %s", drop, why)


def refuse(failures: Mapping[str, str]) -> SourceError:
    """Make the error of drops that cannot be left out."""
    shown = [f"drop {drop!r}: {why}" for drop, why in sorted(failures.items())[:_SHOWN]]
    more = f" And {len(failures) - _SHOWN} more." if len(failures) > _SHOWN else ""
    return SourceError(
        f"the round cannot be chosen, since its drops cannot be read. {' '.join(shown)}{more}",
        reason="unreadable-drops",
        path=min(failures),
    )
