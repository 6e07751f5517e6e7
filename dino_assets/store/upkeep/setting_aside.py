"""Removal of a damaged record's manifest, so that the other records can be read again."""

import contextlib
from itertools import count

from dino_assets.errors import CommitRefusedError, CorruptObjectError, NotCommittedError
from dino_assets.store.commits.manifests import manifest_key, read_manifests
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.commits.records import COPIES, find_copy
from dino_assets.store.objects import ObjectStore

ASIDE = "set-aside/"


def set_aside(store: ObjectStore, output: OutputId) -> str:
    """Move the unreadable manifest of a record to another key, and return that key.

    From then on the record does not count: the tiles that it chose may be chosen again.

    Raises:
        NotCommittedError: there is no such record.
        CommitRefusedError: the record can be read, or restored from its copy.
    """
    key = manifest_key(output)
    try:
        manifests = read_manifests(store, [key])
    except CorruptObjectError:
        pass
    else:
        if not manifests:
            raise NotCommittedError(
                f"{output} is not in store {store.url!r}. `dino-assets rounds` lists all rounds.",
                output=str(output),
            )
        raise CommitRefusedError(
            f"{output} can be read. Only a damaged record can be set aside.", reason="sound"
        )
    if find_copy(store, key) is not None:
        raise CommitRefusedError(
            f"{output} is damaged, but its copy is not. Run `dino-assets verify --repair` to restore it.",
            reason="has-copy",
        )
    to = next(
        name
        for n in count(1)
        if not store.exists(name := f"{ASIDE}{key.removesuffix('.json')}.{n}.json")
    )
    store.move(key, to)
    with contextlib.suppress(FileNotFoundError):
        store.delete(COPIES + key)
    return to
