"""Printing the lines of a long run, to a terminal or to a log file."""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from typing import TextIO

from dino_assets.cli.terminal import LiveLine, name_commands


class Printer:
    """Prints lines on stdout and problems on stderr; a closed pipe does not end the run."""

    def __init__(self, *, shows_tracebacks: bool = False) -> None:
        self.live = LiveLine(sys.stderr)
        self.shows_tracebacks = shows_tracebacks

    def say(self, text: str) -> None:
        """Print a line on stdout at once."""
        self._print(text, sys.stdout)

    def complain(self, text: str) -> None:
        """Print a problem on stderr at once."""
        self._print(text, sys.stderr)

    def show_traceback(self) -> None:
        """Print the traceback of the error that is being handled, if tracebacks are shown."""
        if self.shows_tracebacks:
            self.complain(traceback.format_exc())

    def _print(self, text: str, stream: TextIO) -> None:
        self.live.clear()
        try:
            print(name_commands(text), file=stream, flush=True)
        except BrokenPipeError:  # `dino-assets run … | head`
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123
                os.dup2(nowhere.fileno(), stream.fileno())

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Print no log records while the block runs, because the run's log has them.

        If tracebacks are shown, log records are printed, too.
        """
        handlers = [] if self.shows_tracebacks else list(logging.getLogger().handlers)
        levels = [handler.level for handler in handlers]
        for handler in handlers:
            handler.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for handler, level in zip(handlers, levels, strict=True):
                handler.setLevel(level)
