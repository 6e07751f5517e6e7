"""Command line flags: made from a record of settings, or shared by several commands."""

import argparse
from typing import get_args

from dino_assets.embeddings.space import EmbeddingColumn
from dino_assets.settings.described import Setting, list_settings


def add_flags(parser: argparse.ArgumentParser, record: type) -> None:
    """Add a flag for each field of a record of settings.

    The parser must have ``argument_default=SUPPRESS``. Then a flag that is not given has no value, and the
    record's default is used.
    """
    for setting in list_settings(record):
        meaning = f"{setting.meaning.rstrip('.')} (default: {_show_default(setting)})"
        meaning = meaning.replace("%", "%%")
        if setting.type is bool:
            parser.add_argument(setting.flag, dest=setting.name, action="store_true", help=meaning)
            continue
        metavar = {int: "N", float: "SHARE"}.get(
            setting.type, "NAME" if setting.is_list else "WORD"
        )
        if setting.is_map:
            metavar = "NAME=N" if setting.type is int else "NAME=VALUE"
        parser.add_argument(
            setting.flag,
            dest=setting.name,
            type=str if setting.is_map else setting.type,
            metavar=metavar,
            # The flag of a list or mapping is repeated for each value.
            action="append" if setting.is_list or setting.is_map else "store",
            help=meaning,
        )


def _show_default(setting: Setting) -> str:
    if setting.type is bool:
        return "yes" if setting.default else "no"
    if setting.is_map and not setting.default:
        return "none"
    return "all" if setting.is_list and not setting.default else str(setting.default)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the flag ``--json`` to a command that lists or reports."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def add_pool_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which tiles a command compares, and by which vector."""
    parser.add_argument(
        "--drop",
        action="append",
        default=[],
        metavar="NAME",
        help="only the tiles of this drop; may be repeated (default: all drops that are not retired)",
    )
    parser.add_argument(
        "--column",
        choices=get_args(EmbeddingColumn),
        default="cls",
        help="the vector to compare (default: cls)",
    )
    parser.add_argument("--space", metavar="ID", help="the space, if there are several")
