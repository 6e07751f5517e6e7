"""Progress bars of the Python API: shown on a terminal, unless switched on or off."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def showing_bar(
    what: str, *, total: int, unit: str, progress: bool | None
) -> Iterator[Callable[[], object]]:
    """Show a bar (if ``progress`` is None: on a terminal only); yield a function that counts one more."""
    from tqdm import tqdm

    is_off = None if progress is None else not progress
    with tqdm(total=total, desc=what, unit=unit, disable=is_off) as bar:
        yield bar.update


@contextmanager
def showing_download(what: str, *, progress: bool | None) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that takes the bytes so far and in all; its first call shows the bar."""
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
