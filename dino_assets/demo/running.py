"""``make demo``: two drawn flights through the whole lineage, and a summary a newcomer can read.

All of it in a project of its own (``place``): nothing of a person's own is read or written.
"""

import fcntl
import logging
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import dagster as dg

from dino_assets.compute.devices import resolve_compute
from dino_assets.compute.settings import ComputeSettings
from dino_assets.counting import count_of
from dino_assets.definitions import make_definitions
from dino_assets.defs.execution import execute_run
from dino_assets.defs.instance import open_instance
from dino_assets.defs.output_metadata import find_manifest_key
from dino_assets.defs.partitions import add_drop_keys
from dino_assets.defs.plans import plan_runs
from dino_assets.demo.checkpoint import find_or_write_demo_checkpoint
from dino_assets.demo.flights.draw import draw_flights
from dino_assets.demo.place import FOLDER, INBOX, MODEL, OUT, make_place, settings_of_demo
from dino_assets.demo.reports import DropReport, report_drops
from dino_assets.drops.registry import register_drop
from dino_assets.embeddings.space import current_space
from dino_assets.errors import ConfigError
from dino_assets.selections.rounds import name_round
from dino_assets.selections.stage.chosen_files import export_round
from dino_assets.settings.records import Settings
from dino_assets.store.commits.catalogue import ASSETS
from dino_assets.store.commits.listing import export_files
from dino_assets.store.commits.manifests import find_manifest
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets.weights.checkpoint import CAVEAT
from dino_assets.weights.stage import OUTPUT as WEIGHTS
from dino_assets.weights.stage import load_checkpoint

ROUND = name_round(1)
# Named in the run itself, whatever this machine is set up for: its tags say it, too.
HUB = {"resources": {"hub": {"config": {"model": MODEL}}}}
COLUMNS = ("images", "tiles", "embeddings", "selected")
Say = Callable[[str], None]
Draw = Callable[[Path], Sequence[Path]]  # the flights into a folder; gives the drops


@dataclass(frozen=True)
class DemoUi:
    """The demo's UI: the words after the program's name that open it, and where it then is."""

    words: str = "demo --ui"
    url: str = Settings.ui_url
    is_opened_next: bool = False  # by the same command, once the demo has gone through


def find_ui(host: str, port: int, *, is_opened_next: bool = False) -> DemoUi:
    """Find how the demo's UI is opened on an address; flags that are the default are left out."""
    usual = urlsplit(Settings.ui_url)
    words = ["demo", "--ui"]
    words += ["--host", host] if host != usual.hostname else []
    words += ["--port", str(port)] if port != usual.port else []
    return DemoUi(shlex.join(words), f"http://{host}:{port}", is_opened_next)


@dataclass(frozen=True)
class DemoRun:
    """How the runs ended."""

    failed_run: str
    failures: tuple[str, ...]
    reused: int
    made: int
    checks: tuple[dg.AssetCheckEvaluation, ...]
    seconds: float


def run_demo(
    settings: Settings,
    say: Say,
    *,
    draw: Draw = draw_flights,
    command: str = "dino-assets",
    ui: DemoUi = DemoUi(),
    is_verbose: bool = False,
) -> bool:
    """Draw, register, run, tell; a second call finds everything made. Tells whether all went well.

    Verbose says each line of the runs' logs, too.

    Raises:
        ConfigError: there is no project here; the demo's folder or store holds something that is not
            the demo's; or files of somebody's own lie where it would draw.
    """
    # Everything that can be refused is, before anything is written.
    compute = resolve_compute(ComputeSettings(device=settings.device))  # type: ignore[arg-type]
    demo = settings_of_demo(settings)
    make_place(demo)
    store = open_store(demo.storage)
    refuse_other_weights(store)
    with open_instance(demo.root, home=demo.root):
        pass
    with taking_turns(demo.root, say):
        drops = prepare(demo, store, say, draw=draw)
        run = run_jobs(demo, drops, say, is_verbose=is_verbose)
        if run.failed_run:
            for failure in run.failures:
                say(failure)
            say(
                f"Run {run.failed_run} failed. `{command} {ui.words}` shows where: "
                f"{ui.url}/runs/{run.failed_run}"
            )
            return False
        space = current_space(load_checkpoint(store), compute)
        reports = report_drops(store, drops, space=space, round_name=ROUND)
        files = [shorten(path, demo.root.parent) for path in export(demo, store, space, say)]
    for line in describe(run, reports, files, command=command, ui=ui):
        say(line)
    return True


def prepare(demo: Settings, store: ObjectStore, say: Say, *, draw: Draw) -> list[str]:
    """Flights, checkpoint and the drops' records; tells the drops."""
    say("Drawing two flights and a checkpoint, unless they are there …")
    started = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:  # loading torch for it is waiting for the disk, mostly
        checkpoint = pool.submit(find_or_write_demo_checkpoint, demo.root / MODEL)
        folders = draw(demo.root / INBOX)
    checkpoint.result()
    drawn = ", ".join(shorten(path, demo.root.parent) for path in (*folders, demo.root / MODEL))
    say(f"  {drawn}: {time.perf_counter() - started:.1f} s")
    for folder in folders:
        # The same pictures in a clone that was moved are still the demo's.
        register_drop(store, folder.name, source=str(folder), root=demo.root, may_replace=True)
    return sorted(folder.name for folder in folders)


def export(demo: Settings, store: ObjectStore, space: str, say: Say) -> list[Path]:
    """Write map and round where a person finds them; what another round left is taken away."""
    out = demo.root / OUT
    shutil.rmtree(out / "tiles", ignore_errors=True)
    return [
        *export_files(store, "projections", space=space, folder=out),
        *export_round(store, ROUND, space=space, folder=out, say=say),
    ]


@contextmanager
def taking_turns(root: Path, say: Say) -> Iterator[None]:
    """One demo at a time in a folder; the second waits and then finds everything made."""
    with (root / ".dagster" / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another demo is running in this folder; waiting for it …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def refuse_other_weights(store: ObjectStore) -> None:
    """Keep the demo out of a store that somebody took over.

    Raises:
        ConfigError: its weights are not the demo's.
    """
    manifest = find_manifest(store, WEIGHTS)
    if manifest and not manifest.facts.get("caveat"):
        raise ConfigError(
            f"the demo's store {store.url!r} works with the weights {manifest.recipe.config['model']!r}; "
            "the demo would put random ones in their place. Move the demo's folder away, or run it in "
            "another clone.",
            setting="model",
            value=manifest.recipe.config["model"],
        )


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

    with open_instance(demo.root, home=demo.root) as instance:
        add_drop_keys(instance, drops)
        definitions = make_definitions(demo)
        for planned in plan_runs(drops, ASSETS):
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
    if is_ours and entry.step_key in ASSETS:
        say(f"  {entry.step_key:<12} {text.removeprefix(f'{entry.step_key}: ')}")


def describe(
    run: DemoRun,
    reports: Sequence[DropReport],
    files: Sequence[str],
    *,
    command: str,
    ui: DemoUi,
) -> list[str]:
    """The summary, line by line."""
    table = {
        report.drop: [*(getattr(report, name) for name in COLUMNS), len(report.bad_files)]
        for report in reports
    }
    table["together"] = [sum(column) for column in zip(*table.values(), strict=True)]
    lines = ["", f"{'':<14}" + "".join(f"{name:>12}" for name in COLUMNS) + f"{'quarantined':>13}"]
    for drop, (*counts, quarantined) in table.items():
        cells = "".join(f"{count:>12,}" for count in counts)
        lines.append(f"{drop:<14}{cells}{quarantined:>13,}")
    bad_files = [bad for report in reports for bad in report.bad_files]
    lines += ["Quarantined, each a row with its reason in `images`:"] if bad_files else []
    lines += [f"  {b.drop}: {b.path}: {b.reason}, {b.detail}" for b in bad_files]
    names = {check.check_name for check in run.checks}
    failed = [check for check in run.checks if not check.passed]
    passed = len(names) - len({check.check_name for check in failed})
    lines += [f"Checks: {passed} of {len(names)} passed"]
    lines += [f"  {c.severity.value:<5} {c.check_name}: {c.description}" for c in failed]
    if run.made:
        reused = f", {run.reused} were there already" if run.reused else ""
        lines += [f"{count_of(run.made, 'output')} made{reused}, {run.seconds:.0f} s."]
    else:
        lines += [f"Nothing was computed again: all {run.reused} outputs were there already."]
    opening = "in the UI that opens now:" if ui.is_opened_next else f"{command} {ui.words}, then"
    shown = {Path(path).name: path for path in files}
    lines += [
        "",
        f"map     {shown['map.html']} (in a browser: the tile under the pointer), {shown['map.png']}",
        f"round   {shown['round-map.html']} (what was chosen, from where, why), {shown['round-map.png']}",
        f"chosen  {shown['contact-sheet.jpg']}, and each tile in {FOLDER}/{OUT}/tiles",
        f"runs    {opening} {ui.url}",
        f"All of the demo is in the folder {FOLDER}; your own work begins without it, with real weights:",
        f"next    {command} run my-flight --from path/to/photos",
        f"Mind: the model has {CAVEAT}",
    ]
    return lines


def shorten(path: Path, root: Path) -> str:
    """A path as seen from the project's folder."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
