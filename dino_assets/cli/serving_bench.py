"""A load on the embedding service from the command line."""

import argparse
import json
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from dino_assets.cli.terminal import LiveLine, quote_words, say, write_out
from dino_assets.errors import ConfigError
from dino_assets.serving.bench.figures import Figures, format_figures
from dino_assets.serving.bench.flood import Answer, Picture
from dino_assets.serving.bench.session import (
    check_address,
    delete_embeddings,
    look_at_service,
    run_load,
    try_upload,
)
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path

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
    named = f"127.0.0.1{options.url}" if options.url.startswith(":") else options.url
    url = check_address(named, may_be_remote=options.remote)
    key, pictures = _read_key(options.key), _read_pictures(options.picture)
    about = look_at_service(url)
    made: dict[str, None] = {}
    steps: list[Figures] = []
    left: list[str] = []
    try:
        for picture in pictures:  # each is tried: one that is refused would fail in every load
            made[try_upload(url, picture, key=key)] = None
        for clients in options.clients:
            with_progress = _Progress(clients, options.seconds)
            steps.append(
                run_load(
                    url,
                    pictures,
                    clients=clients,
                    seconds=options.seconds,
                    key=key,
                    keep_id=lambda embedding_id: made.update({embedding_id: None}),
                    tick=with_progress.show,
                )
            )
            with_progress.end()
    finally:
        if made:
            left = delete_embeddings(url, made, key=key)
            _tell_deleted(url, len(made), left, has_key=bool(key))
    if options.json:
        service = {"url": url, **about, "pictures": [each.name for each in pictures]}
        loads = [asdict(each) for each in steps]
        counts = {"made": len(made), "left": left}
        write_out(json.dumps({**service, "loads": loads, **counts}, ensure_ascii=False))
    else:
        say(
            f"{about['model']}, {about['engine'] or about['device']}, storing in {about['storage']}:"
        )
        say(format_figures(steps))
    return int(any(each.failed or each.unanswered or not each.pictures for each in steps))


def _read_key(given: str) -> str:
    key = given
    if given.startswith("@"):
        key = expand_path(given[1:]).read_text(encoding="utf-8").strip()
    if not key.isascii() or not key.isprintable() or (given and not key):
        raise ConfigError("the key has characters that no key has, or none at all", setting="key")
    return key


def _read_pictures(files: Sequence[str]) -> list[Picture]:
    if not files:
        from dino_assets.drawing.photographs import draw_photo

        width, height = DRAWN_PX
        return [Picture("drawn.jpg", draw_photo(0, width=width, height=height))]
    paths = [expand_path(file) for file in files]
    return [Picture(_clean(path.name), path.read_bytes()) for path in paths]


def _clean(name: str) -> str:
    """A file's name for a form's header."""
    return "".join(each if each.isalnum() or each in "._- " else "_" for each in name)


def _tell_deleted(url: str, made: int, left: Sequence[str], *, has_key: bool) -> None:
    if not left:
        say(f"deleted the {made:,} embeddings that this made", to=sys.stderr)
        return
    with tempfile.NamedTemporaryFile(
        "w", prefix="bench-serve-", suffix=".txt", delete=False, encoding="ascii"
    ) as file:
        file.writelines(f"{each}\n" for each in left)
    auth = ["-H", "Authorization: Bearer KEY"] if has_key else []
    command = quote_words(["curl", "-fsS", "-X", "DELETE", *auth, f"{url}/embeddings/ID"])
    say(
        f"{len(left):,} of {made:,} embeddings that this made are left in the store: the service did not "
        "delete them; with keys, that needs one with the scope delete. Their ids are in a file:\n"
        f"  xargs -I ID {command} < {quote_words([file.name])}",
        to=sys.stderr,
    )


class _Progress:
    """What a person sees during a load: a line written over, or one at its beginning."""

    def __init__(self, clients: int, seconds: int) -> None:
        self._what = f"{clients} client{'s' if clients > 1 else ''}"
        self._seconds = seconds
        self._line = LiveLine(sys.stderr)
        if not self._line.is_possible:
            say(f"{self._what} for {seconds} s …", to=sys.stderr)

    def show(self, seconds: float, answers: Sequence[Answer]) -> None:
        """Show how far the load is."""
        embedded = sum(each.status == 200 for each in answers)
        refused = sum(each.is_refusal for each in answers)
        state: Any = f"{seconds:.0f} of {self._seconds} s"
        if seconds > self._seconds:
            state = "waiting for the last answers"
        self._line.show(f"{self._what}: {state}, {embedded} embedded, {refused} refused")

    def end(self) -> None:
        """Take the line away."""
        self._line.clear()
