"""``inbox``: where the lineage begins; observed, never made."""

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
        "Where each drop's photographs come from: a folder, a list or a bucket prefix. Observing lists "
        "every drop's files without reading them; a drop whose listing changed makes its images stale."
    ),
)
@tried_again
def inbox(context: dg.OpExecutionContext, storage: StorageResource) -> dg.DataVersionsByPartition:
    """List the source of every drop; one that cannot be listed is named in the log, and keeps its state."""
    store, root = storage.open(), find_root()
    keys = set(context.instance.get_dynamic_partitions("drops"))
    if context.has_partition_key or context.has_partition_key_range:
        keys &= set(context.partition_keys)
    for name, drop in find_drops(store).items():
        if name not in keys or not isinstance(drop, Drop) or drop.is_retired:
            continue
        try:
            look = observe_drop(context.instance, store, drop, root=root, write=context.log_event)
        except (SourceError, StoreError, ConfigError) as err:
            context.log.warning(f"{name}: not observed: {err}")
            continue
        context.log.info(
            f"{name}: {look.files} files, {look.photos} photographs, {look.bytes:,} bytes"
        )
    # Written above, each with what was counted; Dagster's own would have versions alone.
    return dg.DataVersionsByPartition({})
