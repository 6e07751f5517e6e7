"""Measurement of an embedding service under load, for the command ``bench-serve``."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dino_assets.cli.terminal import LiveLine, quote_words, say, write_out
from dino_assets.errors import ConfigError
from dino_assets.serving.bench.figures import Figures, format_figures
from dino_assets.serving.bench.flood import FloodAnswer, LoadPicture
from dino_assets.serving.bench.session import (
    check_address,
    delete_embeddings,
    look_at_service,
    run_load,
    try_upload,
)
from dino_assets.settings.urls import expand_path


def run_loads(options: argparse.Namespace, *, drawn_px: tuple[int, int]) -> int:
    """Measure the service with each number of clients, and print the figures; return the exit status.

    Raises:
        ServiceError: the service does not answer, or refuses.
        ConfigError: the address or the key is not valid.
    """
    named = f"127.0.0.1{options.url}" if options.url.startswith(":") else options.url
    url = check_address(named, may_be_remote=options.remote)
    key, pictures = _read_key(options.key), _read_pictures(options.picture, drawn_px)
    about = look_at_service(url)
    made: dict[str, None] = {}
    steps: list[Figures] = []
    left: list[str] = []
    try:
        for picture in pictures:  # try each once: a refused picture would fail in every load
            made[try_upload(url, picture, key=key)] = None
        for clients in options.clients:
            progress = _LoadProgress(clients, options.seconds)
            steps.append(
                run_load(
                    url,
                    pictures,
                    clients=clients,
                    seconds=options.seconds,
                    key=key,
                    keep_id=lambda embedding_id: made.update({embedding_id: None}),
                    tick=progress.show,
                )
            )
            progress.end()
    finally:
        if made:
            left = delete_embeddings(url, made, key=key)
            _report_deleted(url, len(made), left, has_key=bool(key))
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


def _read_key(option: str) -> str:
    key = option
    if option.startswith("@"):
        key = expand_path(option[1:]).read_text(encoding="utf-8").strip()
    if not key.isascii() or not key.isprintable() or (option and not key):
        raise ConfigError(
            "--key is empty, or has characters that are not printable ASCII. Check the key, or its file.",
            setting="key",
        )
    return key


def _read_pictures(files: Sequence[str], drawn_px: tuple[int, int]) -> list[LoadPicture]:
    if not files:
        from dino_assets.drawing.photographs import draw_photo

        width, height = drawn_px
        return [LoadPicture("drawn.jpg", draw_photo(0, width=width, height=height))]
    paths = [expand_path(file) for file in files]
    return [LoadPicture(_clean(path.name), path.read_bytes()) for path in paths]


def _clean(name: str) -> str:
    """Make a file's name safe for the header of a form."""
    return "".join(each if each.isalnum() or each in "._- " else "_" for each in name)


def _report_deleted(url: str, made: int, left: Sequence[str], *, has_key: bool) -> None:
    if not left:
        say(f"deleted the {made:,} new embeddings", to=sys.stderr)
        return
    with tempfile.NamedTemporaryFile(
        "w", prefix="bench-serve-", suffix=".txt", delete=False, encoding="ascii"
    ) as file:
        file.writelines(f"{each}\n" for each in left)
    auth = ["-H", "Authorization: Bearer KEY"] if has_key else []
    command = quote_words(["curl", "-fsS", "-X", "DELETE", *auth, f"{url}/embeddings/ID"])
    say(
        f"{len(left):,} of {made:,} new embeddings are left in the store: the service did not delete them. "
        "If the service has keys, deleting needs a key with the scope delete. To delete them later:\n"
        f"  xargs -I ID {command} < {quote_words([file.name])}",
        to=sys.stderr,
    )


class _LoadProgress:
    """Progress of one load: a line that is overwritten or, without a terminal, one line at the beginning."""

    def __init__(self, clients: int, seconds: int) -> None:
        self._what = f"{clients} client{'s' if clients > 1 else ''}"
        self._seconds = seconds
        self._line = LiveLine(sys.stderr)
        if not self._line.is_possible:
            say(f"{self._what} for {seconds} s …", to=sys.stderr)

    def show(self, seconds: float, answers: Sequence[FloodAnswer]) -> None:
        """Show how far the load is."""
        embedded = sum(each.status == 200 for each in answers)
        refused = sum(each.is_refusal for each in answers)
        state: Any = f"{seconds:.0f} of {self._seconds} s"
        if seconds > self._seconds:
            state = "waiting for the last answers"
        self._line.show(f"{self._what}: {state}, {embedded} embedded, {refused} refused")

    def end(self) -> None:
        """Clear the line."""
        self._line.clear()
