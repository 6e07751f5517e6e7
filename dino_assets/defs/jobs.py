"""The named jobs: for the UI, for schedules, and for re-execution from a failure."""

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
    """A drop to register: name, source and tags."""

    name: str = Field(description="Name of the drop: the name of its folder, or any other name.")
    source: str = Field(
        default="",
        description=(
            "Where its photographs are: a folder, a .csv or .txt list, or s3://bucket/prefix. If this is "
            "empty, the folder of that name in the inbox is used for a new drop. For a registered drop, its "
            "current source is listed again."
        ),
    )
    replace: bool = Field(
        default=False,
        description="Set it if the photographs of a registered drop were moved to another source.",
    )
    tags: list[str] = Field(
        default=[], description="Tags by which rounds and maps can select drops."
    )


@dg.op(
    description="Write the drop's record and add its partition key. This can be repeated safely."
)
def register_named_drop(
    context: dg.OpExecutionContext,
    config: DropToRegister,
    storage: StorageResource,
    inbox: InboxResource,
) -> None:
    """Register one drop, exactly as ``dino-assets drops register`` does."""
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
    context.log.info(f"{drop.name}: {verb}, its photographs are at {drop.source}")
    if warning := warn_of_duplicates(store, drop):
        context.log.warning(f"{drop.name}: {warning}")


@dg.job(
    description=(
        "Registers a drop: enter its name and its source in the launchpad. After the run, the drop is a "
        "partition that can be materialised."
    )
)
def register_drop() -> None:
    """Register a drop from the UI."""
    register_named_drop()


ingest = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets(*assets_of_job("ingest")),
    description="Makes images, tiles and embeddings of a drop, from its photographs.",
)
curate = dg.define_asset_job(
    "curate",
    selection=dg.AssetSelection.assets(*assets_of_job("curate")),
    description="Makes the map and chooses a round of tiles, from all embeddings so far.",
)
lineage = dg.define_asset_job(
    "lineage",
    selection=dg.AssetSelection.assets(*LINEAGE),
    description="Makes every asset from the photographs to a round, for the drops of the run.",
)

learn = dg.define_asset_job(
    "learn",
    selection=dg.AssetSelection.assets(*assets_of_job("learn")),
    description="Merges the answers of all people into labels, and makes what is learnt from them.",
)
deploy = dg.define_asset_job(
    "deploy",
    selection=dg.AssetSelection.assets(*assets_of_job("deploy")),
    description="Exports the current weights as an ONNX file, for programs that serve the model.",
)

observe_inbox = dg.define_asset_job(
    "observe_inbox",
    selection=dg.AssetSelection.assets(INBOX)
    | dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("projections"), "map_is_current")),
    description=(
        "Lists every drop's files without reading them. If the files of a drop changed, its images become "
        "stale. Then checks whether new photographs have come lately, and whether the map is older than the "
        "embeddings."
    ),
)

ALL_JOBS: list[Any] = [register_drop, observe_inbox, ingest, curate, lineage, learn, deploy]
