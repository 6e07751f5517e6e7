"""Webhook alerts for failed runs, sent again if the receiver was down."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import dagster as dg

from dino_assets.counting import count_of
from dino_assets.defs.dagster_internals.launching import REPOSITORY_LABEL_TAG
from dino_assets.defs.dead_runs import WILL_RETRY_TAG, is_retry_undecided
from dino_assets.defs.execution import REPOSITORY, find_failures
from dino_assets.defs.failures import Failure
from dino_assets.defs.run_tags import DROP_TAG, PARTITION_TAG
from dino_assets.defs.webhook import hide_all, post_json
from dino_assets.settings.environment import list_secrets

# The second attempt is made in the next tick. From then on the wait doubles each time.
FIRST_WAIT_S, MAX_WAIT_S = 60.0, 900.0
# An alert that was not accepted for a day is given up: somebody has seen the failure in the UI by then.
MAX_AGE_S = 86_400.0
# The daemon ends a tick after 60 s. One alert takes 9 s when the receiver does not answer.
BUDGET_S = 20.0
MAX_NEW, MAX_WAITING = 100, 500
MAX_SHOWN = 5  # in the tick's message; the log has all

Post = Callable[[str, Mapping[str, Any]], str | None]


@dataclass(frozen=True)
class Alert:
    """A failed run that is still to be posted; ``due_s`` is the time of the next attempt."""

    run_id: str
    failed_s: float
    tries: int = 0
    due_s: float = 0.0


@dataclass(frozen=True)
class AlertCursor:
    """What the sensor keeps between ticks: the last failure that was read, and the alerts not posted yet."""

    after: int
    waiting: tuple[Alert, ...] = ()

    def dump(self) -> str:
        """Write the cursor as JSON, in which Dagster keeps it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def load(cls, cursor: str | None) -> "AlertCursor | None":
        """Read a cursor from its JSON; return None if the cursor is missing or invalid.

        Cursors of Dagster's run failure sensor, which earlier versions used, are accepted too.
        """
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
    """Post the failures since the last tick and the waiting alerts; return the tick's message.

    If ``url`` is None, nothing is posted, and the failures since the last tick are not posted later either.
    An alert that the receiver refuses is tried again for a day, at growing intervals. Alerts with fewer
    attempts come first, so one bad alert does not delay the other alerts.
    """
    progress = AlertCursor.load(context.cursor)
    if progress is None:
        context.update_cursor(AlertCursor(_find_last(context.instance)).dump())
        return "First tick: runs that fail from now on are posted."
    after, new = _find_new(context.instance, progress.after, now_s=clock())
    if url is None:
        context.update_cursor(replace(progress, after=after).dump())
        sentence = (
            f"{count_of(len(new), 'run')} failed; DINO_FAILURE_WEBHOOK is not set, so nothing "
            "is posted."
        )
        return sentence if new else "Nothing to post."
    alerts, lines = _give_up((*progress.waiting, *new), now_s=clock())
    ends_s = clock() + BUDGET_S
    waiting: list[Alert] = []
    posted = 0
    ordered = sorted(alerts, key=lambda each: (each.tries, each.failed_s))
    # If the receiver accepts an alert that is due, alerts that are not due yet are posted as well.
    now_s = clock()
    for alert in sorted(ordered, key=lambda each: each.due_s > now_s):
        if clock() >= ends_s or (alert.due_s > now_s and not posted):
            waiting.append(alert)
            continue
        if problem := _post(context.instance, alert, url=url, ui=ui, post=post):
            waiting.append(_put_off(alert, now_s=clock()))
            lines.append(
                f"run {alert.run_id} failed; the webhook did not accept the alert: {problem}"
            )
        else:
            context.log.info(f"run {alert.run_id}: alert posted")
            posted += 1
    for line in lines:
        context.log.warning(line)
    context.update_cursor(AlertCursor(after, tuple(waiting)).dump())
    counts = [(posted, "posted"), (len(waiting), "waiting to be posted")]
    shown = lines[:MAX_SHOWN] + [f"{count} {what}" for count, what in counts if count]
    return f"{'. '.join(shown) or 'Nothing to post'}."


def describe_failure(instance: dg.DagsterInstance, run: dg.DagsterRun, ui: str) -> dict[str, Any]:
    """Make the JSON body of an alert: job, run, drop, the reason in a sentence, and a link to the run."""
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


def _find_new(instance: dg.DagsterInstance, after: int, *, now_s: float) -> tuple[int, list[Alert]]:
    """List an alert for each run that failed after the storage id ``after``; also return the last id read.

    Runs of other projects on this instance, and runs that the daemon retries, have no alert.
    """
    asked = dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_storage_id=after)
    alerts = []
    for record in instance.fetch_run_status_changes(asked, MAX_NEW, ascending=True).records:
        run = instance.get_run_by_id(record.run_id)
        if run and is_retry_undecided(instance, run, failed_s_ago=now_s - record.timestamp):
            break  # the next tick reads it again
        after = max(after, record.storage_id)
        # The daemon retries this run. Only the last attempt is posted, if it fails too.
        if run is None or run.tags.get(WILL_RETRY_TAG) == "true":
            continue
        if run.tags.get(REPOSITORY_LABEL_TAG, REPOSITORY) == REPOSITORY:
            alerts.append(Alert(run.run_id, record.timestamp))
    return after, alerts


def _give_up(alerts: tuple[Alert, ...], *, now_s: float) -> tuple[list[Alert], list[str]]:
    """Give up tried alerts that are older than a day, and the oldest alerts above ``MAX_WAITING``.

    Return the other alerts, and a line for each one that was given up.
    """
    young = [alert for alert in alerts if not alert.tries or now_s - alert.failed_s < MAX_AGE_S]
    newest = sorted(young, key=lambda alert: alert.failed_s)[-MAX_WAITING:]
    dropped = [alert.run_id for alert in alerts if alert not in newest]
    return newest, [
        f"run {run_id} failed; its alert was given up: it is older than a day, or too many are waiting"
        for run_id in dropped
    ]


def _put_off(alert: Alert, *, now_s: float) -> Alert:
    wait_s = min(MAX_WAIT_S, FIRST_WAIT_S * 2 ** (alert.tries - 1)) if alert.tries else 0.0
    return replace(alert, tries=alert.tries + 1, due_s=now_s + wait_s)


def _post(
    instance: dg.DagsterInstance, alert: Alert, *, url: str, ui: str, post: Post
) -> str | None:
    """Post one alert; return why that failed, or None. A deleted run needs no alert."""
    try:
        run = instance.get_run_by_id(alert.run_id)
        return post(url, describe_failure(instance, run, ui)) if run else None
    except Exception as err:  # noqa: BLE001 - one alert that cannot be posted must not stop the others
        return type(err).__name__
