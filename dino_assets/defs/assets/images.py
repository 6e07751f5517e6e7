"""The asset ``images``: the photographs of a drop."""

import dagster as dg
from pydantic import Field

from dino_assets.defs.column_schemas import describe_columns
from dino_assets.defs.observations import INBOX, record_observation
from dino_assets.defs.partitions import SINGLE_RUN, drop_by_drop, drops
from dino_assets.defs.resources.compute import ComputeResource
from dino_assets.defs.resources.inbox import InboxResource
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.defs.retrying import tried_again
from dino_assets.drops.arrivals import summarise_entries
from dino_assets.images.decoding import MAX_PIXELS
from dino_assets.images.rows import SCHEMA, ReadingOptions
from dino_assets.images.stage import drafting as stage
from dino_assets.store.commits.by_drop import DropDrafts
from dino_assets.store.commits.catalogue import job_of
from dino_assets.store.commits.protocol import Draft


class ImagesConfig(dg.Config):
    """How photographs are read."""

    max_pixels: int = Field(
        default=MAX_PIXELS,
        description="Files with more pixels are quarantined before they are decoded.",
    )
    ground_m: float | None = Field(
        default=None,
        description=(
            "Height of the ground above sea level, in metres, or above the ellipsoid if the drone records "
            "heights that way. Default: the height of the take-off. The ground is taken as flat."
        ),
    )


@dg.asset(
    group_name=job_of("images"),
    kinds={"parquet"},
    owners=["team:imagery"],
    partitions_def=drops,
    deps=[INBOX],
    code_version=stage.CODE_VERSION,
    metadata=describe_columns("images", SCHEMA),
    backfill_policy=SINGLE_RUN,
    description=(
        "Every file of a drop, one row each: content hash, upright size, time and place of the shot, "
        "sharpness and exposure, and the outline on the ground. A file that cannot be used is "
        "quarantined: its row has the reason, and the run goes on. The page report.html shows the result."
    ),
)
@tried_again
def images(
    context: dg.AssetExecutionContext,
    config: ImagesConfig,
    storage: StorageResource,
    inbox: InboxResource,
    compute: ComputeResource,
) -> dg.Output[DropDrafts]:
    """List, hash and check the photographs of this run's drops."""
    store = storage.open()
    threads = compute.count_threads()
    reading = ReadingOptions(config.max_pixels, config.ground_m)

    def draft(name: str) -> Draft:
        drop, source = inbox.open(store, name)
        listing = source.entries()
        state = summarise_entries(listing)
        record_observation(context.instance, store, name, state, write=context.log_event)
        return stage.draft_images(drop, source, threads=threads, reading=reading, listing=listing)

    return drop_by_drop(context, draft)
