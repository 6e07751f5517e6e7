"""Commands for committed outputs: ``parts``, ``export``, ``collect``."""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_assets.cli.flags import add_json
from dino_assets.cli.registering import find_output_name, open_store_here, refuse_sources
from dino_assets.cli.terminal import say, write_json, write_out
from dino_assets.counting import count_of
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path
from dino_assets.store.commits.protocol import Manifest, Part
from dino_assets.weights.records import spell_caveat

if TYPE_CHECKING:
    from dino_assets.store.objects import ObjectStore


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands ``parts``, ``export`` and ``collect``."""
    parts = commands.add_parser("parts", help="list the Parquet files of a committed table")
    parts.add_argument("asset", metavar="ASSET", help="such as images, tiles or embeddings")
    parts.add_argument(
        "drop", metavar="DROP", nargs="?", help="a drop, or a round of selections (default: all)"
    )
    parts.add_argument(
        "--space", metavar="ID", help="the space to list, if there are several (default: all)"
    )
    add_json(parts)
    parts.set_defaults(run=_parts)

    export = commands.add_parser(
        "export", help="write an output's pictures, pages and files to a folder"
    )
    export.add_argument("asset", metavar="ASSET", help="such as images, projections or selections")
    export.add_argument("drop", metavar="DROP", nargs="?", help="a drop, or a round of selections")
    export.add_argument(
        "--to",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="where to write; created if needed",
    )
    export.add_argument("--space", metavar="ID", help="the space to export, if there are several")
    export.set_defaults(run=_export)

    collect = commands.add_parser(
        "collect", help="delete stored files that no output uses and that are older than a week"
    )
    collect.add_argument("--dry-run", action="store_true", help="only print what would be deleted")
    add_json(collect)
    collect.set_defaults(run=_collect)


def _parts(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.store.commits.listing import find_outputs

    store = open_store_here(settings)
    drop = options.drop and find_output_name(store, options.asset, options.drop)
    outputs = find_outputs(store, options.asset, drop, space=options.space)
    _warn_of_caveats(outputs)
    if options.json:
        write_json([_describe_output(store, manifest) for manifest in outputs])
        return 0
    for manifest in outputs:
        if len(outputs) > 1:  # vectors of two spaces must not be read together
            space = manifest.recipe.config.get("space", {})
            about = f"{space.get('precision')}, {space.get('side_px')} px: " if space else ""
            say(f"# {about}--space {manifest.recipe.output.space}", to=sys.stderr)
        for part in manifest.parts:
            write_out(_locate(store, part))
    return 0


def _describe_output(store: "ObjectStore", manifest: Manifest) -> dict[str, Any]:
    """Describe an output and its files, for programs."""
    output = manifest.recipe.output
    parts = [{"path": _locate(store, each), **asdict(each)} for each in manifest.parts]
    return {**asdict(output), "rows": manifest.rows, "parts": parts}


def _locate(store: "ObjectStore", part: Part) -> str:
    return str(store.folder / part.key) if store.folder else f"{store.url}/{part.key}"


def _export(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.selections.stage.chosen_files import export_round
    from dino_assets.store.commits.listing import export_files, find_outputs

    folder = expand_path(options.to).absolute()
    store = open_store_here(settings)
    refuse_sources(store, folder)
    drop = options.drop and find_output_name(store, options.asset, options.drop)
    _warn_of_caveats(find_outputs(store, options.asset, drop, space=options.space))
    if options.asset == "selections" and drop:
        paths = export_round(
            store,
            drop,
            folder=folder,
            space=options.space,
            say=lambda line: say(line, to=sys.stderr),
        )
    else:
        paths = export_files(store, options.asset, drop, folder=folder, space=options.space)
    for path in paths:
        write_out(str(path))
    return 0


def _warn_of_caveats(outputs: Iterable[Manifest]) -> None:
    """Print the caveats of outputs on stderr; programs read the paths on stdout."""
    for caveat in dict.fromkeys(manifest.facts.get("caveat") for manifest in outputs):
        if caveat:
            say(f"note: {spell_caveat(caveat)}", to=sys.stderr)


def _collect(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.store.objects import describe_missing_store
    from dino_assets.store.upkeep.collecting import collect

    store = open_store_here(settings, may_be_new=True)
    if not store.is_there and not options.json:
        say(describe_missing_store(store))
    done = collect(store, is_dry_run=options.dry_run)
    if options.json:
        write_json(asdict(done))
        return 0
    verb = "would delete" if options.dry_run else "deleted"
    say(
        f"{verb} {count_of(len(done.parts), 'part')} ({done.bytes / 1e6:.1f} MB), "
        f"{count_of(len(done.receipts), 'receipt')}, "
        f"{count_of(len(done.staging), 'staging file')}; kept {count_of(done.kept_parts, 'part')}"
    )
    return 0
