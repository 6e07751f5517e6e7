"""Dagster schedules; all are off until a person turns them on."""

import dagster as dg

from dino_assets.defs.jobs import curate, observe_inbox

nightly_curate = dg.ScheduleDefinition(
    name="nightly_curate",
    job=curate,
    # After the day's flights are ingested, before work begins. UTC has no night with 3:00 twice.
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description=(
        "Runs curate at 3:00 UTC: makes the map of all embeddings, and chooses round 1 if there is none. If "
        "nothing has changed, everything is reused and nothing is computed. Later rounds are launched by "
        "hand."
    ),
)

daily_look = dg.ScheduleDefinition(
    name="daily_look",
    job=observe_inbox,
    cron_schedule="0 5 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description=(
        "Runs observe_inbox at 5:00 UTC: lists the files of every drop, then checks whether new photographs "
        "have come lately and whether the map is current. No photograph is read, no asset is made."
    ),
)

ALL_SCHEDULES = [nightly_curate, daily_look]
