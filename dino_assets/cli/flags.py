"""Command line flags, made from a record of settings."""

import argparse

from dino_assets.settings.described import Setting, list_settings


def add_flags(parser: argparse.ArgumentParser, record: type) -> None:
    """Add a flag per field; the parser must leave out flags that are not given, so the record's defaults hold."""
    for setting in list_settings(record):
        meaning = f"{setting.meaning.rstrip('.')} (default: {_show_default(setting)})"
        meaning = meaning.replace("%", "%%")
        if setting.type is bool:
            parser.add_argument(setting.flag, dest=setting.name, action="store_true", help=meaning)
            continue
        metavar = {int: "N", float: "SHARE"}.get(
            setting.type, "NAME" if setting.is_list else "WORD"
        )
        parser.add_argument(
            setting.flag,
            dest=setting.name,
            type=setting.type,
            metavar=metavar,
            # The flag of a list is repeated for each value.
            action="append" if setting.is_list else "store",
            help=meaning,
        )


def _show_default(setting: Setting) -> str:
    if setting.type is bool:
        return "yes" if setting.default else "no"
    return "all" if setting.is_list and not setting.default else str(setting.default)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the flag ``--json`` of commands that list or report."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
