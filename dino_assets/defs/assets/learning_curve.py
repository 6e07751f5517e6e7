"""The asset ``learning_curve``: what each strategy's labels are worth, and slices where a probe is worse."""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from dino_assets.defs.column_schemas import describe_columns
from dino_assets.defs.config import config_of, name_drops, values_of
from dino_assets.defs.partitions import SINGLE_RUN
from dino_assets.defs.resources.compute import ComputeResource
from dino_assets.defs.retrying import tried_again
from dino_assets.embeddings.space import current_space
from dino_assets.embeddings.stage.pool import choose_pool
from dino_assets.errors import NotCommittedError, TooFewLabelsError
from dino_assets.probes.curve_settings import CurveSettings, make_settings
from dino_assets.probes.stage import curve
from dino_assets.store.commits.catalogue import job_of
from dino_assets.store.commits.protocol import Draft
from dino_assets.store.commits.reading import CommittedTable, SpacedTable
from dino_assets.weights.records import Checkpoint


class LearningCurveConfig(config_of(CurveSettings)):  # type: ignore[misc]
    """The settings of a learning curve."""

    tile_px: int = Field(
        default=0,
        description=(
            "Side in pixels of the tiles whose embeddings are used; 0: 518 for DINOv2, 512 for DINOv3."
        ),
    )


@dg.asset(
    group_name=job_of(curve.ASSET),
    kinds={"parquet"},
    owners=["team:vision"],
    code_version=curve.CODE_VERSION,
    metadata=describe_columns(curve.ASSET, curve.SCHEMA),
    deps=[dg.AssetKey("labels")],
    backfill_policy=SINGLE_RUN,
    output_required=False,
    description=(
        "How accurate a quick probe would be, had each strategy chosen the labels, compared with random "
        "selection on ground that was held out. Estimates what the next 100 labels buy and cost, and lists "
        "slices of the tiles in which the probe is worse."
    ),
)
@tried_again
def learning_curve(
    context: dg.AssetExecutionContext,
    config: LearningCurveConfig,
    compute: ComputeResource,
    embeddings: SpacedTable,
    tiles: CommittedTable,
    images: CommittedTable,
    weights: Checkpoint,
) -> Iterator[dg.Output[Draft]]:
    """Replay the strategies inside the labelled tiles, unless there are too few."""
    space = current_space(weights, compute.configured(), tile_px=config.tile_px)
    settings = make_settings(**name_drops(values_of(config, CurveSettings), embeddings.store))
    pool = choose_pool(embeddings.in_space(space), drops=settings.drops, tags=settings.tags)
    try:
        draft = curve.draft_curve(pool, tiles, images, settings, caveat=weights.caveat)
    except (NotCommittedError, TooFewLabelsError) as err:
        context.log.info(f"learning_curve: none was made, because {err}")
        return
    yield dg.Output(draft)
