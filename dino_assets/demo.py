"""``make demo``: two drawn flights through the whole lineage, and a summary a newcomer can read."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import dagster as dg

from dino_assets.core.weights import CAVEAT
from dino_assets.definitions import make_definitions
from dino_assets.errors import ConfigError
from dino_assets.instance import open_instance
from dino_assets.partitions import add_drop_keys
from dino_assets.records import ComputeSettings, Settings
from dino_assets.samples.checkpoint import find_or_write_demo_checkpoint
from dino_assets.samples.flights import draw_flights
from dino_assets.settings import set_if_silent
from dino_assets.stages.compute import resolve_compute
from dino_assets.stages.drops import register_drop
from dino_assets.stages.embeddings import current_space
from dino_assets.stages.reports import DropReport, report_drops
from dino_assets.stages.selections import name_round
from dino_assets.stages.states import export_files
from dino_assets.stages.weights import OUTPUT as WEIGHTS
from dino_assets.stages.weights import load_checkpoint
from dino_assets.store.manifests import find_manifest
from dino_assets.store.objects import ObjectStore, open_store

MODEL = "models/demo"
OUT = "out/demo"
ROUND = name_round(1)
COLUMNS = ("images", "tiles", "embeddings", "selected")
Say = Callable[[str], None]


@dataclass(frozen=True)
class DemoRun:
    """How the run of ``lineage`` ended."""

    run_id: str
    success: bool
    reused: int
    made: int
    checks: tuple[dg.AssetCheckEvaluation, ...]
    failures: tuple[str, ...]
    seconds: float


def run_demo(settings: Settings, say: Say) -> bool:
    """Draw, register, run, tell; a second call finds everything made. Tells whether all went well.

    Raises:
        ConfigError: this store works with other weights, which the demo's would replace.
    """
    store = open_store(settings.storage)
    refuse_other_weights(store)
    say("Drawing two flights and a checkpoint, unless they are there …")
    started = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:  # loading torch for it is waiting for the disk, mostly
        checkpoint = pool.submit(find_or_write_demo_checkpoint, settings.root / MODEL)
        folders = draw_flights(settings.root / "inbox")
    checkpoint.result()
    drawn = ", ".join(shorten(folder, settings.root) for folder in folders)
    say(f"  {drawn} and {MODEL}: {time.perf_counter() - started:.1f} s")
    if set_if_silent(settings.root, "DINO_MODEL_ID", MODEL):
        say(f"  .env now says DINO_MODEL_ID={MODEL}, so that the UI goes on with it")
    for folder in folders:
        register_drop(store, folder.name, source=str(folder), root=settings.root)
    drops = sorted(folder.name for folder in folders)
    run = run_lineage(settings, drops, say)
    if not run.success:
        for failure in run.failures:
            say(failure)
        say(f"Run {run.run_id} failed. `make ui` shows where, at http://127.0.0.1:3000/runs")
        return False
    compute = resolve_compute(ComputeSettings(device=settings.device))  # type: ignore[arg-type]
    space = current_space(load_checkpoint(store), compute)
    reports = report_drops(store, drops, space=space, round_name=ROUND)
    out = settings.root / OUT
    written = [
        *export_files(store, "projections", space=space, folder=out),
        *export_files(store, "selections", ROUND, space=space, folder=out),
    ]
    for line in describe(run, reports, [shorten(path, settings.root) for path in written]):
        say(line)
    return True


def refuse_other_weights(store: ObjectStore) -> None:
    """Keep the demo out of a store that somebody works with.

    Raises:
        ConfigError: its weights are not the demo's.
    """
    found = find_manifest(store, WEIGHTS)
    if found and not found.facts.get("caveat"):
        raise ConfigError(
            f"store {store.url!r} works with the weights {found.recipe.config['model']!r}; the demo "
            "would put random ones in their place. Run it in a clone of its own, or beside your work: "
            "DINO_STORAGE=data-demo make demo"
        )


def run_lineage(settings: Settings, drops: Sequence[str], say: Say) -> DemoRun:
    """Run the job ``lineage`` once for all the drops, in this process, on the instance the UI shows."""
    run_id = str(uuid4())
    config = {
        # Named in the run itself: the demo's checkpoint, whatever this machine is set up for.
        "resources": {"hub": {"config": {"model": MODEL}}},
        # Dagster's own log is in the UI; here are the lines that a person wants to read.
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
    tags = {
        "dagster/asset_partition_range_start": drops[0],
        "dagster/asset_partition_range_end": drops[-1],
    }
    say(f"Job lineage, run {run_id[:8]}, drops {' and '.join(drops)}:")
    started = time.perf_counter()
    with open_instance(settings.root) as instance:
        add_drop_keys(instance, drops)
        instance.add_event_listener(run_id, lambda entry: _tell(entry, say))
        result = (
            make_definitions(settings)
            .resolve_job_def("lineage")
            .execute_in_process(
                run_config=config, instance=instance, tags=tags, run_id=run_id, raise_on_error=False
            )
        )
    reused = [
        event.materialization.metadata["was_reused"].value
        for event in result.get_asset_materialization_events()
    ]
    failed = [event for event in result.all_events if event.is_step_failure]
    return DemoRun(
        run_id,
        result.success,
        reused=sum(map(bool, reused)),
        made=sum(not value for value in reused),
        checks=tuple(result.get_asset_check_evaluations()),
        failures=tuple(f"{e.step_key}: {_innermost(e)}" for e in failed),
        seconds=time.perf_counter() - started,
    )


def _tell(entry: dg.EventLogEntry, say: Say) -> None:
    """Our own lines of the run's log; Dagster's events are for the UI."""
    if entry.dagster_event is None and entry.step_key and "_are_" not in entry.step_key:
        say(f"  {entry.step_key:<12} {entry.user_message.removeprefix(f'{entry.step_key}: ')}")


def _innermost(event: dg.DagsterEvent) -> str:
    error = event.step_failure_data.error
    while error and error.cause:
        error = error.cause
    return error.message.strip() if error else "failed"


def describe(run: DemoRun, reports: Sequence[DropReport], files: Sequence[str]) -> list[str]:
    """The summary, line by line."""
    total = DropReport(
        "together",
        images=sum(report.images for report in reports),
        tiles=sum(report.tiles for report in reports),
        embeddings=sum(report.embeddings for report in reports),
        selected=sum(report.selected for report in reports),
        bad_files=tuple(bad for report in reports for bad in report.bad_files),
    )
    lines = ["", f"{'':<14}" + "".join(f"{name:>12}" for name in COLUMNS) + f"{'quarantined':>13}"]
    for row in (*reports, total):
        counts = "".join(f"{getattr(row, name):>12,}" for name in COLUMNS)
        lines.append(f"{row.drop:<14}{counts}{len(row.bad_files):>13,}")
    lines += ["", "Quarantined, each a row with its reason in `images`:"] if total.bad_files else []
    lines += [f"  {b.drop}: {b.path}: {b.reason}, {b.detail}" for b in total.bad_files]
    passed = [check for check in run.checks if check.passed]
    lines += ["", f"Checks: {len(passed)} of {len(run.checks)} passed"]
    for check in run.checks:
        if not check.passed:
            lines.append(f"  {check.severity.value:<5} {check.check_name}: {check.description}")
    if run.made:
        reused = f", {run.reused} were there already" if run.reused else ""
        lines += ["", f"{run.made} outputs made{reused}, {run.seconds:.0f} s."]
    else:
        lines += ["", f"Nothing was computed again: all {run.reused} outputs were there already."]
    shown = {Path(path).name: path for path in files}
    lines += [
        "",
        f"map     {shown['map.html']} (in a browser: the tile under the pointer), {shown['map.png']}",
        f"chosen  {shown['contact-sheet.jpg']}, and each tile in {OUT}/tiles",
        "runs    make ui, then http://127.0.0.1:3000",
        "next    .venv/bin/dino-assets drops register my-flight --from path/to/photos",
        "",
        f"Mind: the model has {CAVEAT}",
    ]
    return lines


def shorten(path: Path, root: Path) -> str:
    """A path as seen from the project's folder."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
