"""The command ``bench-serve``: measure a running embedding service."""

import argparse
import textwrap
from collections.abc import Callable

from dino_assets.settings.records import Settings

MOST_SECONDS, MOST_CLIENTS, MOST_LOADS = 600, 64, 8
DRAWN_PX = (1024, 768)  # one tile

_HELP = """
    Measure a running embedding service: pictures per second, waiting times, refusals, and how fast
    /health answers meanwhile.

    For each number of clients, pictures are sent for some seconds. Each upload gets a few bytes of its own
    after the end of the picture, so the service must compute every upload. A client that is refused with
    503 waits as long as the answer says. The new embeddings are deleted from the store at the end; audit
    records stay.
"""
_EXAMPLES = """
    examples:
      dino-assets bench-serve http://127.0.0.1:8000
      dino-assets bench-serve :8000 --clients 1,8,32 --seconds 60
      dino-assets bench-serve https://embed.example.org --remote --key @key.txt --picture *.JPG

    exit code: 0 measured; 1 the service does not answer, is not ready or refuses, or some uploads
    failed; 2 wrong usage; 130 interrupted (the new embeddings are deleted even then)
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``bench-serve``."""
    bench = commands.add_parser(
        "bench-serve",
        help="measure a running embedding service",
        description=textwrap.dedent(_HELP),
        epilog=textwrap.dedent(_EXAMPLES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument(
        "url", metavar="URL", help="address of the service; `:8000` means port 8000 of this machine"
    )
    bench.add_argument(
        "--seconds",
        type=_within(MOST_SECONDS),
        default=30,
        metavar="N",
        help=f"seconds for each number of clients, at most {MOST_SECONDS} (default: 30)",
    )
    bench.add_argument(
        "--clients",
        type=_read_clients,
        default=(1, 8),
        metavar="N,N",
        help="numbers of clients that send at the same time; each number is measured in turn, and is "
        f"at most {MOST_CLIENTS} (default: 1,8)",
    )
    bench.add_argument(
        "--picture",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="pictures to send, each equally often (default: a drawn one of "
        f"{DRAWN_PX[0]} × {DRAWN_PX[1]} px, one tile)",
    )
    bench.add_argument(
        "--key",
        default="",
        metavar="KEY",
        help="API key of the service; @FILE reads it from a file",
    )
    bench.add_argument(
        "--remote",
        action="store_true",
        help="allow measuring another machine, which puts load on it (default: refuse)",
    )
    bench.add_argument("--json", action="store_true", help="print the figures as JSON")
    bench.set_defaults(run=_bench)


def _within(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text) if text.isdecimal() else 0
        if not 1 <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {most}")
        return value

    return read


def _read_clients(text: str) -> tuple[int, ...]:
    numbers = tuple(map(_within(MOST_CLIENTS), text.split(",")))
    if len(numbers) > MOST_LOADS:
        raise argparse.ArgumentTypeError(
            f"{len(numbers)} numbers of clients are given; at most {MOST_LOADS} are allowed"
        )
    return numbers


def _bench(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.cli.serving_load import run_loads

    return run_loads(options, drawn_px=DRAWN_PX)
