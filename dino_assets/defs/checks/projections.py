"""Checks of ``projections``."""

import dagster as dg

from dino_assets.defs.checks.outcome import to_result
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.projections.stage import judge_projections
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.reading import open_table


@dg.asset_check(
    asset="projections",
    blocking=True,
    description="Every embedded tile has a finite place on the map.",
)
def projections_are_complete(
    context: dg.AssetCheckExecutionContext, storage: StorageResource
) -> dg.AssetCheckResult:
    """Hold each space's map against what is embedded in that space."""
    store = storage.open()
    verdicts = []
    for space in list_spaces(store, "projections"):
        maps = open_table(store, "projections", space=space)
        used = maps.manifest(None).recipe.inputs
        embedded = open_table(store, "embeddings", space=space, drops=used)
        verdicts.append(judge_projections(maps, embedded, space=space))
    return to_result(context, verdicts)
