"""Named jobs, for the UI, for schedules and for re-execution from failure."""

from typing import Any

import dagster as dg
from pydantic import Field

from dino_assets.defs.observations import INBOX, observe_drop
from dino_assets.defs.partitions import add_drop_keys
from dino_assets.defs.resources.inbox import InboxResource
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.drops.duplicates import warn_of_duplicates
from dino_assets.settings.environment import find_root
from dino_assets.store.commits.catalogue import LINEAGE, assets_of_job


class DropToRegister(dg.Config):
    """One drop, as a person names it."""

    name: str = Field(description="The drop's name: its folder's name, or one of your own.")
    source: str = Field(
        default="",
        description=(
            "Where its pictures are: a folder, a .csv or .txt list, or s3://bucket/prefix. Empty "
            "takes the folder of that name in the inbox, or looks again where the drop is registered."
        ),
    )
    replace: bool = Field(default=False, description="The same pictures moved to another place.")
    tags: list[str] = Field(default=[], description="Words that rounds and maps may choose by.")


@dg.op(description="Write the drop's record and add its partition key. Idempotent.")
def register_named_drop(
    context: dg.OpExecutionContext,
    config: DropToRegister,
    storage: StorageResource,
    inbox: InboxResource,
) -> None:
    """Register one drop from the UI, exactly as ``dino-assets drops register`` does."""
    store = storage.open()
    drop, has_changed = inbox.register(
        store,
        config.name,
        source=config.source or None,
        may_replace=config.replace,
        tags=config.tags,
    )
    added = add_drop_keys(context.instance, [drop.name])
    observe_drop(context.instance, store, drop, root=find_root())
    verb = "registered" if has_changed or added else "already registered"
    context.log.info(f"{drop.name}: {verb}, {drop.source}")
    if warning := warn_of_duplicates(store, drop):
        context.log.warning(f"{drop.name}: {warning}")


@dg.job(description="Make a drop known: a name and a source. Then materialise its partition.")
def register_drop() -> None:
    """The UI's way to register a drop."""
    register_named_drop()


ingest = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets(*assets_of_job("ingest")),
    description="From a drop's pictures to its embeddings.",
)
curate = dg.define_asset_job(
    "curate",
    selection=dg.AssetSelection.assets(*assets_of_job("curate")),
    description="A map and a round of tiles, from everything embedded so far.",
)
lineage = dg.define_asset_job(
    "lineage",
    selection=dg.AssetSelection.assets(*LINEAGE),
    description="From photographs to a round, for the drops of the run.",
)

deploy = dg.define_asset_job(
    "deploy",
    selection=dg.AssetSelection.assets(*assets_of_job("deploy")),
    description="The current weights as an ONNX file, for programs that serve them.",
)

observe_inbox = dg.define_asset_job(
    "observe_inbox",
    selection=dg.AssetSelection.assets(INBOX)
    | dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("projections"), "map_is_current")),
    description=(
        "Look at every drop's files without reading them: what changed makes its images stale. Then tell "
        "whether no flight came for long, and whether the map is older than the embeddings."
    ),
)

ALL_JOBS: list[Any] = [register_drop, observe_inbox, ingest, curate, lineage, deploy]
