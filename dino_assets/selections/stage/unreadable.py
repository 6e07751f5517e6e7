"""Drops that a round leaves out because their pictures cannot be read."""

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
# Errors that concern a single drop: its source, its record or its tiles.
OF_ONE_DROP = (
    SourceError,
    StoreError,  # the bucket with its pictures
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
    """Return the message of an error about a drop; raise the error instead if ``store`` itself failed."""
    if isinstance(err, StoreError) and err.store == store.url:
        raise err
    return str(err)


def find_unopenable(
    store: ObjectStore, drops: Collection[str], open_source: Callable[[str], Source]
) -> dict[str, str]:
    """Open every drop's source, but read no file; return the drops that cannot be opened, with the reason."""

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
    """Log a warning for each drop that is left out, with the reason."""
    for drop, why in sorted(left_out.items()):
        log.warning("left out drop %r, which cannot be read: %s", drop, why)


def check_readable(readable: int, pool: int, left_out: Mapping[str, str]) -> None:
    """Refuse to choose from less than half of a pool's tiles, because a disk may not be mounted.

    Raises:
        SourceError: more than half of the tiles are in drops that are left out.
    """
    if 2 * (pool - readable) > pool:
        raise SourceError(
            f"{pool - readable:,} of the {pool:,} tiles of the round's pool cannot be read. "
            f"{_name_failures(left_out)} Make these drops readable, or give --all (`all: true` in the asset's "
            f"config) to choose from the other {readable:,} tiles.",
            reason="mostly-unreadable",
            path=min(left_out),
        )


def look_again(
    store: ObjectStore, drops: Collection[str], open_source: Callable[[str], Source]
) -> dict[str, str]:
    """Examine drops that were left out; return those that are still unreadable, with the reason.

    A drop also counts as unreadable if its files have changed since its images were made. Files are
    only listed. No photograph is read.
    """

    def look(drop: str) -> str:
        try:
            seen = fingerprint(open_source(drop).entries())
        except OF_ONE_DROP as err:
            return explain(store, err)
        manifest = find_manifest(store, OutputId("images", drop))
        if manifest and manifest.recipe.inputs.get("source") == seen:
            return ""
        return "its files differ from those that were read"

    return _look_at_all(drops, look)


def describe_left_out(
    left_out: Mapping[str, str], *, unreadable_now: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Describe the drops that a round left out, and why.

    If the round was chosen earlier, ``unreadable_now`` holds the drops that are still unreadable, with the
    reason.
    """
    for drop, why in sorted(left_out.items()):
        if unreadable_now is None:
            yield f"left out {drop}, which could not be read: {why}"
            continue
        yield f"left out {drop}, which could not be read when the round was chosen: {why}"
        if drop not in unreadable_now:
            yield f"{drop} now: all its files are present"
        elif unreadable_now[drop] == why:
            yield f"{drop} now: it still cannot be read"
        else:
            yield f"{drop} now: it still cannot be read: {unreadable_now[drop]}"


def refuse(failures: Mapping[str, str]) -> SourceError:
    """Make the error for drops that cannot be read and cannot be left out."""
    return SourceError(
        f"the round cannot be chosen, because its drops cannot be read. {_name_failures(failures)}",
        reason="unreadable-drops",
        path=min(failures),
    )


def _name_failures(failures: Mapping[str, str]) -> str:
    shown = [f"drop {drop!r}: {why}" for drop, why in sorted(failures.items())[:_SHOWN]]
    more = f" And {len(failures) - _SHOWN} more." if len(failures) > _SHOWN else ""
    return f"{' '.join(shown)}{more}"
