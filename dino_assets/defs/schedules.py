"""What happens by the clock."""

import dagster as dg

from dino_assets.defs.jobs import curate, observe_inbox

nightly_curate = dg.ScheduleDefinition(
    name="nightly_curate",
    job=curate,
    # After a day's flights are in, before anybody looks; UTC, so that no night has two threes.
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description=(
        "The map of everything embedded so far, and round 1 of tiles unless it is chosen already, at "
        "3:00 UTC. When nothing has changed, everything is reused and nothing is computed. Later rounds "
        "are launched by hand."
    ),
)

daily_look = dg.ScheduleDefinition(
    name="daily_look",
    job=observe_inbox,
    cron_schedule="0 5 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description=(
        "Looks at every drop's files, and says whether no flight came for long and whether the map is old, "
        "at 5:00 UTC. Nothing is read or made."
    ),
)

ALL_SCHEDULES = [nightly_curate, daily_look]
