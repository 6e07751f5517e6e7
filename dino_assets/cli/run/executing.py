"""Execution of a command's planned runs, one after the other, with their progress printed."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import dagster as dg

from dino_assets.cli.registering import open_store_here
from dino_assets.cli.run.config import config_of_assets, ops_of
from dino_assets.cli.run.ends import Ui, describe_canceled, describe_failed, describe_next
from dino_assets.cli.run.lines import RunLines, describe_seconds
from dino_assets.cli.run.printer import Printer
from dino_assets.counting import count_of
from dino_assets.defs.dead_runs import end_dead_runs, find_runs_of
from dino_assets.defs.execution import RunEnd, execute_run
from dino_assets.defs.instance import open_instance
from dino_assets.defs.plans import PlannedRun
from dino_assets.demo.place import is_demo
from dino_assets.embeddings.stage.sharing import share_encoders
from dino_assets.settings.records import Settings

FAILED, INTERRUPTED = 1, 130


@dataclass(frozen=True)
class RequestedRuns:
    """The runs that a person asked for.

    ``command`` is the shell command that calls this program, and ``again`` the one that repeats the request.
    """

    command: str
    again: str
    plan: Sequence[PlannedRun]
    config: Mapping[str, Any]


def find_config_fault(
    definitions: dg.Definitions, plan: Sequence[PlannedRun], config: Mapping[str, Any]
) -> str | None:
    """Find an error in a run config, before anything is run; return a sentence, or None."""
    made = {name for planned in plan for name in planned.assets}
    if unused := sorted(set(ops_of(config)).difference(made)):
        return f"it configures {unused[0]!r}, but this command makes only {', '.join(sorted(made))}"
    for planned in plan:
        job = definitions.resolve_job_def(planned.job)
        try:
            dg.validate_run_config(job, config_of_assets(config, planned.assets))
        except dg.DagsterInvalidConfigError as err:
            return " ".join(str(err.errors[0].message).split())
    return None


def run_planned(
    requested: RequestedRuns, settings: Settings, definitions: dg.Definitions, printer: Printer
) -> int:
    """Execute the requested runs one by one, and print their progress; return the exit status.

    If a drop's run fails, the run for all drops is left out.
    """
    started = time.monotonic()
    ends: list[RunEnd] = []
    caveat, warned = "", set[str]()
    # In the demo's folder, `ui` alone would use the settings of the person's own project.
    words = "demo --ui" if is_demo(settings.root) else "ui"
    ui = Ui(f"{requested.command} {words}", settings.ui_url)
    with open_instance(settings.root) as instance, ExitStack() as stack:
        stack.enter_context(share_encoders())  # all drops are embedded by one encoder
        for planned in requested.plan:
            if planned.drop is None:
                stack.close()
            if planned.drop is None and any(end.status == "failed" for end in ends):
                if len(ends) > 1:  # with a single drop it is obvious
                    printer.complain(
                        f"{' and '.join(planned.assets)}: not made, since a drop failed. A round never "
                        "changes once it is chosen, so all drops must be complete first."
                    )
                break
            lines = RunLines(printer, drop=planned.drop, warned=warned)
            end = _execute(planned, requested, definitions, instance, lines, printer)
            ends.append(end)
            caveat = caveat or lines.caveat
            if end.status == "canceled":
                for line in describe_canceled(open_store_here(settings), planned, end):
                    printer.complain(line)
                printer.complain(f"go on    {requested.again}")
                return INTERRUPTED
            if end.status == "failed":
                for line in describe_failed(
                    requested.command,
                    planned,
                    end,
                    shows_tracebacks=printer.shows_tracebacks,
                    ui=ui,
                ):
                    printer.complain(line)
                if any(failure.step in ("", "weights") for failure in end.failures):
                    break  # the other drops would fail for the same reason
    if any(end.status == "failed" for end in ends):
        printer.complain(f"again    {requested.again}")
        if not printer.shows_tracebacks:
            printer.complain(f"details  {requested.again} --debug")
        return FAILED
    printer.say(_describe_done(ends, time.monotonic() - started))
    for line in describe_next(requested.command, open_store_here(settings), ends, ui=ui):
        printer.say(line)
    if caveat:
        printer.say(f"Note: the model has {caveat}")
    return 0


def _execute(
    planned: PlannedRun,
    requested: RequestedRuns,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    lines: RunLines,
    printer: Printer,
) -> RunEnd:
    for run, why in end_dead_runs(instance, planned.drop):
        printer.say(
            f"run {run.run_id[:8]} has ended ({why}) and is now marked as failed; its finished work is "
            "reused"
        )
    for run in find_runs_of(instance, planned.drop) if planned.drop else ():
        printer.say(
            f"run {run.run_id[:8]} (job {run.job_name}) of {planned.drop} is {run.status.value}, too: both "
            "runs continue and write the same files. To avoid that, cancel one of them"
        )
    run_id = str(uuid4())
    some = "" if planned.is_whole_job else f" ({', '.join(planned.assets)})"
    printer.say(f"{planned.drop or 'all drops'}: job {planned.job}{some}, run {run_id[:8]}")
    with printer.alone(), lines.beating():
        return execute_run(
            definitions,
            instance,
            planned,
            config=config_of_assets(requested.config, planned.assets),
            listen=lines,
            run_id=run_id,
        )


def _describe_done(ends: Sequence[RunEnd], seconds: float) -> str:
    was_reused = [
        bool(made.metadata["was_reused"].value) for end in ends for made in end.materialised
    ]
    took = describe_seconds(seconds)
    if was_reused and all(was_reused):
        return (
            f"Nothing was computed: {count_of(len(was_reused), 'output was', 'outputs were')} reused. "
            f"{took}."
        )
    made = len(was_reused) - sum(was_reused)
    reused = f", {sum(was_reused)} reused" if any(was_reused) else ""
    return f"Done in {took}: {count_of(made, 'output')} made{reused}."
