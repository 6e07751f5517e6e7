"""What a person at a terminal sees."""

import contextlib
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

# A command in a sentence: in backticks, or after a colon. Elsewhere the name is that of the program.
_COMMAND = re.compile(r"(`|: )dino-assets(?= [a-z])")


def say(text: str, *, to: TextIO | None = None) -> None:
    """Print a line for a person, now, with commands that run as they stand."""
    print(name_commands(text), file=to or sys.stdout, flush=True)


def write_out(text: str) -> None:
    """Print a line that a program reads, now and unchanged."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def name_commands(text: str, command: str | None = None) -> str:
    """Replace the name in commands of ours by how it is called from here.

    Sentences come from rooms that do not know how the program was called.
    """
    if "dino-assets " not in text:
        return text
    called = command or name_command()
    return _COMMAND.sub(lambda match: match[1] + called, text)


def name_command(program: str | None = None) -> str:
    """How this command is called again from here, whether or not its environment is activated."""
    called = Path(program or sys.argv[0])
    if called.parts[-2:] == ("cli", "__main__.py"):  # python -m dino_assets.cli
        return f"{_shorten(Path(sys.executable))} -m {__package__}"
    script = called if called.name == "dino-assets" else Path(sys.executable).parent / "dino-assets"
    return _shorten(script)


def quote_words(words: Iterable[str]) -> str:
    """Join words so that a shell takes them apart again."""
    return shlex.join(words)


def _shorten(path: Path) -> str:
    """A path for the shell, from the working directory on where it lies below that."""
    whole, here = Path(os.path.abspath(path)), Path.cwd()  # noqa: PTH100 - links stay what they are
    if not whole.is_relative_to(here):
        return shlex.quote(str(whole))
    below = str(whole.relative_to(here))
    return shlex.quote(below if "/" in below else f"./{below}")


class _SayingHandler(logging.Handler):
    """Says what is logged, as a line for a person on stderr, which nobody pipes on."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say one record."""
        say(record.getMessage(), to=sys.stderr)


@contextlib.contextmanager
def showing_log(name: str, handler: logging.Handler | None = None) -> Iterator[None]:
    """Show what a logger says from INFO on while the block runs, by default on stderr."""
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
    """One line of a terminal that is written over; on anything else it is nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_shown = False
        self.is_possible = stream.isatty()

    def show(self, text: str) -> None:
        """Put a text in place of the one before."""
        if self.is_possible:
            columns = shutil.get_terminal_size().columns
            self._write("\r\x1b[2K" + text[: columns - 1])
            self.is_shown = True

    def clear(self) -> None:
        """Take the text away, before other lines are printed."""
        if self.is_shown:
            self._write("\r\x1b[2K")
            self.is_shown = False

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that was closed ends no run
            self._stream.write(text)
            self._stream.flush()


@contextlib.contextmanager
def showing_progress(what: str) -> Iterator[Progress]:
    """A bar on a terminal, else lines now and then; on stderr, which nobody pipes on."""
    if not sys.stderr.isatty():
        yield ProgressLines(lambda line: say(line, to=sys.stderr), what=what)
        return
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    bars: list[tqdm[None]] = []

    def progress(done: int, total: int) -> None:
        if not bars:  # what was here already says nothing about the speed
            bars.append(tqdm(desc=what, total=total, initial=done, unit="B", unit_scale=True))
        bars[0].update(done - bars[0].n)

    tqdm.monitor_interval = 0  # no thread to look after one bar
    with logging_redirect_tqdm():  # a warning in between does not tear the bar
        try:
            yield progress
        finally:
            for bar in bars:
                bar.close()
