"""What is made of each drop, for listings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from dino_assets.drops.records import Drop
from dino_assets.store.commits.catalogue import PER_DROP, Asset
from dino_assets.store.commits.manifests import content_hash, find_manifest, read_manifests
from dino_assets.store.commits.protocol import Manifest, OutputId
from dino_assets.store.objects import ObjectStore

State = Literal["made", "old", "absent"]


@dataclass(frozen=True)
class AssetState:
    """What there is of one asset of a drop; ``old`` when what it was made from has changed since."""

    asset: str
    state: State
    rows: int = 0
    caveat: str = ""

    def __str__(self) -> str:
        """Reads like ``tiles 48``, ``tiles –``, ``tiles 48 (old)`` or ``… (random weights)``."""
        rows = "–" if self.state == "absent" else str(self.rows)
        warning = f" ({self.caveat.partition(':')[0]})" if self.caveat else ""
        return f"{self.asset} {rows}{' (old)' * (self.state == 'old')}{warning}"


def describe_drops(store: ObjectStore) -> Callable[[Drop], list[AssetState]]:
    """Give a function that says what is made of a drop; every asset is listed once, for all drops.

    Old are embeddings by other weights than the store has now, and whatever is made of something old or
    of what is there no more. Images are where the drop's source was last seen to hold something else; they
    may be newer than its registration.
    """
    made: dict[str, dict[str, list[Manifest]]] = {}
    for asset in PER_DROP:
        by_drop = made.setdefault(asset.name, {})
        listed = store.list(f"manifests/{asset.name}")
        keys = sorted(info.key for info in listed if info.key.endswith(".json"))
        for manifest in read_manifests(store, keys):
            by_drop.setdefault(str(manifest.recipe.output.drop), []).append(manifest)
    weights = find_manifest(store, OutputId("weights"))

    def describe(drop: Drop) -> list[AssetState]:
        states: list[AssetState] = []
        above: set[str] | None = {drop.observed} if drop.observed else None
        for asset in PER_DROP:
            manifests = made[asset.name].get(drop.name, [])
            fresh = [m for m in manifests if _is_fresh(m, asset, above, weights)]
            shown = fresh or manifests
            state: State = "made" if fresh else "old" if manifests else "absent"
            rows = shown[-1].rows if shown else 0
            caveat = shown[-1].facts.get("caveat", "") if shown else ""
            states.append(AssetState(asset.name, state, rows, caveat))
            above = {content_hash(manifest) for manifest in fresh}
        return states

    return describe


def _is_fresh(
    manifest: Manifest, asset: Asset, above: set[str] | None, weights: Manifest | None
) -> bool:
    recipe = manifest.recipe
    if above is not None and recipe.inputs.get(str(asset.made_from)) not in above:
        return False
    space: dict[str, Any] | None = recipe.config.get("space")
    if not asset.in_space or space is None or weights is None:
        return True
    names = ("weights_sha256", "network")
    return all(space.get(name) == weights.facts.get(name) for name in names)
