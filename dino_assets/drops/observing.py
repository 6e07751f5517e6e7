"""What a drop's source was last seen to hold, kept in the drop's record."""

from dataclasses import replace

from dino_assets.drops.registry import read_drop, write_drop
from dino_assets.store.objects import ObjectStore


def keep_observed(store: ObjectStore, name: str, fingerprint: str) -> bool:
    """Keep what a drop's source looks like now; tells whether that is new.

    Raises:
        UnknownDropError: no drop of this name is registered.
    """
    drop = read_drop(store, name)
    if (drop.observed or drop.fingerprint) == fingerprint:
        return False
    write_drop(store, replace(drop, observed=fingerprint))
    return True
