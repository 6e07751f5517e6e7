"""The demo's runs, and what is told of them while they go on."""

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

# Named in the run itself, whatever this machine is set up for: its tags say it, too.
HUB = {"resources": {"hub": {"config": {"model": MODEL}}}}
Say = Callable[[str], None]


@dataclass(frozen=True)
class DemoRun:
    """How the runs ended."""

    failed_run: str
    failures: tuple[str, ...]
    reused: int
    made: int
    checks: tuple[dg.AssetCheckEvaluation, ...]
    seconds: float


def run_jobs(
    demo: Settings, drops: Sequence[str], say: Say, *, is_verbose: bool = False
) -> DemoRun:
    """`ingest` for each drop, then `curate`: one map and one round of both.

    In this process, on the instance that the demo's UI shows.
    """
    started = time.perf_counter()
    was_reused: dict[object, bool] = {}
    checks: list[dg.AssetCheckEvaluation] = []

    def listen(entry: dg.EventLogEntry) -> None:
        if is_verbose or int(entry.level) >= logging.WARNING:
            _tell(entry, say)
        event = entry.dagster_event
        if event and event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            checks.append(event.asset_check_evaluation_data)

    with open_instance(demo.root, home=demo.root) as instance, ExitStack() as kept:
        add_drop_keys(instance, drops)
        definitions = make_definitions(demo)
        kept.enter_context(share_encoders())  # all drops are embedded by one encoder
        for planned in plan_runs(drops, LINEAGE):
            if planned.drop is None:
                kept.close()
            run_id = str(uuid4())
            say(f"Job {planned.job}, {planned.drop or 'all drops'}, run {run_id[:8]}:")
            end = execute_run(
                definitions, instance, planned, config=HUB, listen=listen, run_id=run_id
            )
            for made in end.materialised:
                key = find_manifest_key(made.metadata)
                # Of two runs the first one made it.
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


def _tell(entry: dg.EventLogEntry, say: Say) -> None:
    """Our own lines of the run's log; Dagster's events are for the UI, the caveat for the end."""
    text = entry.user_message
    if text.endswith(CAVEAT):
        return
    is_ours = entry.dagster_event is None and not text.startswith("Dependencies for step")
    if is_ours and entry.step_key in LINEAGE:
        say(f"  {entry.step_key:<12} {text.removeprefix(f'{entry.step_key}: ')}")
