"""Threads that compute results before the consumer asks for them, and a limit on PyTorch's own threads."""

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
THREAD_PREFIX = "map-ahead"
_before: list[int] = []  # PyTorch's number of threads before it was set to one


def map_ahead(
    work: Callable[[T], R], items: Iterable[T], *, threads: int
) -> Generator[R, None, None]:
    """Apply ``work`` to the items in threads; yield the results in the order of the items.

    At most ``2 × threads`` items are submitted before the consumer takes their results.
    """
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
        # Also if the consumer stops early: a cancelled run must not continue to read.
        pool.shutdown(wait=True, cancel_futures=True)


def take_one_torch_thread() -> int:
    """Limit each call of PyTorch to one thread from now on; return the earlier number of threads.

    Callers make several calls at the same time instead. Several threads in one call would wait for each other
    at every layer, which is slow while other programs run. Results would also depend on the number of
    threads.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    if before > 1:
        _before[:] = [before]
    return before


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Limit each call of PyTorch to one thread in this block, then restore the earlier number.

    This function does not import PyTorch. Code that imports PyTorch inside the block must call
    ``take_one_torch_thread``.
    """
    before = take_one_torch_thread() if "torch" in sys.modules else None
    try:
        yield
    finally:
        if "torch" in sys.modules and (threads := before or next(iter(_before), None)):
            import torch

            torch.set_num_threads(threads)
