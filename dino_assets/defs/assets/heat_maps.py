"""The asset ``heat_maps``: where on the ground each class is likely."""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from dino_assets.defs.column_schemas import describe_columns
from dino_assets.defs.partitions import SINGLE_RUN
from dino_assets.defs.resources.compute import ComputeResource
from dino_assets.defs.retrying import tried_again
from dino_assets.embeddings.space import current_space
from dino_assets.embeddings.stage.pool import choose_pool
from dino_assets.errors import MissingExtraError, NotCommittedError
from dino_assets.probes.stage.heat_maps import CODE_VERSION, SCHEMA, draft_heat_maps
from dino_assets.store.commits.catalogue import job_of
from dino_assets.store.commits.protocol import Draft
from dino_assets.store.commits.reading import CommittedTable, SpacedTable
from dino_assets.weights.records import Checkpoint


class HeatMapsConfig(dg.Config):
    """The settings of heat maps."""

    tile_px: int = Field(
        default=0,
        description=(
            "Side in pixels of the tiles whose embeddings are used; 0: 518 for DINOv2, 512 for DINOv3."
        ),
    )


@dg.asset(
    group_name=job_of("heat_maps"),
    kinds={"geotiff", "parquet"},
    owners=["team:imagery"],
    code_version=CODE_VERSION,
    metadata=describe_columns("heat_maps", SCHEMA),
    # Cameras, labels, the probe and prototypes are read from the store.
    deps=[dg.AssetKey("images"), dg.AssetKey("labels"), dg.AssetKey("probes")],
    backfill_policy=SINGLE_RUN,
    output_required=False,
    description=(
        "Where on the ground each class of the probe and each prototype is likely: one GeoTIFF per drop and class, "
        "with the score of each cell and the number of photographs that show it."
    ),
)
@tried_again
def heat_maps(
    context: dg.AssetExecutionContext,
    config: HeatMapsConfig,
    compute: ComputeResource,
    embeddings: SpacedTable,
    tiles: CommittedTable,
    weights: Checkpoint,
) -> Iterator[dg.Output[Draft]]:
    """Make the heat maps of all drops in the space of the current weights."""
    space = current_space(weights, compute.configured(), tile_px=config.tile_px)
    try:
        pool = choose_pool(embeddings.in_space(space))
        draft = draft_heat_maps(pool, tiles, caveat=weights.caveat)
    except (NotCommittedError, MissingExtraError) as err:
        context.log.info(f"heat_maps: none were made, because {err}")
        return
    yield dg.Output(draft)
