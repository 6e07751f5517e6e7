"""``images``: what a drop holds."""

import dagster as dg
from pydantic import Field

from dino_assets.defs.column_schemas import describe_columns
from dino_assets.defs.observations import INBOX, record_look
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
    """What counts as a usable photograph."""

    max_pixels: int = Field(
        default=MAX_PIXELS,
        description="Pictures with more pixels are quarantined before they are decoded.",
    )
    ground_m: float | None = Field(
        default=None,
        description=(
            "Height of the ground above the sea (or above the ellipsoid, where the drone counts so). "
            "Without it the ground is as high as the take-off. Flat either way."
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
        "Every photograph of a drop: content hash, upright frame, when and where it was taken, how it "
        "came out, and what it shows of the ground. A file that cannot be used is a row with a reason, "
        "and the run goes on. Beside the table a report for people."
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
    """List, hash and check the drops of this run."""
    store = storage.open()
    threads = compute.count_threads()
    reading = ReadingOptions(config.max_pixels, config.ground_m)

    def draft(name: str) -> Draft:
        drop, source = inbox.open(store, name)
        listing = source.entries()
        look = summarise_entries(listing)
        record_look(context.instance, store, name, look, write=context.log_event)
        return stage.draft_images(drop, source, threads=threads, reading=reading, listing=listing)

    return drop_by_drop(context, draft)
