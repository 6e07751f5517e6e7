"""The asset ``projections``: a map of all embedded tiles."""

import dagster as dg
from pydantic import Field

from dino_assets.defs.column_schemas import describe_columns
from dino_assets.defs.config import config_of, name_drops, values_of
from dino_assets.defs.partitions import SINGLE_RUN
from dino_assets.defs.resources.compute import ComputeResource
from dino_assets.defs.retrying import tried_again
from dino_assets.embeddings.space import current_space
from dino_assets.embeddings.stage.pool import choose_pool
from dino_assets.projections import stage
from dino_assets.store.commits.catalogue import job_of
from dino_assets.store.commits.protocol import Draft
from dino_assets.store.commits.reading import CommittedTable, SpacedTable
from dino_assets.weights.records import Checkpoint


class ProjectionsConfig(config_of(stage.MapSettings)):  # type: ignore[misc]
    """The settings of a map."""

    tile_px: int = Field(
        default=0,
        description=(
            "Side in pixels of the tiles whose embeddings are used; 0: 518 for DINOv2, 512 for DINOv3."
        ),
    )


# Embeddings that are made again with the same content do not count.
NEW_EMBEDDINGS = (
    dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
    .allow(dg.AssetSelection.assets("embeddings"))
    .with_label("new embeddings")
)
# One map is requested once no run is in progress; failed and missing drops do not delay it. The request
# resets the condition, except in a tick that finds new embeddings: that map may have begun before they came,
# so another map is requested.
ON_NEW_EMBEDDINGS = (
    NEW_EMBEDDINGS.since(
        (dg.AutomationCondition.newly_requested() & ~NEW_EMBEDDINGS)
        | dg.AutomationCondition.initial_evaluation()
    )
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
)


@dg.asset(
    group_name=job_of("projections"),
    kinds={"umap", "parquet"},
    owners=["team:vision"],
    code_version=stage.CODE_VERSION,
    metadata=describe_columns("projections", stage.SCHEMA),
    backfill_policy=SINGLE_RUN,
    automation_condition=ON_NEW_EMBEDDINGS,
    description=(
        "A two-dimensional map of every tile embedded in the current space: coordinates, a picture, and a "
        "page. The page shows the tile under the mouse pointer, its photograph and its place."
    ),
)
@tried_again
def projections(
    context: dg.AssetExecutionContext,
    config: ProjectionsConfig,
    compute: ComputeResource,
    embeddings: SpacedTable,
    tiles: CommittedTable,
    weights: Checkpoint,
) -> Draft:
    """Make the map of all committed embeddings in the space of the current weights."""
    space = current_space(weights, compute.configured(), tile_px=config.tile_px)
    values = name_drops(values_of(config, stage.MapSettings), embeddings.store)
    settings = stage.make_settings(**values)
    pool = choose_pool(embeddings.in_space(space), drops=settings.drops, tags=settings.tags)
    if pool.unmade:
        context.add_output_metadata({"unmade": list(pool.unmade)})
    return stage.draft_projections(
        pool, tiles, settings, model=weights.label, caveat=weights.caveat
    )
