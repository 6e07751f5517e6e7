"""Setting a damaged record aside, so that the others can be read again."""

import contextlib
from itertools import count

from dino_assets.errors import CommitRefusedError, CorruptObjectError, NotCommittedError
from dino_assets.store.commits.manifests import manifest_key, read_manifests
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.commits.records import COPIES, find_copy
from dino_assets.store.objects import ObjectStore

ASIDE = "set-aside/"


def set_aside(store: ObjectStore, output: OutputId) -> str:
    """Move the manifest of a record that cannot be read out of the way; gives its new key.

    Nothing counts on the record from then on: what it chose may be chosen again.

    Raises:
        NotCommittedError: there is none.
        CommitRefusedError: it can be read, or put back from its copy.
    """
    key = manifest_key(output)
    try:
        manifests = read_manifests(store, [key])
    except CorruptObjectError:
        pass
    else:
        if not manifests:
            raise NotCommittedError(f"{output} is not in store {store.url!r}", output=str(output))
        raise CommitRefusedError(
            f"{output} can be read: only a damaged record is set aside.", reason="sound"
        )
    if find_copy(store, key) is not None:
        raise CommitRefusedError(
            f"{output} is damaged, and its copy is whole: `dino-assets verify --repair` puts it back.",
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
