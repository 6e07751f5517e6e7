"""State of each drop's assets, for `drops list`: made, old or absent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from dino_assets.drops.records import Drop
from dino_assets.drops.stored_boxes import is_made_of_boxes
from dino_assets.errors import CorruptObjectError
from dino_assets.store.commits.catalogue import PER_DROP, Asset
from dino_assets.store.commits.digests import collecting_later, list_objects
from dino_assets.store.commits.manifests import content_hash, find_manifest, read_listed
from dino_assets.store.commits.protocol import Manifest, OutputId
from dino_assets.store.objects import ObjectStore

State = Literal["made", "old", "absent"]


@dataclass(frozen=True)
class AssetState:
    """State of one asset of a drop: ``old`` if its input has changed since it was made.

    ``follows`` names an old asset from which this one is made indirectly, while the direct input is
    unchanged. Once the named asset is made again, this one may become old, too. Dagster marks only old
    assets as stale.
    """

    asset: str
    state: State
    manifest: Manifest | None = None
    follows: str = ""

    @property
    def rows(self) -> int:
        """Number of committed rows."""
        return self.manifest.rows if self.manifest else 0

    @property
    def caveat(self) -> str:
        """Warning for readers of the result, such as that its weights are random."""
        return str(self.manifest.facts.get("caveat", "")) if self.manifest else ""

    def __str__(self) -> str:
        """Asset and rows, like ``tiles 48``, ``tiles –``, ``tiles 48 (old)``, ``tiles 48 (of old images)``."""
        rows = "–" if self.state == "absent" else str(self.rows)
        age = f" (of old {self.follows})" if self.follows else " (old)" * (self.state == "old")
        warning = f" ({self.caveat.partition(':')[0]})" if self.caveat else ""
        return f"{self.asset} {rows}{age}{warning}"


def describe_drops(store: ObjectStore) -> Callable[[Drop], list[AssetState]]:
    """Return a function that gives a drop's asset states; every asset is listed once, for all drops.

    An asset is old if its input has changed. Tiles are also old if the drop has other boxes now. Embeddings are
    also old if they were computed with other weights than the store has now. Images are compared with the last
    observed source, not with the registered one, because images may be newer than the registration.
    """
    made: dict[str, dict[str, list[Manifest]]] = {asset.name: {} for asset in PER_DROP}
    with collecting_later():
        listed = list_objects(store, *(f"manifests/{asset.name}" for asset in PER_DROP))
        # Sorted by key: if there are several spaces, the last one is shown.
        for _, manifest in sorted(read_listed(store, listed).items()):
            if isinstance(manifest, CorruptObjectError):
                raise manifest
            output = manifest.recipe.output
            made[output.asset].setdefault(str(output.drop), []).append(manifest)
    weights = find_manifest(store, OutputId("weights"))

    def describe(drop: Drop) -> list[AssetState]:
        states: list[AssetState] = []
        above: set[str] | None = {drop.observed} if drop.observed else None
        old_above = ""
        for asset in PER_DROP:
            manifests = made[asset.name].get(drop.name, [])
            fresh = [m for m in manifests if _is_fresh(m, asset, above, weights, drop.boxes)]
            shown = fresh or manifests
            state: State = "made" if fresh else "old" if manifests else "absent"
            follows = old_above if state == "made" else ""
            states.append(AssetState(asset.name, state, shown[-1] if shown else None, follows))
            above = {content_hash(manifest) for manifest in manifests}
            old_above = asset.name if state == "old" else old_above
        return states

    return describe


def _is_fresh(
    manifest: Manifest,
    asset: Asset,
    above: set[str] | None,
    weights: Manifest | None,
    boxes: str,
) -> bool:
    recipe = manifest.recipe
    if not is_made_of_boxes(recipe, boxes):
        return False
    if above is not None and recipe.inputs.get(str(asset.made_from)) not in above:
        return False
    space: dict[str, Any] | None = recipe.config.get("space")
    if not asset.in_space or space is None or weights is None:
        return True
    names = ("weights_sha256", "network")
    return all(space.get(name) == weights.facts.get(name) for name in names)
