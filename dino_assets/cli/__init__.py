"""The command line program ``dino-assets``: arguments, commands, exit codes."""

import argparse
import atexit
import errno
import gc
import logging
import os
import sys
from collections.abc import Sequence
from functools import cache
from io import TextIOWrapper

from dino_assets import __version__
from dino_assets.cli import (
    attention,
    checkpoints,
    completion,
    curve,
    drops,
    duplicates,
    embedding,
    examples,
    exporting,
    finding,
    heat_map,
    labels,
    model_check,
    outputs,
    probing,
    prototypes,
    rounds,
    selecting,
    serving,
    serving_bench,
    setup,
    status,
    studio,
    tiles,
    verifying,
)
from dino_assets.cli.parsing import CommandParser
from dino_assets.cli.run import command as run
from dino_assets.cli.terminal import say
from dino_assets.errors import DinoAssetsError, public_name
from dino_assets.settings.records import describe_unknown

_ADVICE = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT), ". Free some space, or name a path on another disk."
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS), ". Make it writable, or name another path."
    ),
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EEXIST, errno.EISDIR),
        ". Name another path, or move away the file or folder that is there.",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    The status is 0 for success, 1 for a failure with a message, and 130 for an interruption. Some commands
    have further ones, which their help names. Wrong usage raises SystemExit with status 2.
    """
    return _run(make_parser().parse_args(arguments))


def fetcher_main(arguments: Sequence[str] | None = None) -> int:
    """Run the program ``dinov3-fetcher``: it is ``dino-assets fetch`` with other defaults."""
    parser = CommandParser(
        prog="dinov3-fetcher", description="Fetch a DINOv3 or DINOv2 checkpoint to this machine."
    )
    checkpoints.add_fetch_arguments(parser)
    parser.set_defaults(run=checkpoints.run_fetcher)
    return _run(parser.parse_args(arguments))


@cache
def _end_quickly() -> None:
    """Skip the garbage collection of all imported modules when the process ends.

    This collection would take 0.6 s of CPU with Dagster, after the last line is printed.
    """
    atexit.register(gc.freeze)


def _run(options: argparse.Namespace) -> int:
    _end_quickly()
    # Imported here, since `--help` does not need it. For the same reason, commands import in their functions.
    from dino_assets.settings.environment import load_settings

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        # Dagster lowers the level of our loggers for its own log; the terminal shows warnings only.
        handler.setLevel(logging.WARNING)
    # The terminal's encoding may not have all characters of a folder's name.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        settings = load_settings()
        warning = describe_unknown(settings)
        if warning and not getattr(options, "says_unknown", False):
            say(f"warning: {warning}", to=sys.stderr)
        return int(options.run(options, settings))
    except DinoAssetsError as err:
        say(f"{public_name(err)}: {err}", to=sys.stderr)
        return 1
    except ModuleNotFoundError as err:
        if (err.name or "").partition(".")[0] != "dagster":
            raise
        say(
            "Dagster is not installed here, and this command needs it. The container image of the service "
            "can only run `serve` and `fetch`. For other commands, install the whole package.",
            to=sys.stderr,
        )
        return 1
    except BrokenPipeError:  # `dino-assets … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as err:
        where = f": {err.filename!r}" if err.filename else ""
        advice = _ADVICE.get(err.errno or 0, "")
        say(f"{type(err).__name__}: {err.strerror or err}{where}{advice}", to=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("Interrupted. Finished work is kept; run the command again to continue.", to=sys.stderr)
        return 130


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    parser = CommandParser(
        prog="dino-assets",
        description="Choose the few tiles of drone flights that are worth labelling.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    # Without a command, the program prints what exists here and what to do next.
    parser.set_defaults(run=status.introduce)
    commands = parser.add_subparsers(metavar="COMMAND")
    for group in (
        status,
        setup,
        run,
        checkpoints,
        model_check,
        drops,
        selecting,
        rounds,
        labels,
        finding,
        prototypes,
        heat_map,
        probing,
        duplicates,
        curve,
        tiles,
        embedding,
        attention,
        exporting,
        studio,
        serving,
        serving_bench,
        outputs,
        verifying,
        completion,
    ):
        group.add_commands(commands)
    examples.add_examples(parser)
    return parser
