"""Dagster sensors: for new drops in the inbox, a new map after new embeddings, alerts for failed runs."""

import time
from collections.abc import Callable
from itertools import takewhile

import dagster as dg

from dino_assets.defs.alerts import report_failures
from dino_assets.defs.dead_runs import IN_FLIGHT, is_retry_undecided
from dino_assets.defs.execution import find_verdict
from dino_assets.defs.jobs import ingest
from dino_assets.defs.observations import record_observation
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

# Tags to find and count the runs for the same content of a drop; Dagster copies the tags to its retries.
CONTENT_TAG = "dino_assets/content"
ATTEMPT_TAG = "dino_assets/attempt"

OVER = (
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
)
# The daemon retries a crashed run within seconds. If daemon and run were killed together, the run stays
# "waiting to retry" without ever being retried; it must not block its drop.
RETRY_PATIENCE_S = 120.0
# Far more than the attempts of the sensor; runs that people launched for the drop count too.
MAX_PAST_RUNS = 200
# The UI and SQLite are slow with long lists in one call.
MAX_NEW_KEYS = 500

# With these, finished drops are not read again every 30 s. They only save time, and end with the process.
_REMEMBERED: Remembered = {}
_LATE_WATCH = LateWatch()


class InstanceRuns:
    """The runs in a Dagster instance, as the survey of the inbox needs them."""

    def __init__(self, instance: dg.DagsterInstance, *, clock: Callable[[], float]) -> None:
        self._instance = instance
        self._clock = clock
        self.in_flight = find_in_flight(instance)

    def past(self, drop: str, content: str) -> PastRuns:
        """Sum up the runs for a drop with these files, of any job and from any launcher.

        ``content`` is the hash that stands for the files. All runs are read at once: between two queries,
        Dagster may retry a crashed run, and then neither query shows that the drop has a run.

        Only a run that started counts as an attempt. A failed launch says nothing about the drop: the code
        server did not answer, or the run's process died at once.
        """
        filters = dg.RunsFilter(tags={PARTITION_TAG: drop})
        records = self._instance.get_run_records(filters, limit=MAX_PAST_RUNS)
        now_s = self._clock()
        over = [r for r in records if r.dagster_run.status in OVER]
        of_content = [r for r in over if r.dagster_run.tags.get(CONTENT_TAG) == content]
        runs = [record.dagster_run for record in of_content]
        started = [r.dagster_run.run_id for r in of_content if r.start_time is not None]
        unstarted = list(takewhile(lambda record: record.start_time is None, of_content))
        return PastRuns(
            ended=len(started),
            unstarted=len(unstarted),
            unstarted_s=(unstarted[0].end_time or 0.0) if unstarted else 0.0,
            last=started[0] if started else "",
            cancelled=next(
                (run.run_id for run in runs if run.status == dg.DagsterRunStatus.CANCELED), ""
            ),
            blocked=find_verdict(self._instance, started[0], drop=drop) if started else "",
            is_running=any(r.dagster_run.status in IN_FLIGHT for r in records),
            is_retrying=any(
                self._may_be_retried(r.dagster_run, ended_s_ago=now_s - (r.end_time or 0.0))
                for r in over
            ),
            keys=frozenset(run.tags.get("dagster/run_key", "") for run in runs),
        )

    def _may_be_retried(self, run: dg.DagsterRun, *, ended_s_ago: float) -> bool:
        """Check whether Dagster is about to retry a run that has ended, or has not decided yet."""
        if run.status != dg.DagsterRunStatus.FAILURE:
            return False
        is_waiting = run.is_complete_and_waiting_to_retry and ended_s_ago < RETRY_PATIENCE_S
        return is_waiting or is_retry_undecided(self._instance, run, failed_s_ago=ended_s_ago)


def find_in_flight(instance: dg.DagsterInstance) -> frozenset[str]:
    """Find the drops of queued, starting and running runs, also of backfills over a range."""
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
    """Run one tick: survey the inbox, request partition keys and runs, and record files that came late.

    Raises:
        StoreError: the store, or the bucket that is the inbox, cannot be reached.
    """
    # Read the runs before the survey lists manifests; the docstring of `survey_inbox` says why.
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
            skip_reason=f"{err} No drop was looked at. DINO_INBOX sets the inbox.",
            cursor=memory.dump(),
        )
    context.log.info(survey.describe())
    observations: list[dg.AssetObservation] = []
    for late in survey.late:
        if late.is_settled:  # then the UI shows its images as stale, and `drops list` as old
            record_observation(
                context.instance, store, late.drop, late.state, write=observations.append
            )
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
        asset_events=observations,
    )


def _new_keys(instance: dg.DagsterInstance, survey: Survey) -> list[dg.AddDynamicPartitionsRequest]:
    """Request partition keys for launched drops, and for finished drops that a new instance lacks."""
    wanted = {launch.drop for launch in survey.launches} | survey.finished
    new = sorted(wanted.difference(instance.get_dynamic_partitions("drops")))
    new.sort(key=lambda name: name in survey.finished)
    return [drops.build_add_request(new[:MAX_NEW_KEYS])] if new else []


@dg.sensor(
    job=ingest,
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=30,
    description=(
        "Starts the job ingest once for every drop that arrives in the inbox. A drop is a folder with "
        "photographs that has a file _SUCCESS, or that has not changed for 60 s. Single files, hidden "
        "folders and links are ignored. A failed run is repeated, up to 3 runs for the same files. A run "
        "is not repeated if it was cancelled, or if a check found the files unfit. A drop with committed "
        "images, tiles and embeddings is not run again. If files arrive later, the tick lists them, and "
        "`dino-assets drops register NAME` includes them."
    ),
)
def new_drops(
    context: dg.SensorEvaluationContext, storage: StorageResource, inbox: InboxResource
) -> dg.SensorResult:
    """Look for new drops in the inbox, and request a run for each."""
    return look_for_drops(context, storage.open_briefly(), inbox, clock=time.time)


new_map = dg.AutomationConditionSensorDefinition(
    "new_map",
    target=dg.AssetSelection.assets("projections"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description=(
        "Makes a new map when there are new embeddings and no run of a drop is in progress: one map for "
        "drops that arrive together. If a map of the same drops exists, it is reused. This sensor never "
        "changes rounds."
    ),
)


@dg.sensor(
    # Dagster's own run failure sensor goes on to the next run even if an alert could not be posted.
    name="failed_runs",
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=30,
    description=(
        "Posts an alert for every run that fails from now on, to the address in DINO_FAILURE_WEBHOOK. The "
        "alert is JSON: job, run_id, drop, sentence, url. If the receiver is down or refuses, the alert is "
        "sent again for a day, first every tick, later every 15 minutes. The tick's message reports waiting "
        "alerts."
    ),
)
def failed_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Post alerts for runs that failed since the last tick, and waiting alerts."""
    settings = load_settings()
    return dg.SkipReason(report_failures(context, url=settings.failure_webhook, ui=settings.ui_url))


ALL_SENSORS = [new_drops, new_map, failed_runs]
