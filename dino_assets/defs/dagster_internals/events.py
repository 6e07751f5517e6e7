"""Events of assets and checks, one for each drop of a run.

Dagster gives all partitions of a run the same data version, although a run over three drops makes three
different outputs. So the events of a partitioned asset are made here, each drop with its own version. They
have the tags of Dagster's own events, from which the UI computes what is stale.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.data_version import (
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    extract_data_version_from_entry,
)
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.execution.plan.execute_step import (
    _build_data_version_tags,
    _get_code_version,
    _get_input_provenance_data,
    _InputProvenanceData,
)
from dagster._core.storage.tags import BACKFILL_ID_TAG

BLOCKS = "blocks"  # metadata of a failed evaluation that blocks its drop without ending the run

_MAX_EVENTS_READ = 25

T = TypeVar("T")

__all__ = ["DATA_VERSION_IS_USER_PROVIDED_TAG", "DATA_VERSION_TAG"]


def without_own_events(value: T) -> dg.Output[T]:
    """Wrap what an asset returns so that the IO manager, not Dagster, writes the materialisations."""
    return dg.Output(value, metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True})


def has_own_events(context: dg.OutputContext) -> bool:
    """Check whether Dagster itself writes the materialisations of an output."""
    return SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION not in (context.output_metadata or {})


def set_data_version(context: dg.OutputContext, version: str) -> None:
    """Set the data version of an unpartitioned output's materialisation."""
    context.step_context.set_data_version(context.asset_key, dg.DataVersion(version))


def find_materialisation(
    context: dg.OutputContext,
    partition: str | None,
    version: str,
    is_wanted: Callable[[Mapping[str, Any]], bool],
) -> tuple[str, dict[str, dg.MetadataValue]] | None:
    """Find the latest event of a data version whose metadata ``is_wanted``; return its run id and metadata.

    The latest 25 events are read, since events of other spaces and rounds may come after the wanted one.
    Return None if none of these events is wanted.
    """
    wanted = dg.AssetRecordsFilter(
        context.asset_key, asset_partitions=None if partition is None else [partition]
    )
    for record in context.step_context.instance.fetch_materializations(
        wanted, limit=_MAX_EVENTS_READ
    ).records:
        event = record.asset_materialization
        if event is None or (event.tags or {}).get(DATA_VERSION_TAG) != version:
            continue
        if is_wanted({name: value.value for name, value in event.metadata.items()}):
            return record.run_id, dict(event.metadata)
    return None


def materialise_partition(
    context: dg.OutputContext,
    partition: str,
    version: str,
    metadata: Mapping[str, Any],
    *,
    read: Mapping[dg.AssetKey, dg.EventLogRecord] | None = None,
) -> dg.DagsterEvent:
    """Make the materialisation event of one partition, as Dagster does for a whole run.

    ``read`` has the observations that the output was made from, if they were recorded during the step.
    Dagster reads the inputs' versions before the step begins and would miss them.
    """
    step = context.step_context
    provenance = dict(_get_input_provenance_data(context.asset_key, step))
    for key, record in (read or {}).items():
        provenance[key] = {
            "data_version": extract_data_version_from_entry(record.event_log_entry)
            or DEFAULT_DATA_VERSION,
            "storage_id": record.storage_id,
        }
    tags = _build_data_version_tags(
        dg.DataVersion(version),
        _get_code_version(context.asset_key, step),
        provenance,
        data_version_is_user_provided=True,
    )
    if backfill := step.get_tag(BACKFILL_ID_TAG):
        tags[BACKFILL_ID_TAG] = backfill
    event = dg.AssetMaterialization(
        context.asset_key, partition=partition, metadata=metadata, tags=tags
    )
    return dg.DagsterEvent.asset_materialization(step, event)


def report_materialisation(
    instance: dg.DagsterInstance,
    asset: dg.AssetsDefinition,
    version: str,
    metadata: Mapping[str, Any],
    *,
    description: str,
) -> None:
    """Record the materialisation of an unpartitioned output that a command made without a run.

    The inputs in the event are the latest events of the asset's dependencies, as for a run that begins now.
    If an event names no inputs, Dagster compares times. Then an output with an input that was never made
    counts as stale.
    """
    spec = next(iter(asset.specs))
    provenance: dict[dg.AssetKey, _InputProvenanceData] = {}
    for dependency in spec.deps:
        record = instance.get_latest_data_version_record(dependency.asset_key)
        entry = record.event_log_entry if record else None
        input_version = extract_data_version_from_entry(entry) if entry else None
        provenance[dependency.asset_key] = {
            "data_version": input_version or DEFAULT_DATA_VERSION,
            "storage_id": record.storage_id if record else None,
        }
    tags = _build_data_version_tags(
        dg.DataVersion(version),
        spec.code_version or version,
        provenance,
        data_version_is_user_provided=True,
    )
    instance.report_runless_asset_event(
        dg.AssetMaterialization(spec.key, description=description, metadata=metadata, tags=tags)
    )


def evaluate_partition(
    context: dg.AssetCheckExecutionContext,
    result: dg.AssetCheckResult,
    partition: str,
    *,
    is_alone: bool,
) -> dg.AssetCheckEvaluation:
    """Make the check evaluation of one partition; Dagster does so only in a run of one partition.

    A blocking check that fails ends the run if the run has only this partition (``is_alone``). In a run of
    several partitions it would stop all of them, so the metadata ``blocks`` marks the failed partition
    instead.
    """
    (spec,) = context.check_specs
    is_blocking = bool(spec.blocking and not result.passed)
    is_blocking &= result.severity == dg.AssetCheckSeverity.ERROR
    block = (
        {BLOCKS: "later assets and checks of this drop in this run"}
        if is_blocking and not is_alone
        else {}
    )
    return dg.AssetCheckEvaluation(
        asset_key=spec.asset_key,
        check_name=spec.name,
        passed=result.passed,
        metadata={**result.metadata, **block},
        target_materialization_data=_find_target(context, spec.asset_key, partition),
        severity=result.severity,
        description=result.description,
        blocking=spec.blocking and is_alone,
        partition=partition,
    )


def _find_target(
    context: dg.AssetCheckExecutionContext, asset: dg.AssetKey, partition: str
) -> AssetCheckEvaluationTargetMaterializationData | None:
    """Find the materialisation that a check judges: the latest one of the partition, or None."""
    wanted = dg.AssetRecordsFilter(asset, asset_partitions=[partition])
    records = context.instance.fetch_materializations(wanted, limit=1).records
    if not records:
        return None
    (record,) = records
    return AssetCheckEvaluationTargetMaterializationData(
        run_id=record.run_id, storage_id=record.storage_id, timestamp=record.timestamp
    )


def end_check(context: dg.AssetCheckExecutionContext) -> dg.Output[None]:
    """Make the output that lets the next steps begin; the check yields it after all of its evaluations."""
    (output,) = context.op_execution_context.op_def.output_defs
    return dg.Output(None, output_name=output.name)


def list_evaluations(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, assets: Collection[str]
) -> Iterator[dg.AssetCheckEvaluation]:
    """List check evaluations of some assets: first those of the runs that this run retries, then its own."""
    instance, runs = context.instance, [context.run]
    while (parent := runs[0].parent_run_id) and (parent_run := instance.get_run_by_id(parent)):
        runs.insert(0, parent_run)
    for run in runs:
        for entry in instance.all_logs(run.run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION):
            evaluation = entry.get_dagster_event().asset_check_evaluation_data
            if evaluation.asset_key.to_user_string() in assets:
                yield evaluation


def list_assets_of_run(
    context: dg.OutputContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
) -> set[str]:
    """List the assets that a run makes."""
    keys = _find_job(context).asset_layer.selected_asset_keys
    return {key.to_user_string() for key in keys}


def list_checks_of_run(context: dg.OutputContext) -> set[str]:
    """List the blocking checks of an output's asset that this run evaluates."""
    nodes = _find_job(context).asset_layer.data
    specs = [spec for node in nodes for spec in node.assets_def.check_specs]
    return {spec.name for spec in specs if spec.asset_key == context.asset_key and spec.blocking}


def _find_job(
    context: dg.OutputContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
) -> Any:
    if isinstance(context, dg.OutputContext):
        return context.step_context.job_def
    return context.op_execution_context.job_def
