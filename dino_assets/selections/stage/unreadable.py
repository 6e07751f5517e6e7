"""Drops that a round leaves out, since their pictures cannot be read."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from dino_assets.drops.sources.source import Source, fingerprint
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
from dino_assets.store.commits.manifests import find_manifest
from dino_assets.store.commits.protocol import OutputId
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

    return _look_at_all(drops, look)


def _look_at_all(drops: Collection[str], look: Callable[[str], str]) -> dict[str, str]:
    names = sorted(drops)
    with ThreadPoolExecutor(_READERS) as pool:
        outcomes = pool.map(look, names)
        return {drop: why for drop, why in zip(names, outcomes, strict=True) if why}


def warn_of(left_out: Mapping[str, str]) -> None:
    """Log which drops are left out, and why."""
    for drop, why in sorted(left_out.items()):
        log.warning("left out drop %r, which cannot be read: %s", drop, why)


def check_readable(readable: int, pool: int, left_out: Mapping[str, str]) -> None:
    """Refuse to choose from less than half of a pool's tiles: somebody may have forgotten a disk.

    Raises:
        SourceError: more than half of the tiles are in drops that are left out.
    """
    if 2 * (pool - readable) > pool:
        raise SourceError(
            f"{pool - readable:,} of the {pool:,} tiles that the round could be chosen from cannot be read. "
            f"{_name_failures(left_out)} Bring them back, or give --all (`all: true` in the asset's config) "
            f"to choose from the other {readable:,}.",
            reason="mostly-unreadable",
            path=min(left_out),
        )


def look_again(
    store: ObjectStore, drops: Collection[str], open_source: Callable[[str], Source]
) -> dict[str, str]:
    """List the files of drops that were left out; return why, for those where they are still not there.

    No photograph is read.
    """

    def look(drop: str) -> str:
        try:
            seen = fingerprint(open_source(drop).entries())
        except OF_ONE_DROP as err:
            return explain(store, err)
        manifest = find_manifest(store, OutputId("images", drop))
        if manifest and manifest.recipe.inputs.get("source") == seen:
            return ""
        return "its files are other ones than those that were read"

    return _look_at_all(drops, look)


def describe_left_out(
    left_out: Mapping[str, str], *, still: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Say which drops a round left out, and why. Of one chosen earlier, ``still`` says what it is now."""
    for drop, why in sorted(left_out.items()):
        if still is None:
            yield f"left out {drop}, which could not be read: {why}"
            continue
        yield f"left out {drop}, which could not be read when the round was chosen: {why}"
        if drop not in still:
            yield f"{drop} now: all its files are there"
        elif still[drop] == why:
            yield f"{drop} now: it still cannot be read"
        else:
            yield f"{drop} now: it still cannot be read: {still[drop]}"


def refuse(failures: Mapping[str, str]) -> SourceError:
    """Make the error of drops that cannot be left out."""
    return SourceError(
        f"the round cannot be chosen, since its drops cannot be read. {_name_failures(failures)}",
        reason="unreadable-drops",
        path=min(failures),
    )


def _name_failures(failures: Mapping[str, str]) -> str:
    shown = [f"drop {drop!r}: {why}" for drop, why in sorted(failures.items())[:_SHOWN]]
    more = f" And {len(failures) - _SHOWN} more." if len(failures) > _SHOWN else ""
    return f"{' '.join(shown)}{more}"
