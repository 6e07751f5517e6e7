"""The command ``completion``: a script for the shell, made from the parser."""

import argparse

from dino_assets.cli.terminal import write_out
from dino_assets.errors import MissingExtraError
from dino_assets.settings.records import Settings

SHELLS = ("bash", "zsh", "tcsh")


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``completion``."""
    completion = commands.add_parser(
        "completion",
        help="print a script with which the shell completes commands and options",
        description="Print a script with which the shell completes commands and options. Save it where your "
        "shell looks for completions, then open a new terminal.",
    )
    completion.add_argument("shell", choices=SHELLS, help="name of the shell")
    completion.set_defaults(run=_print_completion)


def _print_completion(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.cli import make_parser

    try:
        import shtab
    except ImportError as err:
        raise MissingExtraError("Shell completion", extra="completion") from err
    write_out(shtab.complete(make_parser(), options.shell))
    return 0
