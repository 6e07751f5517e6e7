"""The partition set ``drops``: one partition per drop."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import takewhile
from typing import TYPE_CHECKING

import dagster as dg

from dino_assets.defs.beta_features import accept_beta_features
from dino_assets.defs.dagster_internals.events import (
    BLOCKS,
    list_assets_of_run,
    list_evaluations,
    without_own_events,
)
from dino_assets.errors import DropBlockedError
from dino_assets.store.commits.catalogue import PER_DROP
from dino_assets.store.commits.protocol import Draft

if TYPE_CHECKING:
    from dino_assets.store.commits.by_drop import DropDrafts

# Every module that declares assets or checks imports this module first.
accept_beta_features()

# `--partition-range` refuses a selection unless each of its assets, partitioned or not, has this policy.
SINGLE_RUN = dg.BackfillPolicy.single_run()

drops = dg.DynamicPartitionsDefinition(name="drops")

# The UI and SQLite are slow with long lists in one call.
_CHUNK = 500


def add_drop_keys(instance: dg.DagsterInstance, names: Iterable[str]) -> list[str]:
    """Add drops as partition keys; return those that were new."""
    new = sorted(set(names).difference(instance.get_dynamic_partitions("drops")))
    for start in range(0, len(new), _CHUNK):
        instance.add_dynamic_partitions("drops", new[start : start + _CHUNK])
    return new


def remove_drop_key(instance: dg.DagsterInstance, name: str) -> bool:
    """Remove a drop's partition key, but not its history; return whether there was one."""
    if not instance.has_dynamic_partition("drops", name):
        return False
    instance.delete_dynamic_partition("drops", name)
    return True


def drops_of_run(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
) -> Sequence[str] | None:
    """List the drops of a run, sorted; None for a run without partitions."""
    op_context = context.op_execution_context
    if op_context.has_partition_key or op_context.has_partition_key_range:
        return sorted(op_context.partition_keys)
    return None


def drop_by_drop(
    context: dg.AssetExecutionContext,
    make: Callable[[str], Draft],
    *,
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> "dg.Output[DropDrafts]":
    """Make the return value of a partitioned asset: one draft per drop of the run.

    The IO manager makes and commits the drafts one by one, and materialises each drop with the hash of its
    content. A drop that a blocking check stopped is refused; the other drops are made. All drafts are made
    within the context ``around``.
    """
    # Imported here: commands that add a key would otherwise load Arrow.
    from dino_assets.store.commits.by_drop import DropDrafts

    blocked = find_blocked(context, context.asset_key)

    def make_unless_blocked(drop: str) -> Draft:
        if drop in blocked:
            raise DropBlockedError(
                f"drop {drop!r} was stopped by the check {blocked[drop]}. Read the check's result, "
                "correct the drop's files, and materialise the drop again.",
                drop=drop,
                reason=blocked[drop],
            )
        return make(drop)

    drafts = DropDrafts(drops_of_run(context) or (), make_unless_blocked, around=around)
    return without_own_events(drafts)


def has_more_to_come(context: dg.OutputContext | dg.AssetCheckExecutionContext, asset: str) -> bool:
    """Check whether a run makes another partitioned asset after this one."""
    names = [made.name for made in PER_DROP]
    after = names[names.index(asset) + 1 :] if asset in names else []
    return not list_assets_of_run(context).isdisjoint(after)


def find_blocked(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, asset: dg.AssetKey
) -> dict[str, str]:
    """Find the drops of this run that a check of an earlier asset stopped, each with the first such check."""
    name = asset.to_user_string()
    earlier = list(takewhile(lambda each: each != name, [made.name for made in PER_DROP]))
    latest = {(e.check_name, e.partition): e for e in list_evaluations(context, earlier)}
    blocked: dict[str, str] = {}
    for (check, drop), evaluation in latest.items():
        if drop and BLOCKS in evaluation.metadata:
            blocked.setdefault(str(drop), check)
    return blocked
