"""What stays open from one drop of a run to the next: encoders, and the processes of several devices."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dino_assets.compute.processes import Workers
from dino_assets.embeddings.encoder.ready import forget_encoders

_lock = threading.Lock()
_blocks: list[Workers] = []  # those that are entered, each with the workers of the outermost


@contextmanager
def keeping_open() -> Iterator[None]:
    """Keep what computes open for all drops of the block; give its memory back at the end of the outermost.

    A command that runs drop after drop enters one around all of them, and each run its own inside.
    """
    with _lock:
        _blocks.append(_blocks[0] if _blocks else Workers())
    try:
        yield
    finally:
        with _lock:
            workers = _blocks.pop()
            is_outermost = not _blocks
        if is_outermost:
            workers.close()
            forget_encoders()


@contextmanager
def using_workers() -> Iterator[Workers]:
    """The workers of the block that is entered; outside of one workers of their own, ended with this one."""
    with _lock:
        of_block = _blocks[0] if _blocks else None
    if of_block is not None:
        yield of_block
        return
    workers = Workers()
    try:
        yield workers
    finally:
        workers.close()
