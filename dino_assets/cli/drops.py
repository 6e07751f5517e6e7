"""Commands for drops: register, list, tag, retire, restore and report."""

import argparse
from collections.abc import Iterator
from dataclasses import asdict

from dino_assets.cli.drop_list import list_drops
from dino_assets.cli.flags import add_json
from dino_assets.cli.registering import (
    find_output_name,
    open_store_here,
    register_here,
)
from dino_assets.cli.terminal import name_command, say, write_json
from dino_assets.counting import count_of
from dino_assets.drops.records import Drop
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands ``drops …``."""
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
        help="where the photographs are (default: the current source of a registered drop, else the "
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
    boxes = register.add_mutually_exclusive_group()
    boxes.add_argument(
        "--boxes",
        metavar="FILE",
        help="boxes of a detector, each of which becomes a tile: a COCO or MegaDetector JSON file, or a YOLO "
        "folder (default: the drop's current boxes, else boxes.json in its folder, else a grid)",
    )
    boxes.add_argument(
        "--no-boxes", action="store_true", help="cut the drop's photographs by a grid again"
    )
    register.add_argument(
        "--least-score",
        type=float,
        metavar="SCORE",
        help="leave out boxes with a score below this value, 0 to 1 (default: the drop's current value, else "
        "0)",
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


def _register(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.drops.boxes.reading import read_boxes
    from dino_assets.drops.duplicates import warn_of_duplicates
    from dino_assets.drops.stored_boxes import BoxRequest

    # A file that cannot be used is refused before the photographs are listed.
    request = BoxRequest(
        read_boxes(expand_path(options.boxes)) if options.boxes else None,
        options.least_score,
        is_removal=options.no_boxes,
    )
    registered = register_here(
        settings,
        options.name,
        source=options.source,
        may_replace=options.replace,
        tags=options.tag,
        boxes=request,
    )
    drop = registered.drop
    verb = "registered" if registered.is_new else "already registered"
    renamed = f" (from {drop.original_name!r})" if drop.original_name != drop.name else ""
    say(f"{drop.name}{renamed}: {verb}, {drop.source}")
    for line in _describe_boxes(settings, drop):
        say(line)
    if registered.doubt:
        say(f"note: {registered.doubt}")
    if registered.lacking:
        say(f"not in the drop's images yet: {registered.lacking}")
    if warning := warn_of_duplicates(open_store_here(settings), drop):
        say(f"note: {warning}")
    say(f"next: {name_command()} run {drop.name}")
    return 0


def _describe_boxes(settings: Settings, drop: Drop) -> Iterator[str]:
    """Describe a drop's boxes, and what is wrong with the unusable boxes of its file."""
    from dino_assets.drops.stored_boxes import find_boxes

    if not drop.boxes or (stored := find_boxes(open_store_here(settings), drop.name)) is None:
        return
    least = stored.settings.least_score
    limit = f", boxes with a score below {least:g} are left out" if least else ""
    pictures = count_of(stored.pictures, "picture")
    yield f"boxes: {count_of(len(stored), 'box', 'boxes')} in {pictures} ({stored.format}){limit}"
    if faults := stored.faults.describe():
        yield f"note: in the file with boxes: {faults}"


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
