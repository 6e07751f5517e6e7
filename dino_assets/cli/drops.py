"""Commands for drops, and the command ``select``, which chooses a round of tiles."""

import argparse
import sys
from dataclasses import asdict, replace

from dino_assets.cli.drop_list import list_drops
from dino_assets.cli.flags import add_flags, add_json
from dino_assets.cli.registering import (
    find_drop_name,
    find_output_name,
    open_store_here,
    register_here,
)
from dino_assets.cli.terminal import name_command, say, write_json
from dino_assets.cli.ui_events import report_round
from dino_assets.compute.settings import ComputeSettings
from dino_assets.counting import count_of
from dino_assets.errors import ConfigError
from dino_assets.selections.rounds import RoundSettings
from dino_assets.settings.records import Settings


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands ``drops …`` and ``select``."""
    drops = commands.add_parser("drops", help="register, list, tag, retire drops").add_subparsers(
        required=True, metavar="ACTION"
    )
    register = drops.add_parser(
        "register", help="register a drop under a name; for a registered drop, list its files again"
    )
    register.add_argument("name", metavar="NAME", help="name of the drop")
    register.add_argument(
        "--from",
        dest="source",
        metavar="PATH|CSV|URL",
        help="where the photographs are (default: the present source of a registered drop, else the "
        "folder NAME in the inbox)",
    )
    register.add_argument(
        "--replace",
        action="store_true",
        help="accept another source for a registered drop, because its photographs were moved there",
    )
    register.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="WORD",
        help="a tag, by which rounds and maps can select drops; may be repeated",
    )
    register.set_defaults(run=_register)
    listing = drops.add_parser("list", help="list all drops and their assets")
    listing.add_argument("--json", action="store_true", help="print JSON, a list of objects")
    listing.set_defaults(run=list_drops)
    tag = drops.add_parser("tag", help="add or remove tags, by which rounds and maps select drops")
    tag.add_argument("name", metavar="NAME", help="name of the drop")
    tag.add_argument("tags", nargs="*", metavar="WORD", help="a tag to add")
    tag.add_argument(
        "--remove",
        action="append",
        default=[],
        metavar="WORD",
        help="a tag to remove; may be repeated",
    )
    tag.set_defaults(run=_tag)
    retire = drops.add_parser(
        "retire", help="leave a drop out of future maps and rounds; its data is kept"
    )
    retire.add_argument("name", metavar="NAME", help="name of the drop")
    retire.set_defaults(run=_retire)
    restore = drops.add_parser("restore", help="use a retired drop again")
    restore.add_argument("name", metavar="NAME", help="name of the drop")
    restore.set_defaults(run=_restore)
    report = drops.add_parser("report", help="list problems of a drop's photographs")
    report.add_argument("name", metavar="NAME", help="name of the drop")
    add_json(report)
    report.set_defaults(run=_report)

    choose = commands.add_parser(
        "select",
        help="choose a round of tiles worth labelling, from all drops or some",
        description=(
            "Choose a round of tiles worth labelling. The strategies: herding takes, one after the other, "
            "the tile that represents most tiles which nothing chosen so far resembles. fps takes the "
            "farthest tile (most unlike the tiles chosen so far), so it finds rare objects and outliers "
            "first. herding+fps takes half by herding and half by fps. medoids is herding with plain "
            "distances. cluster groups similar tiles and takes the most central tiles (typical) of each "
            "group. hybrid takes central and farthest tiles of each group. random takes tiles at random. "
            "No tile of an earlier round is chosen again, but one that overlaps it may be: "
            "overlap on the ground is not taken into account yet."
        ),
        # An option that is not given gets its default from the stage, as in the asset.
        argument_default=argparse.SUPPRESS,
    )
    add_flags(choose, RoundSettings)
    choose.add_argument(
        "--tile-px",
        type=int,
        metavar="N",
        help="Side of the tiles whose embeddings are used, in pixels (default: 518 for DINOv2, 512 for "
        "DINOv3)",
    )
    choose.add_argument(
        "--replace",
        action="store_true",
        help="Choose the latest committed round again (default: committed rounds never change)",
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
        say(f"note: {registered.doubt}")
    if registered.lacking:
        say(f"not in the drop's images yet: {registered.lacking}")
    if warning := warn_of_duplicates(open_store_here(settings), drop):
        say(f"note: {warning}")
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
    say(f"{drop.name}: {verb}. Its data is kept; future maps and rounds leave it out")
    say(f"to use it again: {name_command()} drops restore {drop.name}")
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
    facts = table.manifest(name).facts
    if options.json:
        counts = {each: facts[each] for each in ("usable", "quarantined")}
        write_json({"drop": name, **counts, "findings": [asdict(each) for each in findings]})
        return 0
    for finding in findings:
        details = [finding.path, finding.other, finding.detail]
        say(make_printable(f"{finding.kind:<15} {'  '.join(filter(None, details))}"))
    say(
        f"{facts['usable']} usable, {facts['quarantined']} quarantined, {count_of(len(findings), 'finding')}"
    )
    say(f"to write the page {PAGE}: {name_command()} export images {name} --to FOLDER")
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

    values = {name: value for name, value in vars(options).items() if name != "run"}
    tile_px, may_replace = values.pop("tile_px", 0), values.pop("replace", False)
    round_settings = make_settings(**values)
    store = open_store_here(settings)
    round_settings = replace(
        round_settings, drops=tuple(find_drop_name(store, name) for name in round_settings.drops)
    )

    read_drop = DropReader(store)

    def open_drop(name: str) -> Source:
        return open_source(read_drop(name).source, root=settings.root)

    checkpoint = load_checkpoint(store)
    opened = open_round(
        SpacedTable(store, "embeddings"),
        open_table(store, "tiles"),
        checkpoint,
        ComputeSettings(),  # a space does not depend on the device; looking for one would load torch
        round_settings,
        open_source=open_drop,
        tile_px=tile_px,
        may_replace=may_replace,
    )
    if opened.has_other_settings:
        raise ConfigError(f"{opened.notice} To choose this round again, add --replace.")
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
        say("the pool and the settings are unchanged, so the new round equals the old one")
    if shortfall := committed.manifest.facts["shortfall"]:
        say(f"{opened.draft.recipe.output.drop} has fewer tiles than its budget: {shortfall}")
    return 0
