"""The asset ``label_exports``: a round as files for labelling programs."""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from dino_assets.defs.column_schemas import describe_columns
from dino_assets.defs.config import config_of, values_of
from dino_assets.defs.partitions import SINGLE_RUN
from dino_assets.defs.resources.compute import ComputeResource
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.defs.retrying import tried_again
from dino_assets.embeddings.space import current_space
from dino_assets.errors import NotCommittedError
from dino_assets.labels.export_settings import LabelExportSettings
from dino_assets.labels.stage.export_drafting import (
    CODE_VERSION,
    SCHEMA,
    draft_label_exports,
)
from dino_assets.labels.stage.round_files import make_export_settings
from dino_assets.probes.stage.suggesting import read_suggestions
from dino_assets.settings.environment import find_cache
from dino_assets.store.commits.catalogue import job_of
from dino_assets.store.commits.protocol import Draft
from dino_assets.store.commits.reading import open_table
from dino_assets.weights.records import Checkpoint


class LabelExportsConfig(config_of(LabelExportSettings)):  # type: ignore[misc]
    """The settings of a round's export."""

    round: str = Field(
        default="", description="Name of the round, such as round-0001; empty: the latest."
    )
    tile_px: int = Field(
        default=0,
        description=(
            "Side in pixels of the tiles whose embeddings are used; 0: 518 for DINOv2, 512 for DINOv3."
        ),
    )


@dg.asset(
    group_name=job_of("label_exports"),
    kinds={"parquet"},
    owners=["team:imagery"],
    code_version=CODE_VERSION,
    metadata=describe_columns("label_exports", SCHEMA),
    # The round, its labels and what suggests classes are read from the store.
    deps=[dg.AssetKey("selections"), dg.AssetKey("labels"), dg.AssetKey("probes")],
    backfill_policy=SINGLE_RUN,
    output_required=False,
    description=(
        "A round for labelling programs, as one zip file: its crops, and its labels so far in the formats of CVAT, "
        "Label Studio, COCO, YOLO, QGIS and spreadsheets, with the classes that the probe suggests."
    ),
)
@tried_again
def label_exports(
    context: dg.AssetExecutionContext,
    config: LabelExportsConfig,
    storage: StorageResource,
    compute: ComputeResource,
    weights: Checkpoint,
) -> Iterator[dg.Output[Draft]]:
    """Write the latest round of the current weights' space, or a named one, for labelling programs."""
    store = storage.open()
    settings = make_export_settings(**values_of(config, LabelExportSettings))
    space = current_space(weights, compute.configured(), tile_px=config.tile_px)
    try:
        draft = draft_label_exports(
            open_table(store, "selections", space=space),
            config.round,
            settings,
            suggest=read_suggestions,
            cache=find_cache(),
        )
    except NotCommittedError as err:
        context.log.info(f"label_exports: none were made, because {err}")
        return
    yield dg.Output(draft)
