"""Duplicate drops: the same pictures registered under two names."""

from dino_assets.drops.records import Drop
from dino_assets.drops.registering import find_same_pictures
from dino_assets.store.objects import ObjectStore


def find_duplicates(store: ObjectStore, drop: Drop) -> list[str]:
    """List other drops with the same source, or with files of the same names, sizes and times.

    Retired drops are in no pool and are left out. A copy whose files have new times is not detected.
    """
    return [name for name, other in find_same_pictures(store, drop).items() if not other.is_retired]


def warn_of_duplicates(store: ObjectStore, drop: Drop) -> str:
    """Describe which other drops hold the same pictures, and the consequences; empty if none does."""
    names = find_duplicates(store, drop)
    if not names:
        return ""
    return (
        f"the same pictures are registered as {', '.join(map(repr, names))}: maps show them twice, and "
        "rounds take each tile once, from the drop whose name comes first. To leave this drop out: "
        f"dino-assets drops retire {drop.name}"
    )
