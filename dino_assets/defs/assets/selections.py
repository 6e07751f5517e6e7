"""The asset ``selections``: rounds of tiles worth labelling."""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from dino_assets.defs.column_schemas import describe_columns
from dino_assets.defs.config import config_of, name_drops, values_of
from dino_assets.defs.partitions import SINGLE_RUN
from dino_assets.defs.resources.compute import ComputeResource
from dino_assets.defs.resources.hub import HubResource
from dino_assets.defs.resources.inbox import InboxResource
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.defs.retrying import tried_again
from dino_assets.drops.registry import DropReader
from dino_assets.embeddings.stage.queries import SpaceEncoders
from dino_assets.errors import NotCommittedError
from dino_assets.labels.stage.reading import list_labelled
from dino_assets.probes.stage.class_examples import list_prototype_names, with_prototypes
from dino_assets.probes.stage.uncertainties import read_uncertainties
from dino_assets.selections.rounds import RoundSettings, make_settings
from dino_assets.selections.stage.drafting import CODE_VERSION, SCHEMA
from dino_assets.selections.stage.examples import make_reader
from dino_assets.selections.stage.opening import open_round
from dino_assets.settings.environment import find_cache, find_root
from dino_assets.store.commits.catalogue import job_of
from dino_assets.store.commits.protocol import Draft
from dino_assets.store.commits.reading import CommittedTable, SpacedTable
from dino_assets.weights.records import Checkpoint


class SelectionsConfig(config_of(RoundSettings)):  # type: ignore[misc]
    """The settings of one round."""

    tile_px: int = Field(
        default=0,
        description=(
            "Side in pixels of the tiles whose embeddings are used; 0: 518 for DINOv2, 512 for DINOv3."
        ),
    )
    replace: bool = Field(
        default=False,
        description=(
            "Choose the latest committed round again, from the pool as it is now. Otherwise a committed "
            "round never changes: somebody may be labelling it."
        ),
    )


@dg.asset(
    group_name=job_of("selections"),
    kinds={"python", "parquet"},
    owners=["team:imagery"],
    code_version=CODE_VERSION,
    metadata=describe_columns("selections", SCHEMA),
    # The round is drawn on the map, so a run that makes both makes the map first.
    deps=[dg.AssetKey("projections")],
    backfill_policy=SINGLE_RUN,
    output_required=False,
    description=(
        "One round of tiles worth labelling: for each tile the reason, the window, the place on the ground "
        "and a picture. If several tiles show the same ground, only one is chosen. The round also has a "
        "contact sheet, "
        "a receipt that links each tile to its photograph and to the weights, and figures on how well it covers "
        "all tiles that could be chosen."
    ),
)
@tried_again
def selections(
    context: dg.AssetExecutionContext,
    config: SelectionsConfig,
    storage: StorageResource,
    inbox: InboxResource,
    hub: HubResource,
    compute: ComputeResource,
    embeddings: SpacedTable,
    tiles: CommittedTable,
    weights: Checkpoint,
) -> Iterator[dg.Output[Draft]]:
    """Choose a round from the committed embeddings in the space of the current weights."""
    store = storage.open()
    read_drop = DropReader(store)
    encoders = SpaceEncoders(store, compute.resolve, find_cache())
    values = values_of(config, RoundSettings)
    prototypes = list_prototype_names(store) if values["shares"] else ()
    try:
        opened = open_round(
            embeddings,
            tiles,
            weights,
            compute.configured(),
            make_settings(prototypes=prototypes, **name_drops(values, store)),
            open_source=lambda drop: inbox.open(store, drop, read=read_drop)[1],
            tile_px=config.tile_px,
            may_replace=config.replace,
            read_example=with_prototypes(make_reader(encoders, find_root())),
            labelled=list_labelled(store),
            read_uncertainties=read_uncertainties,
        )
    except NotCommittedError as err:
        context.log.warning(f"no round was chosen: {err}")
        return
    for warning in (hub.explain_other_model(store), opened.notice):
        if warning:
            context.log.warning(warning)
    metadata = {"unmade": list(opened.unmade)} if opened.unmade else {}
    yield dg.Output(opened.draft, metadata=metadata)
