"""``selections``: the few tiles worth labelling."""

import dagster as dg
from pydantic import Field

from dino_assets.partitions import SINGLE_RUN
from dino_assets.records import Checkpoint, Draft
from dino_assets.resources.compute import ComputeResource
from dino_assets.resources.inbox import InboxResource
from dino_assets.resources.storage import StorageResource
from dino_assets.stages import selections as stage
from dino_assets.stages.embeddings import current_space
from dino_assets.store.readers import CommittedTable, SpacedTable, open_table


class SelectionsConfig(dg.Config):
    """One round."""

    round: int = Field(
        default=1, description="Its number; earlier rounds are never paid for again."
    )
    budget: int = Field(default=20, description="How many tiles.")
    strategy: str = Field(default="hybrid", description="random, cluster, fps or hybrid.")
    n_clusters: int = Field(default=100, description="Clusters; clamped to what is there.")
    fps_ratio: float = Field(
        default=0.5, description="hybrid: the share of each cluster's quota picked by distance."
    )
    seed: int = Field(default=42, description="Equal seeds and inputs give the same tiles.")
    column: str = Field(default="cls", description="Which vector: cls or mean (over patches).")
    tile_px: int = Field(default=0, description="Which side's space; 0 takes the family's own.")


@dg.asset(
    group_name="selections",
    kinds={"python", "parquet"},
    owners=["team:imagery"],
    code_version=stage.CODE_VERSION,
    backfill_policy=SINGLE_RUN,
    description=(
        "One round of tiles worth labelling, each with its reason, window, place on the ground and "
        "picture; beside them a contact sheet and how well the round covers the pool."
    ),
)
def selections(
    config: SelectionsConfig,
    storage: StorageResource,
    inbox: InboxResource,
    compute: ComputeResource,
    embeddings: SpacedTable,
    tiles: CommittedTable,
    weights: Checkpoint,
) -> Draft:
    """Pick a round from what is committed in the space of the current weights."""
    store = storage.open()
    space = current_space(weights, compute.resolve(), tile_px=config.tile_px)
    options = {name: value for name, value in config.model_dump().items() if name != "tile_px"}
    return stage.draft_selections(
        embeddings.in_space(space),
        tiles,
        open_table(store, "selections", space=space),
        stage.make_settings(**options),
        open_source=lambda drop: inbox.open(store, drop)[1],
    )
