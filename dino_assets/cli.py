"""``dino-assets``: argument → call → exit code."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from dino_assets import __version__
from dino_assets.errors import DinoAssetsError
from dino_assets.records import OutputId, Settings
from dino_assets.settings import environment_with, load_settings
from dino_assets.store.objects import ObjectStore, open_store


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 is success, 1 a failure with a sentence, 2 a misuse."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        return int(options.run(options, load_settings()))
    except DinoAssetsError as err:
        _say(f"{type(err).__name__}: {err}", to=sys.stderr)
        return 1
    except BrokenPipeError:  # `dino-assets … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dino-assets", description="From drone flights to the few tiles worth labelling."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

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

    parts = commands.add_parser("parts", help="the Parquet files of a committed table")
    parts.add_argument("asset", metavar="ASSET")
    parts.add_argument("drop", metavar="DROP", nargs="?")
    parts.add_argument("--space", help="the embedding space, for assets that have one")
    parts.set_defaults(run=_parts)

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
    from dino_assets.stages.drops import register_drop

    source = options.source or str(Path(settings.inbox) / options.name)
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
    from dino_assets.stages.drops import list_drops
    from dino_assets.store.readers import open_table

    store = _store(settings)
    drops = list_drops(store)
    made = {
        asset: {m.recipe.output.drop: m for m in open_table(store, asset).manifests}
        for asset in ("images", "tiles")
    }
    for drop in drops:
        states = [
            f"{asset} {made[asset][drop.name].rows}" if drop.name in made[asset] else f"{asset} –"
            for asset in made
        ]
        _say(f"{drop.name:<24} {'  '.join(states):<28} {drop.source}")
    if not drops:
        _say("no drops yet. Register one with: dino-assets drops register NAME --from FOLDER")
    return 0


def _parts(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.store.manifests import read_manifest

    store = _store(settings)
    manifest = read_manifest(store, OutputId(options.asset, options.drop, options.space))
    for part in manifest.parts:
        _say(str(store.folder / part.key) if store.folder else f"{store.url}/{part.key}")
    return 0


def _verify(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.store.collection import verify

    faults = 0
    for fault in verify(_store(settings), should_repair=options.repair):
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

    folder = write_demo_checkpoint(options.folder)
    _say(f"{folder}: random weights, for the plumbing only. Use it with DINO_MODEL_ID={folder}")
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
    print(text, file=to or sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
