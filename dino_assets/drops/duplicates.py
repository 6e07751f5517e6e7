"""Duplicate drops: the same pictures registered under two names."""

from dino_assets.drops.records import Drop
from dino_assets.drops.registering import find_same_pictures
from dino_assets.store.objects import ObjectStore


def find_duplicates(store: ObjectStore, drop: Drop) -> list[str]:
    """List the other drops that have the same source, or files of the same names, sizes and times.

    Retired drops are left out, because no map and no round uses them. A copy whose files have new times is
    not detected.
    """
    return [name for name, other in find_same_pictures(store, drop).items() if not other.is_retired]


def warn_of_duplicates(store: ObjectStore, drop: Drop) -> str:
    """Return a warning that names the other drops with the same pictures, or an empty text."""
    names = find_duplicates(store, drop)
    if not names:
        return ""
    return (
        f"the same pictures are also registered as {', '.join(map(repr, names))}. Maps show them twice. "
        "Rounds take each tile once, from the drop whose name comes first. To leave this drop out: "
        f"dino-assets drops retire {drop.name}"
    )
