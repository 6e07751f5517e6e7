"""Command line flags, made from a record of settings."""

import argparse

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
    """Add the flag ``--json`` to a command that lists or reports."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
