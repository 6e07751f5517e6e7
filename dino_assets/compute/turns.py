"""Device locks: one run at a time computes on a device, and other runs wait.

The operating system releases a lock when the process that holds it ends, even if that process is killed.
Dagster's pools are not used for two reasons. In a pool, the slot of a killed run stays taken until a daemon
frees it. A pool without a configured limit locks nothing.
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
# The lock is polled, because a signal cannot interrupt a waiting flock in every thread.
_POLL_S = 0.5


@contextmanager
def taking_turn(
    folder: Path,
    device: str,
    *,
    holder: str,
    say: Callable[[str], object] = log.warning,
    poll_s: float = _POLL_S,
) -> Iterator[None]:
    """Lock a device for the block; first wait until no other program holds the lock.

    Programs that use the same ``folder`` share the locks. A program that waits for this one shows ``holder``,
    the name of this run. If the folder cannot be written, the block runs at once without a lock.
    ``say`` receives both messages: that the program waits, or that there is no lock.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / f"{device.replace(':', '-')}.lock").open("a+")
    except OSError as err:
        say(
            f"cannot lock {device}: {str(folder)!r} cannot be written ({err.strerror}). This run continues "
            "without a lock, so other runs may use the device at the same time. Make the folder writable."
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
                    say(
                        f"{device} is in use by {_read_holder(lock.name)}; waiting until it is free"
                    )
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
