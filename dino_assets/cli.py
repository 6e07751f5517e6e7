"""``dino-assets``: argument → call → exit code."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from dino_assets import __version__
from dino_assets.errors import ConfigError, DinoAssetsError
from dino_assets.records import ComputeSettings, Drop, Settings
from dino_assets.settings import environment_with, load_settings
from dino_assets.store.objects import ObjectStore, open_store


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 is success, 1 a failure with a sentence, 2 a misuse."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        # Dagster turns our loggers up for its own log: that is not for the terminal.
        handler.setLevel(logging.WARNING)
    # A folder's name need not fit the terminal's encoding.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return int(options.run(options, load_settings()))
    except DinoAssetsError as err:
        _say(f"{type(err).__name__}: {err}", to=sys.stderr)
        return 1
    except BrokenPipeError:  # `dino-assets … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as err:
        where = f": {err.filename!r}" if err.filename else ""
        _say(f"{type(err).__name__}: {err.strerror or err}{where}", to=sys.stderr)
        return 1
    except KeyboardInterrupt:
        _say("Interrupted. What is finished is kept; run it again to go on.", to=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dino-assets", description="From drone flights to the few tiles worth labelling."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="two drawn flights through the whole lineage")
    demo.set_defaults(run=_demo)

    doctor = commands.add_parser("doctor", help="say what is wrong with this set-up and what to do")
    doctor.add_argument("--create-bucket", action="store_true", help="make a missing bucket")
    doctor.set_defaults(run=_doctor)

    drops = commands.add_parser("drops", help="register and list drops").add_subparsers(
        required=True, metavar="ACTION"
    )
    register = drops.add_parser(
        "register", help="make a drop known, so that it can be materialised"
    )
    register.add_argument("name", metavar="NAME")
    register.add_argument(
        "--from",
        dest="source",
        metavar="PATH|CSV|URL",
        help="where the pictures are; without it the folder NAME in the inbox",
    )
    register.add_argument("--replace", action="store_true", help="the same pictures moved")
    register.set_defaults(run=_register)
    listing = drops.add_parser("list", help="all drops and what is made of them")
    listing.set_defaults(run=_list)

    choose = commands.add_parser(
        "select",
        help="choose a round of tiles worth labelling, from everything embedded",
        # What is not given is left to the stage, whose defaults the asset has too.
        argument_default=argparse.SUPPRESS,
    )
    choose.add_argument("--round", type=int, metavar="N", help="earlier ones are never paid again")
    choose.add_argument("--budget", type=int, metavar="N", help="how many tiles")
    choose.add_argument("--strategy", metavar="WORD", help="random, cluster, fps or hybrid")
    choose.add_argument("--seed", type=int, metavar="N", help="equal seeds give the same tiles")
    choose.add_argument("--column", metavar="WORD", help="which vector: cls or mean")
    choose.add_argument(
        "--clusters", dest="n_clusters", type=int, metavar="N", help="clamped to what is there"
    )
    choose.add_argument(
        "--fps-ratio",
        type=float,
        metavar="SHARE",
        help="hybrid: the share of each cluster's quota picked by distance, 0 to 1",
    )
    choose.add_argument("--tile-px", type=int, metavar="N", help="another side than the family's")
    choose.add_argument(
        "--replace", action="store_true", help="choose a committed round anew, if it is the last"
    )
    choose.set_defaults(run=_select)

    parts = commands.add_parser("parts", help="the Parquet files of a committed table")
    parts.add_argument("asset", metavar="ASSET")
    parts.add_argument("drop", metavar="DROP", nargs="?")
    parts.set_defaults(run=_parts)

    export = commands.add_parser(
        "export", help="write an output's pictures, pages and files to a folder"
    )
    export.add_argument("asset", metavar="ASSET")
    export.add_argument("drop", metavar="DROP", nargs="?", help="a drop, or a round of selections")
    export.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    export.set_defaults(run=_export)

    verify = commands.add_parser("verify", help="read everything committed and check its hashes")
    verify.add_argument(
        "--repair", action="store_true", help="give up what is bad, to be made again"
    )
    verify.set_defaults(run=_verify)

    collect = commands.add_parser("collect", help="delete what nothing refers to and is a week old")
    collect.add_argument("--dry-run", action="store_true", help="only say what would go")
    collect.set_defaults(run=_collect)

    samples = commands.add_parser("samples", help="small real things to try").add_subparsers(
        required=True, metavar="WHAT"
    )
    checkpoint = samples.add_parser(
        "checkpoint",
        help="write a small checkpoint with random weights: it shows the plumbing only",
    )
    checkpoint.add_argument("folder", type=Path, nargs="?", default=Path("models/demo"))
    checkpoint.set_defaults(run=_checkpoint)

    ui = commands.add_parser("ui", help="open the Dagster UI for this folder")
    ui.add_argument("--host", default="127.0.0.1")
    ui.add_argument("--port", type=int, default=3000)
    ui.set_defaults(run=_ui)
    return parser


def _demo(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.demo import run_demo

    return int(not run_demo(settings, _say))


def _doctor(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.doctor import examine

    worst = 0
    for finding in examine(settings, may_create_bucket=options.create_bucket):
        _say(f"{'ok  ' if finding.passed else 'FAIL'} {finding.subject:<11} {finding.sentence}")
        worst |= not finding.passed
    return worst


def _register(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.instance import open_instance
    from dino_assets.partitions import add_drop_keys
    from dino_assets.stages.drops import inbox_address, register_drop

    source = options.source or inbox_address(settings.inbox, options.name)
    if options.source and "://" not in options.source:
        # A path is meant from where the person stands, not from the project's folder.
        source = str(Path(options.source).expanduser().absolute())
    drop, has_changed = register_drop(
        _store(settings),
        options.name,
        source=source,
        root=settings.root,
        may_replace=options.replace,
    )
    with open_instance(settings.root) as instance:
        added = add_drop_keys(instance, [drop.name])
    verb = "registered" if has_changed or added else "already registered"
    renamed = f" (from {drop.original_name!r})" if drop.original_name != drop.name else ""
    _say(f"{drop.name}{renamed}: {verb}, {drop.source}")
    _say(f"next: dagster asset materialize -m dino_assets --select '*' --partition {drop.name}")
    return 0


def _list(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.stages.drops import find_drops
    from dino_assets.stages.states import describe_drops

    store = _store(settings)
    found = find_drops(store)
    states = describe_drops(store)
    for name, drop in found.items():
        if isinstance(drop, Drop):
            _say(f"{name:<24} {'  '.join(states(name)):<44} {drop.source}")
        else:
            _say(f"{name:<24} {drop}")
    if not found:
        _say("no drops yet. Register one with: dino-assets drops register NAME --from FOLDER")
    return int(any(not isinstance(drop, Drop) for drop in found.values()))


def _select(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.stages.drops import find_drops, read_drop
    from dino_assets.stages.rounds import describe_round, open_round
    from dino_assets.stages.selections import make_settings
    from dino_assets.stages.sources import open_source
    from dino_assets.stages.weights import load_checkpoint
    from dino_assets.store.manifests import commit
    from dino_assets.store.readers import SpacedTable, open_table

    given = {name: value for name, value in vars(options).items() if name != "run"}
    tile_px, may_replace = given.pop("tile_px", 0), given.pop("replace", False)
    asked = make_settings(**given)
    store = _store(settings)
    registered = tuple(find_drops(store))
    found = open_round(
        SpacedTable(store, "embeddings", registered=registered),
        open_table(store, "tiles"),
        load_checkpoint(store),
        ComputeSettings(),  # a space knows no device, and looking for one would load torch
        asked,
        open_source=lambda drop: open_source(read_drop(store, drop).source, root=settings.root),
        tile_px=tile_px,
        may_replace=may_replace,
    )
    if found.has_other_settings:
        raise ConfigError(f"{found.stands} --replace chooses it anew.")
    committed = commit(store, found.draft)
    for line in describe_round(store, committed, registered=registered):
        _say(line)
    if found.stands:
        _say(found.stands)
    if shortfall := committed.manifest.facts["shortfall"]:
        raise ConfigError(
            f"{found.draft.recipe.output.drop} is committed with fewer tiles than asked: {shortfall}. "
            "Embed more drops, or ask for fewer with --budget."
        )
    return 0


def _parts(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.stages.states import find_outputs

    store = _store(settings)
    found = find_outputs(store, options.asset, options.drop)
    for manifest in found:
        for part in manifest.parts:
            _say(str(store.folder / part.key) if store.folder else f"{store.url}/{part.key}")
    return 0


def _export(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.stages.states import export_files

    folder = options.to.expanduser().absolute()
    for path in export_files(_store(settings), options.asset, options.drop, folder=folder):
        _say(str(path))
    return 0


def _verify(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.stages.drops import find_drops
    from dino_assets.stages.paid import RECORDS
    from dino_assets.store.collection import verify

    store = _store(settings)
    faults = 0
    drops = [found for found in find_drops(store).values() if not isinstance(found, Drop)]
    for fault in (*drops, *verify(store, should_repair=options.repair, records=RECORDS)):
        faults += 1
        _say(str(fault))
    _say(f"{faults} faults" if faults else "everything committed is whole")
    return int(faults > 0)


def _collect(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.store.collection import collect

    done = collect(_store(settings), is_dry_run=options.dry_run)
    verb = "would delete" if options.dry_run else "deleted"
    _say(
        f"{verb} {len(done.parts)} parts ({done.bytes / 1e6:.1f} MB), {len(done.receipts)} receipts, "
        f"{len(done.staging)} staging files; kept {done.kept_parts} parts"
    )
    return 0


def _checkpoint(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.samples.checkpoint import write_demo_checkpoint

    folder = write_demo_checkpoint(options.folder.expanduser().absolute())
    inside = folder.is_relative_to(settings.root)
    named = folder.relative_to(settings.root) if inside else folder
    _say(f"{named}: random weights, for the plumbing only. Use it with DINO_MODEL_ID={named}")
    return 0


def _ui(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.instance import instance_home, open_instance

    with open_instance(settings.root):
        pass  # initialised under our lock: `dagster dev` starts several processes at once
    home = str(instance_home(settings.root))
    command = ["-m", "dagster", "dev", "-h", options.host, "-p", str(options.port)]
    os.chdir(settings.root)
    os.execve(sys.executable, [sys.executable, *command], environment_with(DAGSTER_HOME=home))


def _store(settings: Settings) -> ObjectStore:
    return open_store(settings.storage)


def _say(text: str, *, to: TextIO | None = None) -> None:
    print(text, file=to or sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
