"""The one partition set: a key is a drop. Never an image, never a model."""

import warnings
from collections.abc import Callable, Iterable, Sequence

import dagster as dg

from dino_assets.defs.dagster_internals import without_own_events
from dino_assets.store.commits.by_drop import DropDrafts
from dino_assets.store.commits.protocol import Draft

# Every asset needs it (see SINGLE_RUN); the warning would open each command's output.
warnings.filterwarnings("ignore", message="Parameter `backfill_policy`", category=dg.BetaWarning)

# `--partition-range` refuses a selection unless each of its assets, partitioned or not, has this.
SINGLE_RUN = dg.BackfillPolicy.single_run()

drops = dg.DynamicPartitionsDefinition(name="drops")

# The UI and SQLite take long lists badly when they come in one call.
_CHUNK = 500


def add_drop_keys(instance: dg.DagsterInstance, names: Iterable[str]) -> list[str]:
    """Add drops as partition keys; returns those that were new."""
    new = sorted(set(names).difference(instance.get_dynamic_partitions("drops")))
    for start in range(0, len(new), _CHUNK):
        instance.add_dynamic_partitions("drops", new[start : start + _CHUNK])
    return new


def drops_of_run(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
) -> Sequence[str] | None:
    """The drops a run is about, sorted; None for a run without partitions."""
    op_context = context.op_execution_context
    if op_context.has_partition_key or op_context.has_partition_key_range:
        return sorted(op_context.partition_keys)
    return None


def drop_by_drop(
    context: dg.AssetExecutionContext, make: Callable[[str], Draft]
) -> dg.Output[DropDrafts]:
    """What a partitioned asset returns: a draft for each drop of the run, made in its turn.

    The IO manager commits one after the other and says so of each, with the version of its content.
    """
    return without_own_events(DropDrafts(drops_of_run(context) or (), make))
