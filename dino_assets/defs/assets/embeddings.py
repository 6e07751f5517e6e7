"""The asset ``embeddings``: one vector per tile."""

import dagster as dg
from pydantic import Field

from dino_assets.defs.column_schemas import describe_columns
from dino_assets.defs.config import list_of
from dino_assets.defs.partitions import SINGLE_RUN, drop_by_drop, drops
from dino_assets.defs.resources.compute import ComputeResource
from dino_assets.defs.resources.inbox import InboxResource
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.defs.retrying import tried_again
from dino_assets.embeddings.options import EmbeddingOptions, VectorType, check_options
from dino_assets.embeddings.rows import make_schema
from dino_assets.embeddings.run.shards import SHARD_TILES
from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.embeddings.stage.drafting import CODE_VERSION, draft_embeddings
from dino_assets.embeddings.stage.sharing import share_encoders
from dino_assets.settings.environment import find_cache
from dino_assets.store.commits.by_drop import DropDrafts
from dino_assets.store.commits.catalogue import job_of
from dino_assets.store.commits.manifests import read_manifest
from dino_assets.store.commits.protocol import Draft
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.weights.records import Checkpoint
from dino_assets.weights.stage import OUTPUT as WEIGHTS

# All vector columns, with 0 dims, so that the description in the UI fits any model and any choice.
EVERY_COLUMN = EmbeddingOptions(columns=("cls", "mean"), regions=4)


class EmbeddingsConfig(dg.Config):
    """What is stored for each tile. These options are not part of the space."""

    columns: list_of(EmbeddingColumn) = Field(  # type: ignore[valid-type]
        default=["cls"],
        description=(
            "Vectors to store: cls (the model's vector of the whole tile), mean (over patches), or both. "
            "With cls alone, a 12-layer model computes 7 % less."
        ),
    )
    dtype: VectorType = Field(default="fp16", description="fp16, or fp32 at twice the size.")
    with_patches: bool = Field(
        default=False,
        description="Also store the vector of each patch: in Zarr, one chunk and about 1 MB per tile.",
    )
    regions: str = Field(
        default="",
        description=(
            "Also store the mean vector of each region of a tile, such as 4x4: 16 regions. Then "
            "`dino-assets find --regions` finds objects that are much smaller than a tile."
        ),
    )
    shard_tiles: int = Field(
        default=SHARD_TILES,
        ge=1,
        description=(
            "Tiles per shard, rounded to whole images. Each shard is stored as soon as it is finished, so an "
            "interrupted run resumes after the last finished shard."
        ),
    )

    def options(self) -> EmbeddingOptions:
        """Check the options, and make the record of them that the stage ``embeddings`` takes.

        Raises:
            ConfigError: an option has an unknown value.
        """
        return check_options(
            self.columns, self.dtype, with_patches=self.with_patches, regions=self.regions
        )


@dg.asset(
    group_name=job_of("embeddings"),
    kinds={"pytorch", "openvino", "parquet"},
    owners=["team:vision"],
    partitions_def=drops,
    code_version=CODE_VERSION,
    metadata=describe_columns("embeddings", make_schema(0, EVERY_COLUMN)),
    backfill_policy=SINGLE_RUN,
    pool="gpu",
    description=(
        "One vector per tile from the frozen model: CLS, the mean over patches, or both. Checkpoint, "
        "preprocessing, tile side and precision define the space, and only vectors of one space are "
        "comparable. Finished shards are never computed again."
    ),
)
@tried_again
def embeddings(
    context: dg.AssetExecutionContext,
    config: EmbeddingsConfig,
    storage: StorageResource,
    inbox: InboxResource,
    compute: ComputeResource,
    tiles: CommittedTable,
    weights: Checkpoint,
) -> dg.Output[DropDrafts]:
    """Embed the tiles of the drops of this run."""
    store, settings, options = storage.open(), compute.resolve(), config.options()
    checkpoint = read_manifest(store, WEIGHTS)

    def draft(drop: str) -> Draft:
        return draft_embeddings(
            store,
            tiles,
            drop,
            source=inbox.open(store, drop)[1],
            weights=checkpoint,
            compute=settings,
            cache=find_cache(),
            options=options,
            shard_tiles=config.shard_tiles,
        )

    return drop_by_drop(context, draft, around=share_encoders)
