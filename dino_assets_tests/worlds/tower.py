"""The daemon's part of a sensor: ticks that keep their cursor, and the runs that they ask for."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime

import dagster as dg
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from dino_assets.definitions import make_definitions
from dino_assets.defs.partitions import add_drop_keys
from dino_assets.defs.sensors import look_for_drops
from dino_assets.drops.arrivals import MARKER
from dino_assets.settings.environment import load_settings
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets_tests.conftest import photo_bytes

RUN_KEY = "dagster/run_key"
STATUS = dg.DagsterRunStatus
EVENT = dg.DagsterEventType
# What the log of a run that started says, by the state in which it is.
EVENTS = {
    STATUS.STARTED: (EVENT.RUN_START,),
    STATUS.SUCCESS: (EVENT.RUN_START, EVENT.RUN_SUCCESS),
    STATUS.FAILURE: (EVENT.RUN_START, EVENT.RUN_FAILURE),
    STATUS.CANCELING: (EVENT.RUN_START, EVENT.RUN_CANCELING),
    STATUS.CANCELED: (EVENT.RUN_START, EVENT.RUN_CANCELED),
}


class Tower:
    """What the daemon does, in this process: ticks that keep their cursor, and the runs they ask for."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.settings = load_settings()
        self.root = self.settings.root
        self.store: ObjectStore = open_store(self.settings.storage)
        self.defs = make_definitions(self.settings)
        self.job = self.defs.resolve_job_def("ingest")
        self.cursor: str | None = None
        self.said = ""

    def put(self, path: str, data: bytes | None = None) -> None:
        target = self.root / "inbox" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(photo_bytes(640, 480) if data is None else data)

    def arrive(self, name: str, data: bytes | None = None) -> None:
        self.put(f"{name}/DJI_0001.JPG", data)
        self.put(f"{name}/{MARKER}", b"")

    def context(self) -> dg.SensorEvaluationContext:
        return dg.build_sensor_context(
            instance_ref=self.instance.get_ref(),  # as the code server is told
            cursor=self.cursor,
            definitions=self.defs,
            resources={name: self.defs.resources[name] for name in ("storage", "inbox")},
        )

    def tick(self) -> list[dg.RunRequest]:
        """Evaluate, as the code server does; add keys, keep the cursor, as the daemon does."""
        with self.context() as context:
            data = self.defs.resolve_sensor_def("new_drops").evaluate_tick(context)
        for request in data.dynamic_partitions_requests or []:
            add_drop_keys(self.instance, request.partition_keys)
        self.cursor, self.said = data.cursor, data.skip_message or ""
        return list(data.run_requests or [])

    def tick_at(self, now_s: float) -> dg.SensorResult:
        """Look for drops at some time."""
        inbox = self.defs.resources["inbox"]
        with self.context() as context:
            result = look_for_drops(context, self.store, inbox, clock=lambda: now_s)
        self.cursor = result.cursor
        return result

    def execute(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        return self.job.execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            tags={**request.tags, RUN_KEY: request.run_key},
            raise_on_error=False,
        )

    def run(self, status: STATUS, tags: Mapping[str, str], *, job: str = "ingest") -> dg.DagsterRun:
        """A run in some state, as another process left it."""
        target = LoadableTargetOrigin(module_name="dino_assets")
        location = InProcessCodeLocationOrigin(target, location_name="dino_assets")
        is_started = status in EVENTS
        run = self.instance.create_run_for_job(
            self.defs.resolve_job_def(job),
            status=STATUS.NOT_STARTED if is_started else status,
            tags=tags,
            remote_job_origin=RemoteJobOrigin(
                RemoteRepositoryOrigin(location, "__repository__"), job
            ),
        )
        for kind in EVENTS.get(status, ()):
            # Of a step: crashed ones are Dagster's to start again.
            failure = JobFailureData(error=None, failure_reason=RunFailureReason.STEP_FAILURE)
            data = failure if kind == EVENT.RUN_FAILURE else None
            event = dg.DagsterEvent(kind.value, run.job_name, event_specific_data=data)
            self.instance.report_dagster_event(event, run_id=run.run_id)
        return self.instance.get_run_by_id(run.run_id)

    def run_of(self, request: dg.RunRequest, status: STATUS) -> dg.DagsterRun:
        """What the daemon makes of a request, in some state."""
        return self.run(status, {**request.tags, RUN_KEY: str(request.run_key)})


def fail_undecided(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Record that a run failed, but not whether Dagster will retry it: Dagster records that a moment later."""
    failure = dg.DagsterEvent(
        EVENT.RUN_FAILURE.value,
        run.job_name,
        event_specific_data=JobFailureData(None, RunFailureReason.UNKNOWN),
    )
    entry = dg.EventLogEntry(
        error_info=None,
        level="error",
        user_message="",
        run_id=run.run_id,
        timestamp=time.time(),
        job_name=run.job_name,
        dagster_event=failure,
    )
    instance.event_log_storage.store_event(entry)
    instance.run_storage.handle_run_event(run.run_id, failure, datetime.now(UTC))


def names(requests: list[dg.RunRequest]) -> list[str | None]:
    return [request.partition_key for request in requests]
