"""Turns on a device: one run at a time computes there, the others wait and say for whom.

The lock is the operating system's, gone with its process however that ended. A slot of Dagster's pools
stays with a killed run until a daemon looks, and without a limit it holds nobody back.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)
_POLL_S = 0.5  # a wait that a signal can end, which flock's own cannot in every thread


@contextmanager
def taking_turn(
    folder: Path,
    device: str,
    *,
    holder: str,
    say: Callable[[str], object] = log.warning,
    poll_s: float = _POLL_S,
) -> Iterator[None]:
    """Hold a device alone, among all that name the same ``folder``; ``holder`` is what the others see.

    Where no lock can be kept (a folder that cannot be written) nobody waits: the work goes before.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / f"{device.replace(':', '-')}.lock").open("a+")
    except OSError as err:
        say(f"cannot keep {device} to one run at a time ({err.strerror}): going on without")
        yield
        return
    with opened as lock:
        has_said = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not has_said:
                    say(f"{device} is taken by {_read_holder(lock.name)}; waiting for it")
                    has_said = True
                time.sleep(poll_s)
        lock.truncate(0)
        lock.write(json.dumps({"holder": holder, "process": os.getpid()}))
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def _read_holder(path: str) -> str:
    with suppress(OSError, ValueError, LookupError, TypeError):
        about = json.loads(Path(path).read_text())
        return f"{about['holder']} (process {about['process']})"
    return "another run"
