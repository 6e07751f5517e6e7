"""Runs of the demo's jobs, and their log lines."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from uuid import uuid4

import dagster as dg

from dino_assets.definitions import make_definitions
from dino_assets.defs.execution import execute_run
from dino_assets.defs.instance import open_instance
from dino_assets.defs.output_metadata import find_manifest_key
from dino_assets.defs.partitions import add_drop_keys
from dino_assets.defs.plans import plan_runs
from dino_assets.demo.place import MODEL
from dino_assets.embeddings.stage.sharing import share_encoders
from dino_assets.settings.records import Settings
from dino_assets.store.commits.catalogue import LINEAGE
from dino_assets.weights.checkpoint import CAVEAT

# The run's own config names the model, regardless of this machine's settings; its tags show it too.
HUB = {"resources": {"hub": {"config": {"model": MODEL}}}}
Say = Callable[[str], None]


@dataclass(frozen=True)
class DemoRun:
    """Result of the demo's runs: counts of reused and of made outputs, and the results of checks.

    If a run failed, ``failed_run`` is its id and ``failures`` are its errors; otherwise both are empty.
    """

    failed_run: str
    failures: tuple[str, ...]
    reused: int
    made: int
    checks: tuple[dg.AssetCheckEvaluation, ...]
    seconds: float


def run_jobs(
    demo: Settings, drops: Sequence[str], say: Say, *, is_verbose: bool = False
) -> DemoRun:
    """Run `ingest` for each drop, then `curate` for one map and one round of all drops.

    After a failed run, no further run is started. The runs are executed in this process, on the instance that
    the demo's UI shows.
    """
    started = time.perf_counter()
    was_reused: dict[object, bool] = {}
    checks: list[dg.AssetCheckEvaluation] = []

    def listen(entry: dg.EventLogEntry) -> None:
        if is_verbose or int(entry.level) >= logging.WARNING:
            _say_log_line(entry, say)
        event = entry.dagster_event
        if event and event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            checks.append(event.asset_check_evaluation_data)

    with open_instance(demo.root, home=demo.root) as instance, ExitStack() as encoders:
        add_drop_keys(instance, drops)
        definitions = make_definitions(demo)
        encoders.enter_context(share_encoders())  # all drops use one encoder
        for planned in plan_runs(drops, LINEAGE):
            if planned.drop is None:
                encoders.close()
            run_id = str(uuid4())
            say(f"Job {planned.job}, {planned.drop or 'all drops'}, run {run_id[:8]}:")
            end = execute_run(
                definitions, instance, planned, config=HUB, listen=listen, run_id=run_id
            )
            for made in end.materialised:
                key = find_manifest_key(made.metadata)
                # Made if any run made it: a later run reuses it.
                was_reused[key] = was_reused.get(key, True) and bool(
                    made.metadata["was_reused"].value
                )
            if end.status == "canceled":
                raise KeyboardInterrupt
            if end.status == "failed":
                failures = tuple(f"{failure.step}: {failure.sentence}" for failure in end.failures)
                return DemoRun(run_id, failures, 0, 0, (), time.perf_counter() - started)
    reused = sum(was_reused.values())
    seconds = time.perf_counter() - started
    return DemoRun("", (), reused, len(was_reused) - reused, tuple(checks), seconds)


def _say_log_line(entry: dg.EventLogEntry, say: Say) -> None:
    """Print a run's log line, but neither Dagster's events nor the caveat, which the summary prints."""
    text = entry.user_message
    if text.endswith(CAVEAT):
        return
    is_log_line = entry.dagster_event is None and not text.startswith("Dependencies for step")
    if is_log_line and entry.step_key in LINEAGE:
        say(f"  {entry.step_key:<12} {text.removeprefix(f'{entry.step_key}: ')}")
