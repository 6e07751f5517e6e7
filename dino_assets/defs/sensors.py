"""Drops that arrive by themselves: the sensor is a shell around ``drops.survey``."""

import time
from collections.abc import Callable
from itertools import takewhile

import dagster as dg

from dino_assets.defs.alerts import report_failures
from dino_assets.defs.dead_runs import IN_FLIGHT
from dino_assets.defs.execution import find_verdict
from dino_assets.defs.jobs import ingest
from dino_assets.defs.observations import record_look
from dino_assets.defs.partitions import drops
from dino_assets.defs.resources.inbox import InboxResource
from dino_assets.defs.resources.storage import StorageResource
from dino_assets.defs.run_tags import PARTITION_TAG, RANGE_TAGS, make_tags
from dino_assets.drops.arrivals import PastRuns
from dino_assets.drops.finished import Remembered
from dino_assets.drops.late import LateWatch
from dino_assets.drops.survey import Memory, Survey, survey_inbox
from dino_assets.errors import SourceError
from dino_assets.settings.environment import find_root, load_settings
from dino_assets.store.objects import ObjectStore

# What the runs of one content are found and counted by; Dagster's own retries copy them.
CONTENT_TAG = "dino_assets/content"
ATTEMPT_TAG = "dino_assets/attempt"

OVER = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]
# The daemon retries a crashed run within seconds. One that it could not retry keeps saying that it
# will, and must not hold a drop back: seen where daemon and run were killed together.
RETRY_PATIENCE_S = 120.0
# Far more than attempts are ever made; a person's runs of one drop count in.
MAX_PAST_RUNS = 200
# The UI and SQLite take long lists badly when they come in one call.
MAX_NEW_KEYS = 500

# Spares reading finished drops again every 30 s; lost with the process, and only an optimisation.
_REMEMBERED: Remembered = {}
_LATE_WATCH = LateWatch()


class InstanceRuns:
    """The runs that a Dagster instance knows of."""

    def __init__(self, instance: dg.DagsterInstance, *, clock: Callable[[], float]) -> None:
        self._instance = instance
        self._clock = clock
        self.in_flight = find_in_flight(instance)

    def past(self, drop: str, content: str) -> PastRuns:
        """What became of the runs for this content, by whatever job and whoever launched them.

        An attempt is a run that started: a launch that failed, since no code server answered or its
        process died at once, says nothing about the drop.
        """
        filters = dg.RunsFilter(tags={PARTITION_TAG: drop}, statuses=OVER)
        records = self._instance.get_run_records(filters, limit=MAX_PAST_RUNS)
        since_s = self._clock() - RETRY_PATIENCE_S
        of_content = [r for r in records if r.dagster_run.tags.get(CONTENT_TAG) == content]
        ours = [record.dagster_run for record in of_content]
        started = [r.dagster_run.run_id for r in of_content if r.start_time is not None]
        unstarted = list(takewhile(lambda record: record.start_time is None, of_content))
        return PastRuns(
            ended=len(started),
            unstarted=len(unstarted),
            unstarted_s=(unstarted[0].end_time or 0.0) if unstarted else 0.0,
            last=started[0] if started else "",
            cancelled=next(
                (run.run_id for run in ours if run.status == dg.DagsterRunStatus.CANCELED), ""
            ),
            blocked=find_verdict(self._instance, started[0], drop=drop) if started else "",
            is_retrying=any(
                r.dagster_run.is_complete_and_waiting_to_retry and (r.end_time or 0) > since_s
                for r in records
            ),
            keys=frozenset(run.tags.get("dagster/run_key", "") for run in ours),
        )


def find_in_flight(instance: dg.DagsterInstance) -> frozenset[str]:
    """The drops that a queued, starting or running run is about, backfills over a range included."""
    in_flight: set[str] = set()
    keys: list[str] = []
    for run in instance.get_runs(dg.RunsFilter(statuses=IN_FLIGHT)):
        if PARTITION_TAG in run.tags:
            in_flight.add(run.tags[PARTITION_TAG])
        first, last = (run.tags.get(tag, "") for tag in RANGE_TAGS)
        if first and last:
            keys = keys or list(instance.get_dynamic_partitions("drops"))
            in_flight |= {first, last}
            if first in keys and last in keys:
                in_flight |= set(keys[keys.index(first) : keys.index(last) + 1])
    return frozenset(in_flight)


def look_for_drops(
    context: dg.SensorEvaluationContext,
    store: ObjectStore,
    inbox: InboxResource,
    *,
    clock: Callable[[], float],
) -> dg.SensorResult:
    """One tick: survey the inbox, add partition keys, request runs, say the rest.

    Raises:
        StoreError: the store, or the bucket that is the inbox, cannot be reached.
    """
    # Before the survey lists manifests, see there.
    runs = InstanceRuns(context.instance, clock=clock)
    memory = Memory.load(context.cursor)
    try:
        survey = survey_inbox(
            store,
            inbox.url,
            root=find_root(),
            runs=runs,
            memory=memory,
            remembered=_REMEMBERED,
            late_watch=_LATE_WATCH,
            clock=clock,
        )
    except SourceError as err:
        return dg.SensorResult(
            skip_reason=f"{err} Nothing was looked at. The inbox is set by DINO_INBOX.",
            cursor=memory.dump(),
        )
    context.log.info(survey.describe())
    seen: list[dg.AssetObservation] = []
    for late in survey.late:
        if late.is_settled:  # so that the UI and `drops list` call its images old
            record_look(context.instance, store, late.drop, late.state, write=seen.append)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=launch.run_key,
                partition_key=launch.drop,
                tags={
                    CONTENT_TAG: launch.content,
                    ATTEMPT_TAG: str(launch.attempt),
                    **make_tags(launch.drop),
                },
            )
            for launch in survey.launches
        ],
        skip_reason=None if survey.launches else survey.describe(),
        dynamic_partitions_requests=_new_keys(context.instance, survey),
        cursor=survey.memory.dump(),
        asset_events=seen,
    )


def _new_keys(instance: dg.DagsterInstance, survey: Survey) -> list[dg.AddDynamicPartitionsRequest]:
    """Keys for what is launched; and for finished drops when the instance is a new one."""
    wanted = {launch.drop for launch in survey.launches} | survey.finished
    new = sorted(wanted.difference(instance.get_dynamic_partitions("drops")))
    new.sort(key=lambda name: name in survey.finished)
    return [drops.build_add_request(new[:MAX_NEW_KEYS])] if new else []


@dg.sensor(
    job=ingest,
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=30,
    description=(
        "Starts ingest once for every drop that arrives in the inbox: a folder with photographs that "
        "holds a file _SUCCESS, or that has not changed for 60 s. Files at the top, hidden folders and "
        "links are no drops. A failed run is started again, up to 3 runs for the same files; a cancelled "
        "one is not, nor one whose check says that the files are unfit, which is told once. A drop whose "
        "images, tiles and embeddings are committed is not run again: what comes to it later is named in "
        "the tick, and `dino-assets drops register NAME` takes it in."
    ),
)
def new_drops(
    context: dg.SensorEvaluationContext, storage: StorageResource, inbox: InboxResource
) -> dg.SensorResult:
    """Look at the inbox now."""
    return look_for_drops(context, storage.open_briefly(), inbox, clock=time.time)


new_map = dg.AutomationConditionSensorDefinition(
    "new_map",
    target=dg.AssetSelection.assets("projections"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description=(
        "Remakes the map once new embeddings are there and no drop is on its way any more: once for drops "
        "that arrive together. A map that is of them already is reused. Rounds are never chosen by it: one "
        "stands once it is chosen."
    ),
)


@dg.sensor(
    # Not Dagster's run failure sensor: it goes on to the next run whether or not one could be posted.
    name="failed_runs",
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=30,
    description=(
        "Posts every run that fails from now on to the address in DINO_FAILURE_WEBHOOK, as JSON: job, run_id, "
        "drop, sentence, url. While a receiver is down or refuses, alerts wait and are tried again for a "
        "day, from every tick to every 15 minutes; the tick says so."
    ),
)
def failed_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Post what failed since the last tick, and what waits."""
    settings = load_settings()
    return dg.SkipReason(report_failures(context, url=settings.failure_webhook, ui=settings.ui_url))


ALL_SENSORS = [new_drops, new_map, failed_runs]
