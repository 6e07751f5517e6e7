"""Which drops are finished: made of what is registered, link by link. Manifests say so, nothing else.

Finished means: ``images`` are of the registered fingerprint, ``tiles`` of these images, and ``embeddings``
of these tiles in any space. Not "in the current space": then another checkpoint or precision would
make every drop unfinished at once, and computing all of them again is a person's decision.
"""

from collections.abc import Collection, Iterable, Mapping, MutableMapping

from dino_assets.drops.registry import read_drop
from dino_assets.errors import CorruptObjectError, UnknownDropError
from dino_assets.store.commits.catalogue import PER_DROP, Asset
from dino_assets.store.commits.manifests import content_hash, read_manifests
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.objects import ObjectStore

# Per drop, its record and manifests: key → what tells one version of the object from the next.
Stamps = Mapping[str, str]
# What finished drops looked like in the store when they were last read, under store and name.
Remembered = MutableMapping[tuple[str, str], Stamps]

_LISTED = ("drops", *(f"manifests/{asset.name}" for asset in PER_DROP))


def list_stamps(store: ObjectStore) -> dict[str, dict[str, str]]:
    """Keys and stamps of every drop's record and manifests: four listings, nothing is read."""
    stamps: dict[str, dict[str, str]] = {}
    for prefix in _LISTED:
        for info in store.list(prefix):
            name = info.key.rpartition("/")[2]
            if name.endswith(".json"):
                stamp = f"{info.etag} {info.modified.isoformat()} {info.bytes}"
                stamps.setdefault(name.removesuffix(".json"), {})[info.key] = stamp
    return stamps


def find_finished(
    store: ObjectStore,
    stamps: Mapping[str, Stamps],
    sources: Mapping[str, str],
    *,
    remembered: Remembered,
) -> set[str]:
    """Those of the drops in ``sources`` (name → where its pictures are) that are finished.

    ``remembered`` spares reading: of 500 finished drops 2,000 objects, 0.96 CPU-s on a local disk, for
    0.06, every 30 s. A drop whose objects have the stamps that it was finished under is finished still.
    """
    finished: set[str] = set()
    where = str(store.folder or store.url)
    for name, source in sources.items():
        seen = stamps.get(name, {})
        if seen and remembered.get((where, name)) == {**seen, "": source}:
            finished.add(name)
        elif _is_finished(store, name, source, seen):
            finished.add(name)
            remembered[where, name] = {**seen, "": source}
        else:
            remembered.pop((where, name), None)
    return finished


def _is_finished(store: ObjectStore, name: str, source: str, keys: Collection[str]) -> bool:
    if len(keys) < len(_LISTED):
        return False
    try:
        drop = read_drop(store, name)
    except (UnknownDropError, CorruptObjectError):
        return False  # registering it again mends it
    return drop.source == source and is_made(store, drop.fingerprint, keys)


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
