"""A load on the embedding service from the command line."""

import argparse
import textwrap
from collections.abc import Callable

from dino_assets.settings.records import Settings

MOST_SECONDS, MOST_CLIENTS, MOST_LOADS = 600, 64, 8
DRAWN_PX = (1024, 768)  # one tile

_HELP = """
    Measure a running embedding service: pictures per second, waits, refusals, and /health meanwhile.

    Sends pictures for some seconds by each number of clients, one load after the other. Every upload
    differs by a few bytes behind its end, so each is computed. A client that is refused with 503 waits
    as long as it is told to. What this makes in the store is deleted in the end; audit records stay.
"""
_EXAMPLES = """
    examples:
      dino-assets bench-serve http://127.0.0.1:8000
      dino-assets bench-serve :8000 --clients 1,8,32 --seconds 60
      dino-assets bench-serve https://embed.example.org --remote --key @key.txt --picture *.JPG

    exit code: 0 measured; 1 the service does not answer, is not ready or refuses, or some uploads
    failed; 2 wrong usage; 130 interrupted (what was made is deleted all the same)
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``bench-serve``."""
    bench = commands.add_parser(
        "bench-serve",
        help="measure a running embedding service",
        description=textwrap.dedent(_HELP),
        epilog=textwrap.dedent(_EXAMPLES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument(
        "url", metavar="URL", help="its address; `:8000` is this machine's port 8000"
    )
    bench.add_argument(
        "--seconds",
        type=_within(MOST_SECONDS),
        default=30,
        metavar="N",
        help=f"of each load, at most {MOST_SECONDS} (default: 30)",
    )
    bench.add_argument(
        "--clients",
        type=_read_clients,
        default=(1, 8),
        metavar="N,N",
        help=f"how many at once, a load for each number; at most {MOST_CLIENTS} (default: 1,8)",
    )
    bench.add_argument(
        "--picture",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="pictures to send, each as often as the others (default: a drawn one of "
        f"{DRAWN_PX[0]} × {DRAWN_PX[1]} px, one tile)",
    )
    bench.add_argument(
        "--key", default="", metavar="KEY", help="an API key; @FILE reads it from a file"
    )
    bench.add_argument(
        "--remote",
        action="store_true",
        help="load another machine than this one; without it that is refused",
    )
    bench.add_argument("--json", action="store_true", help="print the figures as JSON")
    bench.set_defaults(run=_bench)


def _within(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text) if text.isdecimal() else 0
        if not 1 <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to {most}")
        return value

    return read


def _read_clients(text: str) -> tuple[int, ...]:
    numbers = tuple(map(_within(MOST_CLIENTS), text.split(",")))
    if len(numbers) > MOST_LOADS:
        raise argparse.ArgumentTypeError(f"{len(numbers)} loads; at most {MOST_LOADS}")
    return numbers


def _bench(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.cli.serving_load import run_loads

    return run_loads(options)
