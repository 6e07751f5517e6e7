"""Which drops are finished: made of what is registered, link by link. Manifests say so, nothing else.

Finished means: ``images`` are of the registered fingerprint, ``tiles`` of these images, and ``embeddings``
of these tiles in any space. Not "in the current space": then another checkpoint or precision would
make every drop unfinished at once, and computing all of them again is a person's decision.
"""

from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field

from dino_assets.drops.facts import find_owner
from dino_assets.drops.registry import group_by_drop, read_drops
from dino_assets.errors import CorruptObjectError
from dino_assets.store.commits.catalogue import PER_DROP, Asset
from dino_assets.store.commits.digests import list_objects
from dino_assets.store.commits.manifests import content_hash, read_listed, read_manifests
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.objects import ObjectInfo, ObjectStore

# Per drop, its record and manifests: key → what tells one version of the object from the next.
Stamps = Mapping[str, ObjectInfo]
# What finished and retired drops looked like in the store when they were last read, under store and name.
Remembered = MutableMapping[tuple[str, str], Mapping[str, ObjectInfo | str]]

_LISTED = ("drops", *(f"manifests/{asset.name}" for asset in PER_DROP))


@dataclass(frozen=True)
class Settled:
    """Drops for which there is nothing to do."""

    finished: set[str] = field(default_factory=set)
    retired: set[str] = field(default_factory=set)


def list_stamps(store: ObjectStore) -> dict[str, dict[str, ObjectInfo]]:
    """Keys and stamps of every drop's record and manifests: four listings, nothing is read."""
    stamps: dict[str, dict[str, ObjectInfo]] = {}
    for info in list_objects(store, *_LISTED):
        owner = find_owner(info.key) or info.key.rpartition("/")[2].removesuffix(".json")
        stamps.setdefault(owner, {})[info.key] = info
    return stamps


def find_settled(
    store: ObjectStore,
    stamps: Mapping[str, Stamps],
    sources: Mapping[str, str],
    *,
    remembered: Remembered,
) -> Settled:
    """Those of the drops in ``sources`` (name → where its pictures are) that are finished or retired.

    ``remembered`` spares reading at all: a drop whose objects have the stamps that it was finished under is
    finished still, and one whose record and facts have the stamps that it was retired under is retired still.
    """
    settled = Settled()
    where = str(store.folder or store.url)
    unsure: dict[str, str] = {}
    for name, source in sources.items():
        seen = stamps.get(name, {})
        if seen and remembered.get((where, name)) == {**seen, "": source}:
            settled.finished.add(name)
        elif seen and remembered.get((where, name)) == _record_of(seen):
            settled.retired.add(name)
        else:
            unsure[name] = source
            remembered.pop((where, name), None)
    judged = _judge(store, stamps, unsure) if unsure else Settled()
    for name in judged.finished:
        remembered[where, name] = {**stamps[name], "": sources[name]}
    for name in judged.retired:
        remembered[where, name] = _record_of(stamps[name])
    return Settled(settled.finished | judged.finished, settled.retired | judged.retired)


def _record_of(stamps: Stamps) -> dict[str, ObjectInfo]:
    return {key: info for key, info in stamps.items() if key.startswith("drops/")}


def _judge(store: ObjectStore, stamps: Mapping[str, Stamps], sources: Mapping[str, str]) -> Settled:
    """Read the records and manifests of the drops in ``sources``; a damaged record is mended by registering."""
    listed = [info for seen in stamps.values() for info in seen.values()]
    records = group_by_drop(listed)
    drops = read_drops(store, records, wanted=[name for name in sources if name in records])
    settled = Settled()
    complete: dict[str, str] = {}
    for name, drop in drops.items():
        if isinstance(drop, CorruptObjectError):
            continue
        made = [key for key in stamps[name] if find_owner(key) is None]
        if drop.is_retired:
            settled.retired.add(name)
        elif len(made) >= len(_LISTED) and drop.source == sources[name]:
            complete[name] = drop.fingerprint
    wanted = {key for name in complete for key in stamps[name]}
    committed = (info for info in listed if info.key.startswith("manifests/"))
    manifests = read_listed(store, committed, wanted=wanted)
    for name, seen_as in complete.items():
        of_drop = [manifests[key] for key in stamps[name] if key in manifests]
        sound = [each for each in of_drop if isinstance(each, Manifest)]
        # With a damaged one it is not: the next run makes that again.
        if len(sound) == len(of_drop) and _is_linked(sound, seen_as):
            settled.finished.add(name)
    return settled


def is_made(store: ObjectStore, fingerprint: str, keys: Iterable[str]) -> bool:
    """Tell whether a drop's outputs are all there: of pictures that looked like this, link by link."""
    try:
        manifests = read_manifests(store, [key for key in keys if key.startswith("manifests/")])
    except CorruptObjectError:
        return False  # the next run makes it again
    return _is_linked(manifests, fingerprint)


def _is_linked(manifests: Collection[Manifest], fingerprint: str) -> bool:
    above = {fingerprint}
    for asset in PER_DROP:
        above = {content_hash(m) for m in manifests if _is_made_from(m, asset, above)}
    return bool(above)


def _is_made_from(manifest: Manifest, asset: Asset, above: set[str]) -> bool:
    recipe = manifest.recipe
    return recipe.output.asset == asset.name and recipe.inputs.get(str(asset.made_from)) in above
