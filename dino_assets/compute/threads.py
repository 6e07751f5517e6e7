"""Threads that work ahead of the consumer, and PyTorch's own kept out of their way."""

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
THREAD_PREFIX = "map-ahead"
_before: list[int] = []  # threads of PyTorch before they were one


def map_ahead(
    work: Callable[[T], R], items: Iterable[T], *, threads: int
) -> Generator[R, None, None]:
    """Apply ``work`` in threads, in order, at most ``2 × threads`` items ahead of the consumer."""
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix=THREAD_PREFIX)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Also when the consumer stops early: a cancelled run must not read on.
        pool.shutdown(wait=True, cancel_futures=True)


def take_one_torch_thread() -> int:
    """Let each call of PyTorch use one thread from now on; gives how many it used before.

    For several calls at a time: threads of one call wait for each other at every layer, for long where
    other programs run, and the numbers would depend on how many there are.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    if before > 1:
        _before[:] = [before]
    return before


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let each call of PyTorch use one thread, and afterwards as many as there were.

    PyTorch is not imported for it: an engine that imports it in the block takes one thread by itself.
    """
    before = take_one_torch_thread() if "torch" in sys.modules else None
    try:
        yield
    finally:
        if "torch" in sys.modules and (threads := before or next(iter(_before), None)):
            import torch

            torch.set_num_threads(threads)
