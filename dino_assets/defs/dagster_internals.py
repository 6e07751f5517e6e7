"""All that is private in Dagster and used here, in one place; a test names the version it was seen with.

Dagster gives every partition of a run one data version, where a run over three drops made three
different things. So the events of a partitioned asset are made here: each drop's own version, with the
tags that Dagster's own events have, by which the UI tells what is stale.
"""

from typing import TypeVar

import dagster as dg
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.execution.plan.execute_step import (
    _build_data_version_tags,
    _get_code_version,
    _get_input_provenance_data,
)
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.storage.tags import BACKFILL_ID_TAG

SEEN_WITH = "1.13"

T = TypeVar("T")

__all__ = ["CheckRunHealthResult", "DefaultRunLauncher", "WorkerStatus"]


def without_own_events(value: T) -> dg.Output[T]:
    """Wrap what an asset returns, so that Dagster leaves the materialisations to the IO manager."""
    return dg.Output(value, metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True})


def has_own_events(context: dg.OutputContext) -> bool:
    """Tell whether Dagster will write materialisations for an output itself."""
    return SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION not in (context.output_metadata or {})


def set_data_version(context: dg.OutputContext, version: str) -> None:
    """Give the one materialisation of an output its data version."""
    context.step_context.set_data_version(context.asset_key, dg.DataVersion(version))


def materialise_partition(
    context: dg.OutputContext,
    partition: str,
    version: str,
    metadata: dict[str, dg.MetadataValue],
) -> dg.DagsterEvent:
    """Make the event of one partition, as Dagster does for a whole run."""
    step = context.step_context
    tags = _build_data_version_tags(
        dg.DataVersion(version),
        _get_code_version(context.asset_key, step),
        _get_input_provenance_data(context.asset_key, step),
        data_version_is_user_provided=True,
    )
    if backfill := step.get_tag(BACKFILL_ID_TAG):
        tags[BACKFILL_ID_TAG] = backfill
    event = dg.AssetMaterialization(
        context.asset_key, partition=partition, metadata=metadata, tags=tags
    )
    return dg.DagsterEvent.asset_materialization(step, event)
