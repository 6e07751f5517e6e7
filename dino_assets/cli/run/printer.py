"""Lines of a long run for whoever watches it, and for a log if nobody does."""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from typing import TextIO

from dino_assets.cli.terminal import LiveLine, name_commands


class Printer:
    """Lines on standard output, complaints on standard error; once nobody reads, the run goes on."""

    def __init__(self, *, shows_tracebacks: bool = False) -> None:
        self.live = LiveLine(sys.stderr)
        self.shows_tracebacks = shows_tracebacks

    def say(self, text: str) -> None:
        """Print a line, now."""
        self._print(text, sys.stdout)

    def complain(self, text: str) -> None:
        """Print a line on standard error."""
        self._print(text, sys.stderr)

    def show_traceback(self) -> None:
        """Print the error that is being handled, if that is asked for."""
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
        """Keep what is logged off the terminal: it is in the run's log, and here in a sentence."""
        handlers = [] if self.shows_tracebacks else list(logging.getLogger().handlers)
        levels = [handler.level for handler in handlers]
        for handler in handlers:
            handler.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for handler, level in zip(handlers, levels, strict=True):
                handler.setLevel(level)
