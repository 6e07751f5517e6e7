"""All that is private in Dagster and used here, in one place; a test names the version it was seen with.

Dagster gives every partition of a run one data version, where a run over three drops made three
different things. So the events of a partitioned asset are made here: each drop's own version, with the
tags that Dagster's own events have, by which the UI tells what is stale.
"""

import re
import subprocess
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
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
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.execution import api, compute_logs, execute_in_process
from dagster._core.execution.plan.execute_step import (
    _build_data_version_tags,
    _get_code_version,
    _get_input_provenance_data,
    _InputProvenanceData,
)
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster._core.storage.tags import BACKFILL_ID_TAG, MAX_RETRIES_TAG, REPOSITORY_LABEL_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

SEEN_WITH = "1.13"
LOCATION = "dino_assets"  # as workspace.yaml and pyproject.toml call it
BLOCKS = "blocks"  # what a failed evaluation keeps from being made, where it does not end the run

_EVENTS_LOOKED_THROUGH = 25

# What a code server's process of a run writes first: it can open the instance, and has loaded nothing yet.
_WORKER = re.compile(r"Started process for run \(pid: (\d+)\)\.")
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

T = TypeVar("T")

__all__ = [
    "DATA_VERSION_IS_USER_PROVIDED_TAG",
    "DATA_VERSION_TAG",
    "MAX_RETRIES_TAG",
    "REPOSITORY_LABEL_TAG",
    "CheckRunHealthResult",
    "DefaultRunLauncher",
    "LaunchRunContext",
    "QueuedRunCoordinator",
    "WorkerStatus",
]


@contextmanager
def given_origin(instance: dg.DagsterInstance, *, job: str, folder: Path) -> Iterator[None]:
    """Give runs that are made in the block the origin that those of the UI have.

    By it the UI has them in its timeline and executes them again. A run in this process has none else.
    """
    target = LoadableTargetOrigin(module_name=LOCATION, working_directory=str(folder))
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, LOCATION)
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME), job)
    vars(instance)["create_run_for_job"] = partial(
        instance.create_run_for_job, remote_job_origin=origin
    )
    try:
        yield
    finally:
        del vars(instance)["create_run_for_job"]


def call_before_runs(hook: Callable[[dg.DagsterInstance, dg.DagsterRun], None]) -> None:
    """Call a function for every run that this process executes, before its start is recorded.

    Dagster's own hooks, resources and executors all come after that event.
    """
    for module in (api, execute_in_process):
        iterate = _find_original(vars(module)["job_execution_iterator"])

        @wraps(iterate)
        def iterate_with_hook(
            job_context: Any, execution_plan: Any, *, iterate: Any = iterate
        ) -> Iterator[Any]:
            hook(job_context.instance, job_context.dagster_run)
            yield from iterate(job_context, execution_plan)

        vars(module)["job_execution_iterator"] = iterate_with_hook


def ask_in_monitoring(has_ended: Callable[[dg.DagsterInstance, dg.DagsterRun], bool]) -> None:
    """Let run monitoring ask about runs that have not started or are being cancelled.

    Of these it asks no launcher and waits for its timeouts alone, minutes each.
    """
    monitoring = import_module("dagster._daemon.monitoring.run_monitoring")
    for name in ("monitor_starting_run", "monitor_canceling_run"):
        wait = _find_original(vars(monitoring)[name])

        @wraps(wait)
        def ask(instance: Any, record: Any, logger: Any, *, wait: Any = wait) -> None:
            if not has_ended(instance, record.dagster_run):
                wait(instance, record, logger)

        vars(monitoring)[name] = ask


def _find_original(function: Any) -> Any:
    return getattr(function, "__wrapped__", function)


@dataclass(frozen=True)
class LaunchState:
    """The last step towards a run's start, since when, and the number of its process once it has one."""

    step: str
    since_s: float
    pid: int | None = None


def find_launch(instance: dg.DagsterInstance, run_id: str) -> LaunchState:
    """Find in a run's log how far its launch has come; it may have been put back into the queue before."""
    (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[run_id]))
    launch = LaunchState("made", record.create_timestamp.timestamp())
    kinds = {dg.DagsterEventType.RUN_STARTING, dg.DagsterEventType.ENGINE_EVENT}
    for entry in instance.all_logs(run_id, kinds):
        if entry.get_dagster_event().event_type == dg.DagsterEventType.RUN_STARTING:
            launch = LaunchState("launched", entry.timestamp)
        elif match := _WORKER.fullmatch(entry.message):
            launch = LaunchState("launched", launch.since_s, int(match[1]))
    return launch


def find_code_server(context: LaunchRunContext) -> list[tuple[str, str]]:
    """Find the options that a run's code server was started with if it is on this machine."""
    origin = context.dagster_run.remote_job_origin
    if context.workspace is None or origin is None:
        return []
    location = context.workspace.get_code_location(origin.location_name)
    client = getattr(location, "client", None)
    if client is None:
        return []
    if client.socket:
        return [("--socket", str(client.socket))]
    is_local = client.host in _LOCAL_HOSTS
    return [(name, str(client.port)) for name in ("--port", "-p")] if is_local else []


def shield_log_copies() -> None:
    """Keep Ctrl-C from the processes that copy a step's output; they are ended with the step.

    A terminal interrupts all of its processes, and theirs would each print a traceback.
    """
    shielded = SimpleNamespace(Popen=partial(subprocess.Popen, start_new_session=True))
    vars(compute_logs)["subprocess"] = shielded  # it uses nothing else of the module


def without_own_events(value: T) -> dg.Output[T]:
    """Wrap what an asset returns, so that Dagster leaves the materialisations to the IO manager."""
    return dg.Output(value, metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True})


def has_own_events(context: dg.OutputContext) -> bool:
    """Tell whether Dagster will write materialisations for an output itself."""
    return SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION not in (context.output_metadata or {})


def set_data_version(context: dg.OutputContext, version: str) -> None:
    """Give the one materialisation of an output its data version."""
    context.step_context.set_data_version(context.asset_key, dg.DataVersion(version))


def find_materialisation(
    context: dg.OutputContext,
    partition: str | None,
    version: str,
    is_wanted: Callable[[Mapping[str, Any]], bool],
) -> tuple[str, dict[str, dg.MetadataValue]] | None:
    """Find the last event that made a content, or reused it: its run and its metadata.

    A few events are looked through, the last ones first: other spaces and rounds may lie between.
    """
    wanted = dg.AssetRecordsFilter(
        context.asset_key, asset_partitions=None if partition is None else [partition]
    )
    for record in context.step_context.instance.fetch_materializations(
        wanted, limit=_EVENTS_LOOKED_THROUGH
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
    """Make the event of one partition, as Dagster does for a whole run.

    ``read`` are the observations that it was made from, where these came during the step: Dagster looks
    at inputs before it begins.
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
    """Record the event of an output without partitions that was made in no run.

    Its inputs are the last events of what the asset depends on, as they would be of a run that begins
    now. Without them Dagster goes by times, and calls stale what has an input that was never made.
    """
    spec = next(iter(asset.specs))
    provenance: dict[dg.AssetKey, _InputProvenanceData] = {}
    for dependency in spec.deps:
        record = instance.get_latest_data_version_record(dependency.asset_key)
        entry = record.event_log_entry if record else None
        seen = extract_data_version_from_entry(entry) if entry else None
        provenance[dependency.asset_key] = {
            "data_version": seen or DEFAULT_DATA_VERSION,
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
    """Make the evaluation of one partition, which Dagster only does in a run of one.

    A blocking check ends the run of one partition. In a run of several it would end all of them, so
    there the evaluation only says that it blocks.
    """
    (spec,) = context.check_specs
    is_blocking = bool(spec.blocking and not result.passed)
    is_blocking &= result.severity == dg.AssetCheckSeverity.ERROR
    block = {BLOCKS: "all that this run would make of it"} if is_blocking and not is_alone else {}
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
    """The materialisation that a check judges: the partition's last one."""
    wanted = dg.AssetRecordsFilter(asset, asset_partitions=[partition])
    records = context.instance.fetch_materializations(wanted, limit=1).records
    if not records:
        return None
    (record,) = records
    return AssetCheckEvaluationTargetMaterializationData(
        run_id=record.run_id, storage_id=record.storage_id, timestamp=record.timestamp
    )


def end_check(context: dg.AssetCheckExecutionContext) -> dg.Output[None]:
    """Let what waits for a check go on, once all its evaluations are yielded."""
    (output,) = context.op_execution_context.op_def.output_defs
    return dg.Output(None, output_name=output.name)


def list_evaluations(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, assets: Collection[str]
) -> Iterator[dg.AssetCheckEvaluation]:
    """Evaluations of some assets in this run, after those of the runs that it goes on with."""
    instance, runs = context.instance, [context.run]
    while (parent := runs[0].parent_run_id) and (before := instance.get_run_by_id(parent)):
        runs.insert(0, before)
    for run in runs:
        for entry in instance.all_logs(run.run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION):
            evaluation = entry.get_dagster_event().asset_check_evaluation_data
            if evaluation.asset_key.to_user_string() in assets:
                yield evaluation


def list_assets_of_run(
    context: dg.OutputContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
) -> set[str]:
    """Name the assets that a run makes."""
    keys = _find_job(context).asset_layer.selected_asset_keys
    return {key.to_user_string() for key in keys}


def list_checks_of_run(context: dg.OutputContext) -> set[str]:
    """Name the blocking checks of an output's asset that its run evaluates once it is made."""
    nodes = _find_job(context).asset_layer.data
    specs = [spec for node in nodes for spec in node.assets_def.check_specs]
    return {spec.name for spec in specs if spec.asset_key == context.asset_key and spec.blocking}


def _find_job(
    context: dg.OutputContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
) -> Any:
    if isinstance(context, dg.OutputContext):
        return context.step_context.job_def
    return context.op_execution_context.job_def


def run_dev(arguments: Sequence[str], *, web_server: str) -> None:
    """Run ``dagster dev`` with a module of ours as its web server.

    Dagster names its own in the command that it starts; nothing else of it is changed.
    """
    dev: Any = import_module("dagster._cli.dev")

    start = dev.open_ipc_subprocess

    def start_ours(command: list[str], **options: Any) -> Any:
        ours = [web_server if each == "dagster_webserver" else each for each in command]
        return start(ours, **options)

    dev.open_ipc_subprocess = start_ours
    # It says that `dg dev` is the newer name; a person who opens the UI cannot do anything about it.
    warnings.simplefilter("ignore", dg.SupersessionWarning)
    dev.dev_command.main(list(arguments), prog_name="dagster dev")


def run_web_server(arguments: Sequence[str], routes: Sequence[Any]) -> None:
    """Run Dagster's web server with some routes before its own."""
    cli: Any = import_module("dagster_webserver.cli")

    make_app = cli.create_app_from_workspace_process_context

    def make_ours(*given: Any, **options: Any) -> Any:
        app = make_app(*given, **options)
        app.router.routes[:0] = routes
        return app

    cli.create_app_from_workspace_process_context = make_ours
    cli.dagster_webserver.main(
        list(arguments), prog_name="dagster-webserver", auto_envvar_prefix="DAGSTER_WEBSERVER"
    )
