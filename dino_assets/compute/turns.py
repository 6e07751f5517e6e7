"""A lock per device: one run at a time computes there, and the others wait.

It is a lock of the operating system, which ends with its process, even a killed one. A slot of Dagster's
pools stays taken after a killed run until a daemon frees it, and without a configured limit it locks nothing.
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
_POLL_S = 0.5  # polling, because a signal cannot interrupt flock's own wait in every thread


@contextmanager
def taking_turn(
    folder: Path,
    device: str,
    *,
    holder: str,
    say: Callable[[str], object] = log.warning,
    poll_s: float = _POLL_S,
) -> Iterator[None]:
    """Lock a device among all programs that use the same ``folder``; they are shown ``holder``.

    If the folder cannot be written, there is no lock and the block runs at once.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / f"{device.replace(':', '-')}.lock").open("a+")
    except OSError as err:
        say(
            f"cannot lock {device} for one run at a time ({err.strerror}); continuing without a lock"
        )
        yield
        return
    with opened as lock:
        has_reported = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not has_reported:
                    say(f"{device} is in use by {_read_holder(lock.name)}; waiting for it")
                    has_reported = True
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
