"""The asset ``probes``: a classifier of tiles, learnt from labels."""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from dino_assets.defs.column_schemas import describe_columns
from dino_assets.defs.config import config_of, name_drops, values_of
from dino_assets.defs.partitions import SINGLE_RUN
from dino_assets.defs.resources.compute import ComputeResource
from dino_assets.defs.retrying import tried_again
from dino_assets.errors import NotCommittedError, TooFewLabelsError
from dino_assets.probes.probe_settings import ProbeSettings
from dino_assets.probes.stage.drafting import CODE_VERSION, make_settings, open_probe
from dino_assets.probes.stage.predicting import SCHEMA
from dino_assets.store.commits.catalogue import job_of
from dino_assets.store.commits.protocol import Draft
from dino_assets.store.commits.reading import CommittedTable, SpacedTable
from dino_assets.weights.records import Checkpoint


class ProbesConfig(config_of(ProbeSettings)):  # type: ignore[misc]
    """The settings of a probe."""

    tile_px: int = Field(
        default=0,
        description=(
            "Side in pixels of the tiles whose embeddings are used; 0: 518 for DINOv2, 512 for DINOv3."
        ),
    )


@dg.asset(
    group_name=job_of("probes"),
    kinds={"scikitlearn", "safetensors", "parquet"},
    owners=["team:vision"],
    code_version=CODE_VERSION,
    metadata=describe_columns("probes", SCHEMA),
    # A run that makes both makes the labels first; they are read from the store.
    deps=[dg.AssetKey("labels")],
    backfill_policy=SINGLE_RUN,
    output_required=False,
    description=(
        "A linear classifier of tiles, learnt from the labels: its weights, and for every tile the predicted class "
        "and how uncertain it is. The scores are of labelled tiles whose ground the classifier did not see."
    ),
)
@tried_again
def probes(
    context: dg.AssetExecutionContext,
    config: ProbesConfig,
    compute: ComputeResource,
    embeddings: SpacedTable,
    tiles: CommittedTable,
    weights: Checkpoint,
) -> Iterator[dg.Output[Draft]]:
    """Train a probe on the committed labels in the space of the current weights."""
    values = name_drops(values_of(config, ProbeSettings), embeddings.store)
    try:
        draft = open_probe(
            embeddings,
            tiles,
            weights,
            compute.configured(),
            make_settings(**values),
            tile_px=config.tile_px,
        )
    except (NotCommittedError, TooFewLabelsError) as err:
        context.log.info(f"probes: none was trained, because {err}")
        return
    yield dg.Output(draft)
