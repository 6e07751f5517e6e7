"""Progress bars of the Python API, by default shown on a terminal only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def showing_bar(
    what: str, *, total: int, unit: str, progress: bool | None
) -> Iterator[Callable[[], object]]:
    """Show a progress bar up to ``total``; yield a function that counts one more.

    ``progress``: True shows the bar, False shows none, None shows it on a terminal only.
    """
    from tqdm import tqdm

    is_off = None if progress is None else not progress
    with tqdm(total=total, desc=what, unit=unit, disable=is_off) as bar:
        yield bar.update


@contextmanager
def showing_download(what: str, *, progress: bool | None) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of a download; yield a function that takes the bytes so far and in all.

    The function's first call shows the bar. ``progress`` is as for ``showing_bar``.
    """
    from tqdm import tqdm

    bars: list[tqdm[None]] = []

    def count(done: int, total: int) -> None:
        if not bars:
            is_off = None if progress is None else not progress
            options = {"total": total, "initial": done, "unit": "B", "unit_scale": True}
            bars.append(tqdm(desc=what, disable=is_off, **options))
        bars[0].update(done - bars[0].n)

    try:
        yield count
    finally:
        for bar in bars:
            bar.close()
