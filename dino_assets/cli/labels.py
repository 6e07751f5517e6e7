"""The commands ``labels …``: export a round for labelling, import labels, list them, freeze a version."""

import argparse
import sys
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from dino_assets.cli.flags import add_json
from dino_assets.cli.registering import open_store_here, refuse_sources
from dino_assets.cli.terminal import name_command, say, write_json, write_out
from dino_assets.counting import count_of
from dino_assets.labels.export_settings import OUT_FORMATS, LabelFormat
from dino_assets.labels.version_settings import VersionSettings
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path

if TYPE_CHECKING:
    from dino_assets.labels.stage.importing import ImportRecord
    from dino_assets.store.objects import ObjectStore

_SHOWN = 10


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands ``labels …``."""
    labels = commands.add_parser(
        "labels", help="write a round for labelling programs, and read labels back"
    ).add_subparsers(required=True, metavar="ACTION")
    _add_export(labels)
    _add_import(labels)
    status = labels.add_parser(
        "status", help="count labels, and list conflicts, imports and versions"
    )
    add_json(status)
    status.set_defaults(run=_status)
    _add_freeze(labels)


def _add_export(labels: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    export = labels.add_parser(
        "export", help="write a round's crops and files for labelling programs to a folder"
    )
    export.add_argument("round", metavar="ROUND", help="name or number, such as round-0001 or 1")
    _add_folder(export)
    export.add_argument(
        "--format",
        action="append",
        default=[],
        choices=OUT_FORMATS,
        help="write only this format; may be repeated (default: all)",
    )
    export.add_argument(
        "--space", metavar="ID", help="the space of the round, if there are several"
    )
    export.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="NAME",
        help="a class to offer to the labelling team besides those of the labels; may be repeated",
    )
    export.add_argument(
        "--image-url",
        default="",
        metavar="URL",
        help="the address of the folder images/ for Label Studio, such as s3://bucket/round-1/images "
        "(default: its route for local files)",
    )
    export.add_argument(
        "--no-suggestions",
        action="store_true",
        help="leave out the classes that the probe, or else the prototypes, suggest",
    )
    export.set_defaults(run=_export)


def _add_import(labels: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    importing = labels.add_parser(
        "import", help="read labels from a file, a zip file or a folder of a labelling program"
    )
    importing.add_argument("path", metavar="PATH", help="a file, a .zip or a folder")
    importing.add_argument(
        "--format",
        choices=get_args(LabelFormat),
        help="the format to read, if a folder has several (default: recognised)",
    )
    importing.add_argument(
        "--by", default="", metavar="NAME", help="who labelled (default: the name of the format)"
    )
    importing.add_argument(
        "--round",
        metavar="ROUND",
        help="the round that asked for the labels (default: the one that chose the tile)",
    )
    importing.add_argument("--space", metavar="ID", help="the space of ROUND, if there are several")
    add_json(importing)
    importing.set_defaults(run=_import)


def _add_freeze(labels: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    freeze = labels.add_parser(
        "freeze", help="write all labels with pictures as a folder that others can cite and load"
    )
    _add_folder(freeze)
    freeze.add_argument(
        "--licence",
        required=True,
        metavar="TEXT",
        help="the licence of the data, such as CC-BY-4.0",
    )
    freeze.add_argument(
        "--title", default="", metavar="TEXT", help="the title (default: the folder's name)"
    )
    freeze.add_argument("--creator", default="", metavar="NAME", help="who publishes the labels")
    freeze.add_argument("--url", default="", metavar="URL", help="where the labels are published")
    freeze.set_defaults(run=_freeze)


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="where to write; created if needed",
    )


def _export(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.labels.stage.exporting import export_labels
    from dino_assets.labels.stage.round_files import make_export_settings
    from dino_assets.probes.stage.suggesting import read_suggestions
    from dino_assets.selections.rounds import name_round

    folder = expand_path(options.to).absolute()
    store = open_store_here(settings)
    refuse_sources(store, folder)
    name = name_round(int(options.round)) if options.round.isdecimal() else options.round
    paths = export_labels(
        store,
        name,
        folder=folder,
        space=options.space,
        settings=make_export_settings(
            formats=options.format, image_url=options.image_url, classes=options.classes
        ),
        suggest=None if options.no_suggestions else read_suggestions,
        say=lambda line: say(line, to=sys.stderr),
    )
    for path in paths:
        write_out(str(path))
    return 0


def _import(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.labels.stage.importing import import_labels
    from dino_assets.selections.stage.listing import find_round
    from dino_assets.store.commits.listing import find_outputs

    store = open_store_here(settings)
    round_name = None
    if options.round:
        output = find_round(store, options.round, space=options.space)
        find_outputs(store, "selections", output.drop, space=output.space)
        round_name = f"{output.space}/{output.drop}"
    report = import_labels(
        store,
        expand_path(options.path),
        by=options.by,
        format=options.format,
        round_name=round_name,
        now=datetime.now(UTC),
    )
    if options.json:
        write_json({**asdict(report.record), "new": report.new})
        return 0
    record = report.record
    again = "" if report.new == record.answers else f", {record.answers - report.new} read before"
    say(f"{_clean(record.source)}: {count_of(record.answers, 'label')} by {record.by}{again}")
    for name, count in record.classes.items():
        say(f"  {name}: {count}")
    if record.unlabelled:
        say(f"without a class: {count_of(record.unlabelled, 'picture or row', 'pictures or rows')}")
    if record.repeated:
        say(f"said again: {count_of(record.repeated, 'row')}")
    if record.unmatched:
        _show_unmatched(record)
    if report.new:
        say(f"next: {name_command()} run --select learn")
    return 0


def _show_unmatched(record: "ImportRecord") -> None:
    reasons = Counter(row.reason for row in record.unmatched)
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    say(f"unmatched: {count_of(len(record.unmatched), 'row')} became no label ({counts})")
    for row in record.unmatched[:_SHOWN]:
        words = [row.where, row.picture, row.reason, row.detail]
        say("  " + "  ".join(_clean(word) for word in words if word))
    if len(record.unmatched) > _SHOWN:
        more = len(record.unmatched) - _SHOWN
        say(f"  and {more} more. To list all: {name_command()} labels status --json")


def _clean(text: str) -> str:
    """Make a text of a file printable: it comes from outside, and could hold commands for the terminal."""
    from dino_assets.images.report.wording import clean

    return clean(text)


def _status(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.labels.merging import merge_answers
    from dino_assets.labels.stage.answers import read_answers
    from dino_assets.labels.stage.importing import read_imports

    store = open_store_here(settings, may_be_new=True)
    merged = merge_answers(answer for stored in read_answers(store) for answer in stored.answers)
    imports = list(read_imports(store))
    versions = _list_versions(store)
    counts = {
        name: dict(sorted(Counter(getattr(label, field) for label in merged.labels).items()))
        for name, field in (("classes", "class_name"), ("levels", "level"), ("people", "by"))
    }
    if options.json:
        conflicts = [asdict(each) for each in merged.conflicts]
        write_json({
            "labels": len(merged.labels),
            **counts,
            "conflicts": conflicts,
            "imports": [asdict(each) for each in imports],
            "versions": versions,
        })  # fmt: skip
        return 0
    if not merged.labels and not merged.conflicts and not imports:
        say(f"no labels yet. To read some: {name_command()} labels import PATH")
        return 0
    say(f"{count_of(len(merged.labels), 'label')}, {count_of(len(merged.conflicts), 'conflict')}")
    for name, of_name in counts.items():
        words = ", ".join(f"{value} {count:,}" for value, count in of_name.items())
        say(f"  {name}: {words or 'none'}")
    for conflict in merged.conflicts[:_SHOWN]:
        target = conflict.target
        classes = ", ".join(f"{name} ({' '.join(by)})" for name, by in conflict.classes.items())
        say(f"  conflict: {target.tile_id or target.path}: {classes}")
    for record in imports:
        say(
            f"  import {record.at:%Y-%m-%d %H:%M} {_clean(record.source)} by {record.by}: {record.answers:,} labels, "
            f"{len(record.unmatched):,} unmatched"
        )
    for each in versions:
        say(
            f"  version {each['version']}: {each['title']}, {each['licence']}, "
            f"{count_of(each['labels'], 'label')}"
        )
    return 0


def _list_versions(store: "ObjectStore") -> list[dict[str, Any]]:
    """List the labels versions that the store keeps, by id: title, licence and number of labels."""
    from dino_assets.store.commits.reading import open_table

    return [
        {
            "version": manifest.recipe.output.drop,
            **{name: manifest.recipe.config[name] for name in ("title", "licence")},
            "labels": manifest.facts["labels"],
        }
        for manifest in open_table(store, "label_versions").manifests
    ]


def _freeze(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.drops.registry import DropReader
    from dino_assets.drops.sources.opening import open_source
    from dino_assets.drops.sources.source import Source
    from dino_assets.labels.stage.versions import write_version

    folder = expand_path(options.to).absolute()
    store = open_store_here(settings)
    refuse_sources(store, folder)
    read_drop = DropReader(store)

    def open_drop(name: str) -> Source:
        return open_source(read_drop(name).source, root=settings.root)

    written = write_version(
        store,
        folder,
        VersionSettings(
            options.title or folder.name, options.licence, options.creator, options.url
        ),
        open_source=open_drop,
        say=lambda line: say(line, to=sys.stderr),
    )
    say(f"{folder}: version {written.version}, {count_of(written.labels, 'label')}")
    if written.conflicts:
        say(f"without those of {count_of(written.conflicts, 'target')} on which people disagree")
    if written.without_picture:
        say(f"without a picture: {count_of(written.without_picture, 'label')}")
    return 0
