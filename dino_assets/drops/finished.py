"""Finished drops, judged by their manifests alone.

Finished means: ``images`` were made from the registered fingerprint, ``tiles`` from these images and the
registered boxes, if there are any, and ``embeddings`` from these tiles in any space. The current space is
not required: otherwise another checkpoint would make every drop unfinished at once. Only a person may decide
to compute all drops again.
"""

from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass, field

from dino_assets.drops.facts import find_fact_owner, read_facts
from dino_assets.drops.records import Drop
from dino_assets.drops.registry import group_by_drop, read_drops
from dino_assets.drops.stored_boxes import is_made_of_boxes
from dino_assets.errors import CorruptObjectError
from dino_assets.store.commits.catalogue import PER_DROP, Asset
from dino_assets.store.commits.digests import list_objects
from dino_assets.store.commits.manifests import content_hash, read_listed, read_manifests
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.objects import ObjectInfo, ObjectStore

# Stamps of one drop's record, facts and manifests, by key: the size and the time or ETag of each object.
# They change whenever the object does.
Stamps = Mapping[str, ObjectInfo]
# Stamps of finished and retired drops when their objects were last read, by store and drop name.
Remembered = MutableMapping[tuple[str, str], Mapping[str, ObjectInfo | str]]

_LISTED = ("drops", *(f"manifests/{asset.name}" for asset in PER_DROP))


@dataclass(frozen=True)
class DoneDrops:
    """Finished and retired drops, which need no run."""

    finished: set[str] = field(default_factory=set)
    retired: set[str] = field(default_factory=set)


def list_stamps(store: ObjectStore) -> dict[str, dict[str, ObjectInfo]]:
    """List the stamps of every drop's record, facts and manifests, by drop.

    This takes four listings, and no object is read.
    """
    stamps: dict[str, dict[str, ObjectInfo]] = {}
    for info in list_objects(store, *_LISTED):
        owner = find_fact_owner(info.key) or info.key.rpartition("/")[2].removesuffix(".json")
        stamps.setdefault(owner, {})[info.key] = info
    return stamps


def find_done_drops(
    store: ObjectStore,
    stamps: Mapping[str, Stamps],
    sources: Mapping[str, str],
    *,
    remembered: Remembered,
) -> DoneDrops:
    """Find finished and retired drops among ``sources`` (drop name → address of its pictures).

    ``remembered`` keeps the stamps of these drops between calls. A drop is not read again while its stamps
    are the same. For a retired drop, only the stamps of its record and facts matter.
    """
    done = DoneDrops()
    store_name = str(store.folder or store.url)
    unsure: dict[str, str] = {}
    for name, source in sources.items():
        current = stamps.get(name, {})
        if current and remembered.get((store_name, name)) == {**current, "": source}:
            done.finished.add(name)
        elif current and remembered.get((store_name, name)) == _select_record(current):
            done.retired.add(name)
        else:
            unsure[name] = source
            remembered.pop((store_name, name), None)
    judged = _judge(store, stamps, unsure) if unsure else DoneDrops()
    for name in judged.finished:
        remembered[store_name, name] = {**stamps[name], "": sources[name]}
    for name in judged.retired:
        remembered[store_name, name] = _select_record(stamps[name])
    return DoneDrops(done.finished | judged.finished, done.retired | judged.retired)


def _select_record(stamps: Stamps) -> dict[str, ObjectInfo]:
    return {key: info for key, info in stamps.items() if key.startswith("drops/")}


def _judge(
    store: ObjectStore, stamps: Mapping[str, Stamps], sources: Mapping[str, str]
) -> DoneDrops:
    """Judge the drops in ``sources`` by their records and manifests; skip damaged records.

    Registering a drop again repairs its record.
    """
    listed = [info for of_drop in stamps.values() for info in of_drop.values()]
    records = group_by_drop(listed)
    drops = read_drops(store, records, wanted=[name for name in sources if name in records])
    done = DoneDrops()
    complete: dict[str, Drop] = {}
    for name, drop in drops.items():
        if isinstance(drop, CorruptObjectError):
            continue
        made = [key for key in stamps[name] if find_fact_owner(key) is None]
        if drop.is_retired:
            done.retired.add(name)
        elif len(made) >= len(_LISTED) and drop.source == sources[name]:
            complete[name] = drop
    wanted = {key for name in complete for key in stamps[name]}
    committed = (info for info in listed if info.key.startswith("manifests/"))
    manifests = read_listed(store, committed, wanted=wanted)
    for name, drop in complete.items():
        of_drop = [manifests[key] for key in stamps[name] if key in manifests]
        sound = [each for each in of_drop if isinstance(each, Manifest)]
        # A drop with a damaged manifest is unfinished: the next run makes that output again.
        if len(sound) == len(of_drop) and _is_linked(sound, drop.fingerprint, drop.boxes):
            done.finished.add(name)
    return done


def has_all_outputs(store: ObjectStore, fingerprint: str, keys: Collection[str]) -> bool:
    """Check whether a drop has images of this source fingerprint, tiles of them, and embeddings of the tiles.

    ``keys`` are the keys of the drop's objects; its manifests are read, and the fact that names its boxes.
    """
    boxes = ""
    try:
        manifests = read_manifests(store, [key for key in keys if key.startswith("manifests/")])
        for key in keys:
            if key.endswith("/boxes.json") and (name := find_fact_owner(key)):
                boxes = str(read_facts(store, name, [key]).get("boxes", ""))
    except CorruptObjectError:
        return False  # the next run makes it again
    return _is_linked(manifests, fingerprint, boxes)


def _is_linked(manifests: Collection[Manifest], fingerprint: str, boxes: str) -> bool:
    above = {fingerprint}
    for asset in PER_DROP:
        above = {content_hash(m) for m in manifests if _is_made_from(m, asset, above, boxes)}
    return bool(above)


def _is_made_from(manifest: Manifest, asset: Asset, above: set[str], boxes: str) -> bool:
    recipe = manifest.recipe
    is_linked = recipe.inputs.get(str(asset.made_from)) in above
    return recipe.output.asset == asset.name and is_linked and is_made_of_boxes(recipe, boxes)
