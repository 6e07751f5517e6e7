"""What a person at a terminal sees."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TextIO

from dino_assets.weights.hub.filling import Progress
from dino_assets.weights.hub.progress import ProgressLines


def say(text: str, *, to: TextIO | None = None) -> None:
    """Print a line, now."""
    print(text, file=to or sys.stdout, flush=True)


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
