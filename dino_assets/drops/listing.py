"""What is made of each drop, for listings."""

from collections.abc import Callable

from dino_assets.store.commits.catalogue import PER_DROP
from dino_assets.store.commits.manifests import content_hash, read_manifests
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.objects import ObjectStore


def describe_drops(store: ObjectStore) -> Callable[[str], list[str]]:
    """Give a function that says what is made of a drop; every asset is listed once, for all drops.

    One word per asset: rows, ``–`` for nothing, ``(old)`` when its input has changed since.
    """
    made: dict[str, dict[str, list[Manifest]]] = {}
    for asset in PER_DROP:
        by_drop = made.setdefault(asset.name, {})
        listed = store.list(f"manifests/{asset.name}")
        keys = sorted(info.key for info in listed if info.key.endswith(".json"))
        for manifest in read_manifests(store, keys):
            by_drop.setdefault(str(manifest.recipe.output.drop), []).append(manifest)

    def describe(drop: str) -> list[str]:
        words: list[str] = []
        above: set[str] = set()
        for asset in PER_DROP:
            manifests = made[asset.name].get(drop, [])
            fresh = [m for m in manifests if not above or above & set(m.recipe.inputs.values())]
            shown = fresh or manifests
            rows = shown[-1].rows if shown else "–"
            words.append(f"{asset.name} {rows}{' (old)' * (shown != fresh)}")
            above = {content_hash(manifest) for manifest in shown}
        return words

    return describe
