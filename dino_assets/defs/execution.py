"""Execution of named jobs in this process; the runs are recorded in the instance that the UI shows."""

import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

import dagster as dg

from dino_assets.defs.dagster_internals.launching import (
    MAX_RETRIES_TAG,
    REPOSITORY_LABEL_TAG,
    given_origin,
    shield_log_copies,
)
from dino_assets.defs.failures import Failure, advise, explain_error, explain_verdict
from dino_assets.defs.plans import PlannedRun
from dino_assets.defs.run_process import PROCESS_TAG, describe_self
from dino_assets.defs.run_tags import make_tags
from dino_assets.settings.environment import find_root

# The label by which the UI lists a job's runs: the repository of all `Definitions`, at the location that
# workspace.yaml names.
REPOSITORY = "__repository__@dino_assets"
# Dagster's own log can be read in the UI. The terminal shows `cli.run.lines` instead.
SILENT = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

Listen = Callable[[dg.EventLogEntry], None]


@dataclass(frozen=True)
class RunEnd:
    """The end of a run: status, failures, and the assets that it made or reused."""

    run_id: str
    status: Literal["done", "failed", "canceled"]
    started_at: float
    failures: tuple[Failure, ...] = ()
    materialised: tuple[dg.AssetMaterialization, ...] = ()

    def list_assets(self) -> list[str]:
        """List the names of the assets that the run made or reused."""
        return [event.asset_key.to_user_string() for event in self.materialised]


@dataclass
class _Record:
    """Failures and materialisations from a run's events; they are known even if the run returns no result."""

    failures: list[Failure] = field(default_factory=list)
    blocked: list[Failure] = field(default_factory=list)
    materialised: list[dg.AssetMaterialization] = field(default_factory=list)

    def add(self, event: dg.DagsterEvent, *, drop: str | None) -> None:
        kind = event.event_type
        if kind == dg.DagsterEventType.ASSET_MATERIALIZATION:
            self.materialised.append(event.step_materialization_data.materialization)
        elif kind == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            is_error = evaluation.severity == dg.AssetCheckSeverity.ERROR
            if not evaluation.passed and evaluation.blocking and is_error:
                self.blocked.append(Failure(evaluation.check_name, str(evaluation.description)))
        elif kind == dg.DagsterEventType.STEP_FAILURE:
            self._add_failure(str(event.step_key), event.step_failure_data.error, drop)
        elif kind == dg.DagsterEventType.RUN_FAILURE and not (self.failures or self.blocked):
            # The run failed outside of its steps; otherwise this event repeats a step's error.
            data: Any = event.event_specific_data
            if data and data.error:
                self._add_failure("", data.error, drop)
            else:  # another process ended the run; the message has the reason
                self.failures.append(Failure("", str(event.message)))

    def _add_failure(self, step: str, error: Any, drop: str | None) -> None:
        # The failure of a blocking check is in `blocked` already, with the check's own sentence.
        if error is None or "DagsterAssetCheckFailedError" not in error.message:
            traceback = error.to_string() if error else ""
            self.failures.append(Failure(step, explain_error(error, drop=drop), traceback))


def execute_run(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    planned: PlannedRun,
    *,
    config: Mapping[str, Any],
    listen: Listen,
    run_id: str | None = None,
) -> RunEnd:
    """Execute one run, and call ``listen`` with each log entry; an error in the run is returned, not raised.

    Ctrl-C and SIGTERM cancel the run, as the button in the UI does. Finished work is kept.
    """
    run_id, record, started_at = run_id or str(uuid4()), _Record(), time.time()

    def watch(entry: dg.EventLogEntry) -> None:
        if event := entry.dagster_event:
            if is_interruption(event) and (run := instance.get_run_by_id(run_id)):
                # Otherwise Dagster records an interrupted run as failed.
                instance.report_run_canceling(run, "Interrupted at the terminal.")
            record.add(event, drop=planned.drop)
        listen(entry)

    shield_log_copies()
    process = describe_self(run_id)
    instance.add_event_listener(run_id, watch)
    status: Literal["done", "failed", "canceled"]
    try:
        with given_origin(instance, job=planned.job, folder=find_root()):
            result = definitions.resolve_job_def(planned.job).execute_in_process(
                run_config={**SILENT, **config},
                instance=instance,
                partition_key=planned.drop,
                run_id=run_id,
                raise_on_error=False,
                asset_selection=(
                    None if planned.is_whole_job else [dg.AssetKey(name) for name in planned.assets]
                ),
                tags={
                    REPOSITORY_LABEL_TAG: REPOSITORY,
                    **make_tags(planned.drop, config),
                    # The daemon must not retry a run of a terminal: the person there decides.
                    MAX_RETRIES_TAG: "0",
                    **({PROCESS_TAG: process.dump()} if process else {}),
                },
            )
        status = "done" if result.success else "failed"
        if result.dagster_run.status == dg.DagsterRunStatus.CANCELED:
            status = "canceled"
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        status = "canceled"
        _end(instance, run_id, lambda run: instance.report_run_canceled(run))
    except Exception as err:  # noqa: BLE001 - an error in Dagster itself, such as a full disk
        status = "failed"
        sentence = advise(type(err).__name__, str(err))
        record.failures.append(Failure("", sentence, _format(err)))
        _end(instance, run_id, lambda run: instance.report_run_failed(run, sentence))
    failures = (*record.failures, *record.blocked) if status == "failed" else ()
    return RunEnd(run_id, status, started_at, failures, tuple(record.materialised))


def find_failures(
    instance: dg.DagsterInstance, run_id: str, *, drop: str | None
) -> tuple[Failure, ...]:
    """Find in a run's log why the run failed; another process may have executed it."""
    record = _Record()
    kinds = {
        dg.DagsterEventType.ASSET_CHECK_EVALUATION,
        dg.DagsterEventType.STEP_FAILURE,
        dg.DagsterEventType.RUN_FAILURE,
    }
    for entry in instance.all_logs(run_id, kinds):
        if entry.dagster_event:
            record.add(entry.dagster_event, drop=drop)
    return (*record.failures, *record.blocked)


def find_verdict(instance: dg.DagsterInstance, run_id: str, *, drop: str) -> str:
    """Find why a drop's files are unfit, in the log of a run; empty if the log has no such verdict.

    With such a verdict, a new run would fail in the same way. The verdict is from a blocking check. If that
    check was not part of the run, it is from the step that tests the same condition.
    """
    record, verdicts = _Record(), list[str]()
    kinds = {dg.DagsterEventType.ASSET_CHECK_EVALUATION, dg.DagsterEventType.STEP_FAILURE}
    for entry in instance.all_logs(run_id, kinds):
        event = entry.get_dagster_event()
        if event.event_type == dg.DagsterEventType.STEP_FAILURE:
            verdicts.append(explain_verdict(event.step_failure_data.error, drop=drop))
        else:
            record.add(event, drop=drop)
    verdicts[:0] = [failure.sentence for failure in record.blocked]
    return next(filter(None, verdicts), "").removeprefix(f"{drop}: ")


def is_interruption(event: dg.DagsterEvent) -> bool:
    """Check whether a step failed because the run was interrupted."""
    if event.event_type != dg.DagsterEventType.STEP_FAILURE:
        return False
    error = event.step_failure_data.error
    while error and error.cause:
        error = error.cause
    return bool(error and error.cls_name == dg.DagsterExecutionInterruptedError.__name__)


def _end(
    instance: dg.DagsterInstance, run_id: str, report: Callable[[dg.DagsterRun], object]
) -> None:
    """Record that a run has ended. If that fails, as on a full disk, the run stays shown as in progress."""
    with suppress(Exception):
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            report(run)


def _format(err: BaseException) -> str:
    return "".join(traceback.format_exception(err))
