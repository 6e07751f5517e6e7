"""Run of the demo (``make demo``): two drawn flights are processed through the whole lineage, with a summary.

The demo uses a separate project (``place``). It reads and writes no files of the person's project.
"""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from dino_assets.compute.devices import resolve_compute
from dino_assets.compute.settings import ComputeSettings
from dino_assets.defs.instance import open_instance
from dino_assets.demo.checkpoint import find_or_write_demo_checkpoint
from dino_assets.demo.flights.draw import draw_flights
from dino_assets.demo.jobs import Say, run_jobs
from dino_assets.demo.place import INBOX, MODEL, OUT, make_demo_folder, settings_of_demo
from dino_assets.demo.reports import report_drops
from dino_assets.demo.summary import USUAL_UI, DemoUi, describe
from dino_assets.drops.registering import register_drop
from dino_assets.embeddings.space import current_space
from dino_assets.errors import ConfigError
from dino_assets.selections.rounds import name_round
from dino_assets.selections.stage.chosen_files import export_round
from dino_assets.settings.records import Settings
from dino_assets.store.commits.listing import export_files
from dino_assets.store.commits.manifests import find_manifest
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets.weights.stage import OUTPUT as WEIGHTS
from dino_assets.weights.stage import load_checkpoint

ROUND = name_round(1)
Draw = Callable[
    [Path], Sequence[Path]
]  # draws flights into a folder, and returns the drops' folders


def run_demo(
    settings: Settings,
    say: Say,
    *,
    draw: Draw = draw_flights,
    command: str = "dino-assets",
    ui: DemoUi = USUAL_UI,
    is_verbose: bool = False,
) -> bool:
    """Draw and register two flights, run the jobs, and print a summary; return whether all runs succeeded.

    A second call reuses all outputs. With ``is_verbose``, all lines of the runs' logs are printed.

    Raises:
        ConfigError: there is no project here, or files that the demo did not write are in the way.
    """
    # All settings and folders are checked before anything is written.
    compute = resolve_compute(ComputeSettings(device=settings.device))  # type: ignore[arg-type]
    demo = settings_of_demo(settings)
    make_demo_folder(demo)
    store = open_store(demo.storage)
    refuse_other_weights(store)
    with open_instance(demo.root, home=demo.root):
        pass
    with run_alone(demo.root, say):
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
    """Make the flights, the checkpoint and the drops' records; return the drops' names."""
    say("Drawing two flights and a checkpoint, unless they exist …")
    started = time.perf_counter()
    with ThreadPoolExecutor(
        1
    ) as pool:  # loading torch for the checkpoint mostly waits for the disk
        checkpoint = pool.submit(find_or_write_demo_checkpoint, demo.root / MODEL)
        folders = draw(demo.root / INBOX)
    checkpoint.result()
    drawn = ", ".join(shorten(path, demo.root.parent) for path in (*folders, demo.root / MODEL))
    say(f"  {drawn}: {time.perf_counter() - started:.1f} s")
    for folder in folders:
        # may_replace: the project may have been moved to another folder.
        register_drop(store, folder.name, source=str(folder), root=demo.root, may_replace=True)
    return sorted(folder.name for folder in folders)


def export(demo: Settings, store: ObjectStore, space: str, say: Say) -> list[Path]:
    """Write the map's and the round's files into the demo's folder, and return their paths.

    The pictures of tiles that an earlier call wrote are deleted first.
    """
    out = demo.root / OUT
    shutil.rmtree(out / "tiles", ignore_errors=True)
    return [
        *export_files(store, "projections", space=space, folder=out),
        *export_round(store, ROUND, space=space, folder=out, say=say),
    ]


@contextmanager
def run_alone(root: Path, say: Say) -> Iterator[None]:
    """Run one demo at a time in a folder; a second one waits, and then reuses all outputs."""
    with (root / ".dagster" / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another demo is running in this folder; waiting for it …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def refuse_other_weights(store: ObjectStore) -> None:
    """Refuse the demo's store if it holds weights that the demo did not make.

    Raises:
        ConfigError: the weights in the store are not random.
    """
    manifest = find_manifest(store, WEIGHTS)
    if manifest and not manifest.facts.get("caveat"):
        raise ConfigError(
            f"the demo's store {store.url!r} holds the weights {manifest.recipe.config['model']!r}, and the "
            "demo would replace them by random ones. Move the demo's folder away, or run the demo in another "
            "project's folder.",
            setting="model",
            value=manifest.recipe.config["model"],
        )


def shorten(path: Path, root: Path) -> str:
    """Write a path relative to ``root`` if it lies below ``root``; else write it unchanged."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
