"""Removal of the manifest of a damaged record, so that later records can be made again."""

import contextlib
from itertools import count

from dino_assets.errors import CommitRefusedError, CorruptObjectError, NotCommittedError
from dino_assets.store.commits.manifests import manifest_key, read_manifests
from dino_assets.store.commits.parts import verify_part
from dino_assets.store.commits.protocol import OutputId, Part
from dino_assets.store.commits.records import COPIES, find_copy
from dino_assets.store.objects import ObjectStore

ASIDE = "set-aside/"


def set_aside(store: ObjectStore, output: OutputId) -> str:
    """Move the manifest of a record to another key, if it or the record's table is damaged; return that key.

    From then on the record does not count: the tiles that it chose may be chosen again.

    Raises:
        NotCommittedError: there is no such record.
        CommitRefusedError: the record and its table can be read, or the record can be restored from its copy.
    """
    key = manifest_key(output)
    try:
        manifests = read_manifests(store, [key])
    except CorruptObjectError:
        if find_copy(store, key) is not None:
            raise CommitRefusedError(
                f"{output} is damaged, but its copy is not. Run `dino-assets verify --repair` to restore it.",
                reason="has-copy",
            ) from None
    else:
        if not manifests:
            raise NotCommittedError(
                f"{output} is not in store {store.url!r}. `dino-assets rounds` lists all rounds.",
                output=str(output),
            )
        if all(_is_sound(store, part) for part in manifests[0].parts if part.name is None):
            raise CommitRefusedError(
                f"{output} can be read. Only a record that is damaged, or whose table is, can be set aside.",
                reason="sound",
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


def _is_sound(store: ObjectStore, part: Part) -> bool:
    try:
        verify_part(store, part)
    except CorruptObjectError:
        return False
    return True
