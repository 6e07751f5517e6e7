"""Output to a terminal: lines, progress bars, and commands written so that they can be pasted."""

import contextlib
import json
import logging
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from dino_assets.weights.hub.filling import Progress
from dino_assets.weights.hub.progress import ProgressLines

# A command in a sentence is in backticks or after a colon. Elsewhere the name means the program.
_COMMAND = re.compile(r"(`|: )dino-assets(?= [a-z])")


def say(text: str, *, to: TextIO | None = None) -> None:
    """Print a line for people immediately, with its commands spelled as this shell can run them."""
    print(name_commands(text), file=to or sys.stdout, flush=True)


def write_out(text: str) -> None:
    """Print a line for programs immediately, unchanged."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def write_json(value: object) -> None:
    """Print JSON for programs; arrays and tuples become lists, paths and times become strings."""
    write_out(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def name_commands(text: str, command: str | None = None) -> str:
    """Replace ``dino-assets`` in the commands of a text by what starts it in this shell, such as ``.venv/bin/dino-assets``.

    The texts come from modules that cannot see how the program was called.
    """
    if "dino-assets " not in text:
        return text
    called = command or name_command()
    return _COMMAND.sub(lambda match: match[1] + called, text)


def name_command(program: str | None = None) -> str:
    """Write the command that starts this program in this shell, with or without an activated environment."""
    called = Path(program or sys.argv[0])
    if called.parts[-2:] == ("cli", "__main__.py"):  # python -m dino_assets.cli
        return f"{_shorten(Path(sys.executable))} -m {__package__}"
    script = called if called.name == "dino-assets" else Path(sys.executable).parent / "dino-assets"
    return _shorten(script)


def quote_words(words: Iterable[str]) -> str:
    """Join words to a command line, quoted for a shell."""
    return shlex.join(words)


def _shorten(path: Path) -> str:
    """Write a path for the shell, relative if it is below the working directory."""
    whole, here = Path(os.path.abspath(path)), Path.cwd()  # noqa: PTH100 - links are not resolved
    if not whole.is_relative_to(here):
        return shlex.quote(str(whole))
    below = str(whole.relative_to(here))
    return shlex.quote(below if "/" in below else f"./{below}")


class _SayingHandler(logging.Handler):
    """Prints log records as lines on stderr, since stdout may be piped to a program."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        say(record.getMessage(), to=sys.stderr)


@contextlib.contextmanager
def showing_log(name: str, handler: logging.Handler | None = None) -> Iterator[None]:
    """Show a logger's records from INFO on while the block runs, by default on stderr."""
    logger, handler = logging.getLogger(name), handler or _SayingHandler(logging.INFO)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class LiveLine:
    """A line of a terminal that is overwritten; without a terminal nothing is shown."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_shown = False
        self.is_possible = stream.isatty()

    def show(self, text: str) -> None:
        """Replace the line's text."""
        if self.is_possible:
            columns = shutil.get_terminal_size().columns
            self._write("\r\x1b[2K" + text[: columns - 1])
            self.is_shown = True

    def clear(self) -> None:
        """Clear the line, before other lines are printed."""
        if self.is_shown:
            self._write("\r\x1b[2K")
            self.is_shown = False

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a closed terminal must not end a run
            self._stream.write(text)
            self._stream.flush()


@contextlib.contextmanager
def showing_progress(what: str) -> Iterator[Progress]:
    """Show progress on stderr: a bar on a terminal, otherwise lines from time to time."""
    if not sys.stderr.isatty():
        yield ProgressLines(lambda line: say(line, to=sys.stderr), what=what)
        return
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    bars: list[tqdm[None]] = []

    def progress(done: int, total: int) -> None:
        if not bars:  # bytes that were here before must not count for the speed
            bars.append(tqdm(desc=what, total=total, initial=done, unit="B", unit_scale=True))
        bars[0].update(done - bars[0].n)

    tqdm.monitor_interval = 0  # no monitoring thread for one bar
    with logging_redirect_tqdm():  # warnings are printed above the bar
        try:
            yield progress
        finally:
            for bar in bars:
                bar.close()
