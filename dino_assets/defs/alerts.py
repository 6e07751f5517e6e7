"""Alerts of failed runs: which are to be posted, and which wait since their receiver was down."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import dagster as dg

from dino_assets.counting import count_of
from dino_assets.defs.dagster_internals import REPOSITORY_LABEL_TAG
from dino_assets.defs.execution import REPOSITORY, find_failures
from dino_assets.defs.failures import Failure
from dino_assets.defs.run_tags import DROP_TAG, PARTITION_TAG
from dino_assets.defs.webhook import hide_all, post_json
from dino_assets.settings.environment import list_secrets

# The second try is the next tick's; from then on twice as long each time.
FIRST_WAIT_S, MAX_WAIT_S = 60.0, 900.0
# A failure that nobody could be told of for a day is seen in the UI first.
MAX_AGE_S = 86_400.0
# The daemon ends a tick after 60 s; one alert takes 9 s where nothing answers.
BUDGET_S = 20.0
MAX_NEW, MAX_WAITING = 100, 500
MAX_SHOWN = 5  # in the tick's own sentence; the log has all

WILL_RETRY_TAG = "dagster/will_retry"  # Dagster's own: set once a run has failed

Post = Callable[[str, Mapping[str, Any]], str | None]


@dataclass(frozen=True)
class Alert:
    """A failed run that is still to be posted; ``due_s`` is when it is tried next."""

    run_id: str
    failed_s: float
    tries: int = 0
    due_s: float = 0.0


@dataclass(frozen=True)
class AlertCursor:
    """The last failure that was seen, and the alerts that wait; kept as the sensor's cursor."""

    after: int
    waiting: tuple[Alert, ...] = ()

    def dump(self) -> str:
        """Give it as JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def load(cls, cursor: str | None) -> "AlertCursor | None":
        """Read it back; None where there is none. Dagster's own cursor of earlier versions counts, too."""
        try:
            values = json.loads(cursor or "")
            after = values["after"] if "after" in values else values["record_id"]
            return cls(int(after), tuple(Alert(**each) for each in values.get("waiting", ())))
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


def report_failures(
    context: dg.SensorEvaluationContext,
    *,
    url: str | None,
    ui: str,
    clock: Callable[[], float] = time.time,
    post: Post = post_json,
) -> str:
    """Post the failures since the last tick, and those that wait; gives what became of them.

    One that is not taken stays and is tried again, at longer and longer intervals and for a day, after
    those that were tried less often: it holds back no other.
    """
    progress = AlertCursor.load(context.cursor)
    if progress is None:
        context.update_cursor(AlertCursor(_find_last(context.instance)).dump())
        return "Runs that fail from now on are posted."
    after, new = _find_new(context.instance, progress.after)
    if url is None:
        context.update_cursor(replace(progress, after=after).dump())
        unsaid = f"{count_of(len(new), 'run')} failed; DINO_FAILURE_WEBHOOK is not set, nothing is posted."
        return unsaid if new else "Nothing to post."
    alerts, lines = _give_up((*progress.waiting, *new), now_s=clock())
    ends_s = clock() + BUDGET_S
    waiting: list[Alert] = []
    posted = 0
    ordered = sorted(alerts, key=lambda each: (each.tries, each.failed_s))
    # A receiver that takes what is due takes what waits, too: that comes second.
    now_s = clock()
    for alert in sorted(ordered, key=lambda each: each.due_s > now_s):
        if clock() >= ends_s or (alert.due_s > now_s and not posted):
            waiting.append(alert)
            continue
        if problem := _post(context.instance, alert, url=url, ui=ui, post=post):
            waiting.append(_put_off(alert, now_s=clock()))
            lines.append(f"{alert.run_id} failed; the webhook did not take it: {problem}")
        else:
            context.log.info(f"run {alert.run_id}: posted")
            posted += 1
    for line in lines:
        context.log.warning(line)
    context.update_cursor(AlertCursor(after, tuple(waiting)).dump())
    counts = [(posted, "posted"), (len(waiting), "waiting to be posted")]
    shown = lines[:MAX_SHOWN] + [f"{count} {what}" for count, what in counts if count]
    return f"{'. '.join(shown) or 'Nothing to post'}."


def describe_failure(instance: dg.DagsterInstance, run: dg.DagsterRun, ui: str) -> dict[str, Any]:
    """What a webhook gets of a failed run: which, why in a sentence, and where all of it is."""
    drop = run.tags.get(DROP_TAG) or run.tags.get(PARTITION_TAG)
    first, *more = find_failures(instance, run.run_id, drop=drop) or (Failure("", "It failed."),)
    sentence = f"{first.step}: {first.sentence}" if first.step else first.sentence
    return {
        "job": run.job_name,
        "run_id": run.run_id,
        "drop": drop,
        "sentence": hide_all(sentence, list_secrets())
        + (f" (and {len(more)} more)" if more else ""),
        "url": f"{ui.rstrip('/')}/runs/{run.run_id}",
    }


def _find_last(instance: dg.DagsterInstance) -> int:
    records = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1).records
    return records[0].storage_id if records else -1


def _find_new(instance: dg.DagsterInstance, after: int) -> tuple[int, list[Alert]]:
    """Failures since one, of runs that are not of another project on this instance."""
    asked = dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_storage_id=after)
    alerts = []
    for record in instance.fetch_run_status_changes(asked, MAX_NEW, ascending=True).records:
        after = max(after, record.storage_id)
        run = instance.get_run_by_id(record.run_id)
        # Of one that the daemon starts again, the last one is posted if it fails, too.
        if run is None or run.tags.get(WILL_RETRY_TAG) == "true":
            continue
        if run.tags.get(REPOSITORY_LABEL_TAG, REPOSITORY) == REPOSITORY:
            alerts.append(Alert(run.run_id, record.timestamp))
    return after, alerts


def _give_up(alerts: tuple[Alert, ...], *, now_s: float) -> tuple[list[Alert], list[str]]:
    """Leave out what is too old or too much, and say so."""
    young = [alert for alert in alerts if not alert.tries or now_s - alert.failed_s < MAX_AGE_S]
    newest = sorted(young, key=lambda alert: alert.failed_s)[-MAX_WAITING:]
    gone = [alert.run_id for alert in alerts if alert not in newest]
    return newest, [f"{run_id} failed, and is not posted any more" for run_id in gone]


def _put_off(alert: Alert, *, now_s: float) -> Alert:
    wait_s = min(MAX_WAIT_S, FIRST_WAIT_S * 2 ** (alert.tries - 1)) if alert.tries else 0.0
    return replace(alert, tries=alert.tries + 1, due_s=now_s + wait_s)


def _post(
    instance: dg.DagsterInstance, alert: Alert, *, url: str, ui: str, post: Post
) -> str | None:
    """Post one; gives why it failed. A run that was deleted since needs no alert."""
    try:
        run = instance.get_run_by_id(alert.run_id)
        return post(url, describe_failure(instance, run, ui)) if run else None
    except Exception as err:  # noqa: BLE001 - what is wrong with one must not hold back the others
        return type(err).__name__
