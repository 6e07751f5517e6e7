"""Which drops are finished: made of what is registered, link by link. Manifests say so, nothing else.

Finished means: ``images`` are of the registered fingerprint, ``tiles`` of these images, and ``embeddings``
of these tiles in any space. Not "in the current space": then another checkpoint or precision would
make every drop unfinished at once, and computing all of them again is a person's decision.
"""

from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field

from dino_assets.drops.facts import find_owner
from dino_assets.drops.records import Drop
from dino_assets.drops.registry import read_drop
from dino_assets.errors import CorruptObjectError, UnknownDropError
from dino_assets.store.commits.catalogue import PER_DROP, Asset
from dino_assets.store.commits.manifests import content_hash, read_manifests
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.objects import ObjectStore

# Per drop, its record and manifests: key → what tells one version of the object from the next.
Stamps = Mapping[str, str]
# What finished and retired drops looked like in the store when they were last read, under store and name.
Remembered = MutableMapping[tuple[str, str], Stamps]

_LISTED = ("drops", *(f"manifests/{asset.name}" for asset in PER_DROP))


@dataclass(frozen=True)
class Settled:
    """Drops for which there is nothing to do."""

    finished: set[str] = field(default_factory=set)
    retired: set[str] = field(default_factory=set)


def list_stamps(store: ObjectStore) -> dict[str, dict[str, str]]:
    """Keys and stamps of every drop's record and manifests: four listings, nothing is read."""
    stamps: dict[str, dict[str, str]] = {}
    for prefix in _LISTED:
        for info in store.list(prefix):
            name = info.key.rpartition("/")[2]
            if name.endswith(".json"):
                stamp = f"{info.etag} {info.modified.isoformat()} {info.bytes}"
                owner = find_owner(info.key) or name.removesuffix(".json")
                stamps.setdefault(owner, {})[info.key] = stamp
    return stamps


def find_settled(
    store: ObjectStore,
    stamps: Mapping[str, Stamps],
    sources: Mapping[str, str],
    *,
    remembered: Remembered,
) -> Settled:
    """Those of the drops in ``sources`` (name → where its pictures are) that are finished or retired.

    ``remembered`` spares reading: of 500 finished drops 2,000 objects, 0.96 CPU-s on a local disk, for
    0.06, every 30 s. A drop whose objects have the stamps that it was finished under is finished still,
    and one whose record and facts have the stamps that it was retired under is retired still.
    """
    settled = Settled()
    where = str(store.folder or store.url)
    for name, source in sources.items():
        seen = stamps.get(name, {})
        if seen and remembered.get((where, name)) == {**seen, "": source}:
            settled.finished.add(name)
            continue
        record = {key: stamp for key, stamp in seen.items() if key.startswith("drops/")}
        if record and remembered.get((where, name)) == record:
            settled.retired.add(name)
            continue
        drop = _find_drop(store, name) if record else None
        if drop and drop.is_retired:
            settled.retired.add(name)
            remembered[where, name] = record
        elif drop and _is_finished(store, drop, source, seen):
            settled.finished.add(name)
            remembered[where, name] = {**seen, "": source}
        else:
            remembered.pop((where, name), None)
    return settled


def _find_drop(store: ObjectStore, name: str) -> Drop | None:
    try:
        return read_drop(store, name)
    except (UnknownDropError, CorruptObjectError):
        return None  # registering it again mends it


def _is_finished(store: ObjectStore, drop: Drop, source: str, keys: Stamps) -> bool:
    made = [key for key in keys if find_owner(key) is None]
    is_there = len(made) >= len(_LISTED) and drop.source == source
    return is_there and is_made(store, drop.fingerprint, keys)


def is_made(store: ObjectStore, fingerprint: str, keys: Iterable[str]) -> bool:
    """Tell whether a drop's outputs are all there: of pictures that looked like this, link by link."""
    try:
        manifests = read_manifests(store, [key for key in keys if key.startswith("manifests/")])
    except CorruptObjectError:
        return False  # the next run makes it again
    above = {fingerprint}
    for asset in PER_DROP:
        above = {content_hash(m) for m in manifests if _is_made_from(m, asset, above)}
    return bool(above)


def _is_made_from(manifest: Manifest, asset: Asset, above: set[str]) -> bool:
    recipe = manifest.recipe
    return recipe.output.asset == asset.name and recipe.inputs.get(str(asset.made_from)) in above
