"""``embeddings``: one vector per tile."""

import dagster as dg

from dino_assets.partitions import SINGLE_RUN, drops, drops_of_run
from dino_assets.records import Checkpoint, Draft
from dino_assets.resources.compute import ComputeResource
from dino_assets.resources.inbox import InboxResource
from dino_assets.resources.storage import StorageResource
from dino_assets.settings import find_cache
from dino_assets.stages import embeddings as stage
from dino_assets.stages.drafts import DropDrafts
from dino_assets.stages.weights import OUTPUT as WEIGHTS
from dino_assets.store.manifests import read_manifest
from dino_assets.store.readers import CommittedTable


@dg.asset(
    group_name="embeddings",
    kinds={"pytorch", "parquet"},
    owners=["team:vision"],
    partitions_def=drops,
    code_version=stage.CODE_VERSION,
    backfill_policy=SINGLE_RUN,
    pool="gpu",
    description=(
        "One vector per tile from the frozen model: CLS and the mean over patches, in the space that "
        "checkpoint, preprocessing, side and precision define. Finished shards are never made twice."
    ),
)
def embeddings(
    context: dg.AssetExecutionContext,
    storage: StorageResource,
    inbox: InboxResource,
    compute: ComputeResource,
    tiles: CommittedTable,
    weights: Checkpoint,
) -> DropDrafts:
    """Embed the tiles of the drops of this run."""
    store, settings = storage.open(), compute.resolve()
    load = stage.make_encoder(store, read_manifest(store, WEIGHTS), settings, cache=find_cache())

    def draft(drop: str) -> Draft:
        return stage.draft_embeddings(
            store,
            tiles,
            drop,
            source=inbox.open(store, drop)[1],
            checkpoint=weights,
            compute=settings,
            make_encode=load,
        )

    return DropDrafts(drops_of_run(context) or (), draft)
