"""``dino-assets``: argument → call → exit code."""

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
    drops,
    embedding,
    exporting,
    model_check,
    outputs,
    rounds,
    serving,
    serving_bench,
    setup,
    tiles,
)
from dino_assets.cli.parsing import CommandParser
from dino_assets.cli.run import command as run
from dino_assets.cli.terminal import say
from dino_assets.errors import DinoAssetsError, public_name
from dino_assets.settings.records import describe_unknown

_ADVICE = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT), ". Free some space, or name a place on another disk."
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS), ". Make it writable, or name another place."
    ),
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EEXIST, errno.EISDIR),
        ". Name another place, or move away what is there.",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 is success, 1 a failure with a sentence, 2 a misuse."""
    return _run(make_parser().parse_args(arguments))


def fetcher_main(arguments: Sequence[str] | None = None) -> int:
    """``dinov3-fetcher``: the documents' name for ``dino-assets fetch``."""
    parser = CommandParser(
        prog="dinov3-fetcher", description="Bring a DINOv3 or DINOv2 checkpoint to this machine."
    )
    checkpoints.add_fetch_arguments(parser)
    parser.set_defaults(run=checkpoints.run_fetcher)
    return _run(parser.parse_args(arguments))


@cache
def _end_quickly() -> None:
    """Spare the end of the process a search of all that was imported for garbage, several times over.

    With Dagster that is 0.6 s of CPU after the last line is printed.
    """
    atexit.register(gc.freeze)


def _run(options: argparse.Namespace) -> int:
    _end_quickly()
    # Here, and whatever computes or stores in the commands' own functions: `--help` needs none of it.
    from dino_assets.settings.environment import load_settings

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        # Dagster turns our loggers up for its own log: that is not for the terminal.
        handler.setLevel(logging.WARNING)
    # A folder's name need not fit the terminal's encoding.
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
            "Dagster is not installed here, and this command needs the lineage. An image of the service "
            "has only what serves (`serve`, `fetch`); install the whole package for the rest.",
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
        say("Interrupted. What is finished is kept; run it again to go on.", to=sys.stderr)
        return 130


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    parser = CommandParser(
        prog="dino-assets", description="From drone flights to the few tiles worth labelling."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (
        setup,
        run,
        checkpoints,
        model_check,
        drops,
        rounds,
        tiles,
        embedding,
        attention,
        exporting,
        serving,
        serving_bench,
        outputs,
    ):
        group.add_commands(commands)
    return parser
