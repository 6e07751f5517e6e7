"""Encoders and worker processes that the drops of a run share."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dino_assets.compute.processes import Workers
from dino_assets.embeddings.encoder.ready import forget_encoders

_lock = threading.Lock()
_blocks: list[Workers] = []  # one entry per active block, all with the workers of the outermost one


@contextmanager
def share_encoders() -> Iterator[None]:
    """Keep encoders and workers open inside this block; release them at the end of the outermost block.

    A command that runs drop after drop puts one block around all runs. Each run has its own block inside.
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
def use_workers() -> Iterator[Workers]:
    """Yield the workers of the active ``share_encoders`` block.

    Without such a block, yield new workers and close them at the end.
    """
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
