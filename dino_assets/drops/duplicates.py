"""Drops that are registered under two names."""

from dino_assets.drops.records import Drop
from dino_assets.drops.registering import find_alike
from dino_assets.store.objects import ObjectStore


def find_duplicates(store: ObjectStore, drop: Drop) -> list[str]:
    """Name other drops of the same source, or whose files have the same names, sizes and times.

    Retired ones are in no pool and are left out. A copy whose files have new times is not noticed.
    """
    return [name for name, other in find_alike(store, drop).items() if not other.is_retired]


def warn_of_duplicates(store: ObjectStore, drop: Drop) -> str:
    """Say which other drops are of the same pictures, and what that means; nothing where none is."""
    names = find_duplicates(store, drop)
    if not names:
        return ""
    return (
        f"the same pictures are registered as {', '.join(map(repr, names))}: maps show them twice, and "
        "rounds take each tile once, from the drop whose name comes first. To put this one away: "
        f"dino-assets drops retire {drop.name}"
    )
