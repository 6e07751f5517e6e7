"""Drops, and rounds of tiles chosen from them."""

import argparse
import sys
from dataclasses import replace

from dino_assets.cli.drop_list import list_drops
from dino_assets.cli.flags import add_flags
from dino_assets.cli.registering import (
    find_drop_name,
    find_output_name,
    open_store_here,
    register_here,
)
from dino_assets.cli.terminal import name_command, say
from dino_assets.cli.ui_events import report_round
from dino_assets.compute.settings import ComputeSettings
from dino_assets.counting import count_of
from dino_assets.errors import ConfigError
from dino_assets.selections.rounds import RoundSettings
from dino_assets.settings.records import Settings


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``drops …`` and ``select``."""
    drops = commands.add_parser("drops", help="register, list, tag, retire drops").add_subparsers(
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
        help="where the pictures are; without it the folder NAME in the inbox, or where the drop was",
    )
    register.add_argument("--replace", action="store_true", help="the same pictures moved")
    register.add_argument(
        "--tag", action="append", default=[], metavar="WORD", help="a word to choose it by"
    )
    register.set_defaults(run=_register)
    listing = drops.add_parser("list", help="all drops and what is made of them")
    listing.add_argument("--json", action="store_true", help="as JSON, a list of objects")
    listing.set_defaults(run=list_drops)
    tag = drops.add_parser("tag", help="words that rounds and maps may choose a drop by")
    tag.add_argument("name", metavar="NAME")
    tag.add_argument("tags", nargs="*", metavar="WORD", help="to add")
    tag.add_argument("--remove", action="append", default=[], metavar="WORD", help="to take away")
    tag.set_defaults(run=_tag)
    retire = drops.add_parser(
        "retire", help="keep a drop, and leave it out of pools, maps and rounds"
    )
    retire.add_argument("name", metavar="NAME")
    retire.set_defaults(run=_retire)
    restore = drops.add_parser("restore", help="bring a retired drop back")
    restore.add_argument("name", metavar="NAME")
    restore.set_defaults(run=_restore)
    report = drops.add_parser("report", help="what is odd about a drop's pictures")
    report.add_argument("name", metavar="NAME")
    report.set_defaults(run=_report)

    choose = commands.add_parser(
        "select",
        help="choose a round of tiles worth labelling, from all drops or some",
        description=(
            "Choose a round of tiles worth labelling. hybrid groups like tiles into clusters and takes of "
            "each the central ones (typical of it) and the farthest ones (most unlike all that is chosen). "
            "cluster takes central ones alone, fps the farthest of the whole pool, which finds rare things "
            "and outliers first, random any. No tile of an earlier round is chosen again; a window that "
            "overlaps one may be, since ground is not counted yet."
        ),
        # What is not given is left to the stage, whose defaults the asset has too.
        argument_default=argparse.SUPPRESS,
    )
    add_flags(choose, RoundSettings)
    choose.add_argument(
        "--tile-px",
        type=int,
        metavar="N",
        help="Side of the tiles (default: the model family's own)",
    )
    choose.add_argument(
        "--replace",
        action="store_true",
        help="Choose a committed round anew, if it is the last (default: it stands)",
    )
    choose.set_defaults(run=_select)


def _register(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.drops.duplicates import warn_of_duplicates

    registered = register_here(
        settings,
        options.name,
        source=options.source,
        may_replace=options.replace,
        tags=options.tag,
    )
    drop = registered.drop
    verb = "registered" if registered.is_new else "already registered"
    renamed = f" (from {drop.original_name!r})" if drop.original_name != drop.name else ""
    say(f"{drop.name}{renamed}: {verb}, {drop.source}")
    if registered.doubt:
        say(f"mind: {registered.doubt}")
    if registered.lacking:
        say(f"to be taken in: {registered.lacking}")
    if warning := warn_of_duplicates(open_store_here(settings), drop):
        say(f"mind: {warning}")
    say(f"next: {name_command()} run {drop.name}")
    return 0


def _tag(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.drops.marks import tag_drop

    store = open_store_here(settings)
    drop, _ = tag_drop(store, options.name, options.tags, removed=options.remove)
    say(f"{drop.name}: {', '.join(drop.tags) or 'no tags'}")
    return 0


def _retire(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.defs.instance import open_instance
    from dino_assets.defs.partitions import remove_drop_key
    from dino_assets.drops.marks import set_retired

    drop, has_changed = set_retired(open_store_here(settings), options.name, True)
    with open_instance(settings.root) as instance:
        removed = remove_drop_key(instance, drop.name)
    verb = "retired" if has_changed or removed else "already retired"
    say(f"{drop.name}: {verb}. It is kept, and in no pool, map or round to come")
    say(f"to bring it back: {name_command()} drops restore {drop.name}")
    return 0


def _restore(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.defs.instance import open_instance
    from dino_assets.defs.partitions import add_drop_keys
    from dino_assets.drops.marks import set_retired

    drop, has_changed = set_retired(open_store_here(settings), options.name, False)
    with open_instance(settings.root) as instance:
        added = add_drop_keys(instance, [drop.name])
    verb = "restored" if has_changed or added else "not retired"
    say(f"{drop.name}: {verb}, {drop.source}")
    return 0


def _report(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.drawing.lettering import make_printable
    from dino_assets.images.report.making import PAGE
    from dino_assets.images.stage.judging import read_findings
    from dino_assets.store.commits.reading import open_table

    store = open_store_here(settings)
    name = find_output_name(store, "images", options.name)
    table = open_table(store, "images")
    findings = read_findings(table, name)
    for finding in findings:
        details = [finding.path, finding.other, finding.detail]
        say(make_printable(f"{finding.kind:<15} {'  '.join(filter(None, details))}"))
    facts = table.manifest(name).facts
    say(
        f"{facts['usable']} usable, {facts['quarantined']} quarantined, {count_of(len(findings), 'finding')}"
    )
    say(f"the page: {name_command()} export images {name} --to FOLDER writes {PAGE}")
    return 0


def _select(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.drops.registry import DropReader
    from dino_assets.drops.sources.opening import open_source
    from dino_assets.drops.sources.source import Source
    from dino_assets.selections.rounds import make_settings
    from dino_assets.selections.stage.describing import describe_round
    from dino_assets.selections.stage.opening import open_round
    from dino_assets.store.commits.reading import SpacedTable, open_table
    from dino_assets.store.commits.writing import commit
    from dino_assets.weights.stage import explain_other_model, load_checkpoint

    given = {name: value for name, value in vars(options).items() if name != "run"}
    tile_px, may_replace = given.pop("tile_px", 0), given.pop("replace", False)
    asked = make_settings(**given)
    store = open_store_here(settings)
    asked = replace(asked, drops=tuple(find_drop_name(store, called) for called in asked.drops))

    read_drop = DropReader(store)

    def open_drop(name: str) -> Source:
        return open_source(read_drop(name).source, root=settings.root)

    checkpoint = load_checkpoint(store)
    opened = open_round(
        SpacedTable(store, "embeddings"),
        open_table(store, "tiles"),
        checkpoint,
        ComputeSettings(),  # a space knows no device, and looking for one would load torch
        asked,
        open_source=open_drop,
        tile_px=tile_px,
        may_replace=may_replace,
    )
    if opened.has_other_settings:
        raise ConfigError(f"{opened.notice} --replace chooses it again.")
    if warning := explain_other_model(
        store, settings.model, settings.model_revision, root=settings.root
    ):
        say(f"WARNING: {warning}", to=sys.stderr)
    committed = commit(store, opened.draft)
    unmade = {"unmade": list(opened.unmade)} if opened.unmade else {}
    report_round(settings, store, committed, metadata=unmade)
    for line in describe_round(
        store,
        committed,
        model=checkpoint.model,
        open_source=open_drop,
        registered=opened.unmade,
        command=name_command(),
    ):
        say(line)
    if opened.notice:
        say(opened.notice)
    elif may_replace and committed.was_reused:
        say("nothing that it was chosen from has changed: chosen anew, it is the same round")
    if shortfall := committed.manifest.facts["shortfall"]:
        say(f"{opened.draft.recipe.output.drop} has fewer tiles than its budget: {shortfall}")
    return 0
