"""The source asset ``inbox``: the folders, lists and bucket prefixes that drops come from."""

import dagster as dg

from dino_assets.defs.observations import INBOX, observe_drop
from dino_assets.defs.partitions import drops
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.defs.retrying import tried_again
from dino_assets.drops.records import Drop
from dino_assets.drops.registry import find_drops
from dino_assets.errors import ConfigError, SourceError, StoreError
from dino_assets.settings.environment import find_root
from dino_assets.store.commits.catalogue import job_of


@dg.observable_source_asset(
    key=INBOX,
    group_name=job_of("images"),
    partitions_def=drops,
    description=(
        "Where each drop's photographs come from: a folder, a list or a bucket prefix. An observation lists "
        "the files of every drop without reading them. If a drop's listing has changed, its images become "
        "stale."
    ),
)
@tried_again
def inbox(context: dg.OpExecutionContext, storage: StorageResource) -> dg.DataVersionsByPartition:
    """List the files in every drop's source, and record the listing as an observation.

    A drop whose source cannot be listed keeps its last observation, and the log names the drop.
    """
    store, root = storage.open(), find_root()
    keys = set(context.instance.get_dynamic_partitions("drops"))
    if context.has_partition_key or context.has_partition_key_range:
        keys &= set(context.partition_keys)
    for name, drop in find_drops(store).items():
        if name not in keys or not isinstance(drop, Drop) or drop.is_retired:
            continue
        try:
            state = observe_drop(context.instance, store, drop, root=root, write=context.log_event)
        except (SourceError, StoreError, ConfigError) as err:
            context.log.warning(f"{name}: not observed: {err}")
            continue
        context.log.info(
            f"{name}: {state.files} files, {state.photos} photographs, {state.bytes:,} bytes"
        )
    # The observations are written above, with counts. Dagster would write the versions only.
    return dg.DataVersionsByPartition({})
