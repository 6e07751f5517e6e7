"""Identity of a run's process, recorded so that other processes can check whether it still exists.

A process id is not enough: ids are reused, and in another container the same id is another process. The time
of a clock does not help: clocks are adjusted, and a container may show another time (lxcfs). The kernel
identifies a process by boot id, namespaces, process id and start time in ticks. Where these are not available
(no Linux, or the ``/proc`` of another namespace), nothing is recorded, and no run counts as dead.
"""

import json
import os
import socket
from dataclasses import asdict, dataclass, fields
from pathlib import Path

# The tag of a run with its process, read by the launcher. The UI hides tags that begin like this.
PROCESS_TAG = ".dagster/dino_assets_process"
# The process that launched a run, if the run's own process is in the same namespaces.
LAUNCH_TAG = ".dagster/dino_assets_launch"

PROC = Path("/proc")
UNKNOWN_START = -1  # for a process of which only the id is known


@dataclass(frozen=True)
class RunProcess:
    """The process of one run.

    ``run`` is the run's id. It is recorded since a retried run gets a copy of its parent's tags.
    """

    run: str
    host: str
    boot: str
    namespaces: str
    pid: int
    start_ticks: int

    def dump(self) -> str:
        """Write the process as the text of a tag."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> "RunProcess | None":
        """Read a process from the text of a tag; None if the text is not valid. Anybody may write tags."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            return None
        types = {field.name: field.type for field in fields(cls)}
        if not isinstance(values, dict) or {k: type(v) for k, v in values.items()} != types:
            return None
        process = cls(**values)
        return process if 0 < process.pid < 2**31 else None


def describe_self(run: str, *, proc: Path = PROC) -> RunProcess | None:
    """Describe this process as that of the run ``run`` (its id); None if the kernel does not identify it."""
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        spaces = str((proc / "self/ns/pid").readlink())
        if (offsets := proc / "self/ns/time").is_symlink():  # start times are relative to it
            spaces += f" {offsets.readlink()}"
        pid, _, start_ticks = _read_stat(proc / "self")
    except (OSError, ValueError, IndexError):
        return None
    if pid != os.getpid():
        return None  # /proc belongs to another namespace
    return RunProcess(run, socket.gethostname(), boot, spaces, pid, start_ticks)


def explain_death(process: RunProcess, here: RunProcess, *, proc: Path = PROC) -> str | None:
    """Explain why a process no longer exists; None if it exists, or cannot be seen from ``here``."""
    if process.host != here.host:
        return None
    if process.boot != here.boot:
        return f"its process {process.pid} is gone: the machine {process.host} restarted"
    if process.namespaces != here.namespaces or _is_there(process, proc):
        return None
    return f"its process {process.pid} on {process.host} is gone: killed"


def has_argument(*options: tuple[str, str], proc: Path = PROC) -> bool:
    """Check whether a visible process was started with one of these options and the option's value."""
    wanted = [b"\0".join([b"", name.encode(), value.encode(), b""]) for name, value in options]
    for folder in proc.glob("[0-9]*") if wanted else ():
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # ended meanwhile, or of another user
        if any(each in words for each in wanted):
            return True
    return False


def _is_there(process: RunProcess, proc: Path) -> bool:
    try:
        _, state, start_ticks = _read_stat(proc / str(process.pid))
    except (OSError, ValueError, IndexError):
        return _has_number(process.pid)  # `hidepid` hides what other users run
    is_it = process.start_ticks in (start_ticks, UNKNOWN_START)
    return is_it and state not in ("Z", "X")


def _has_number(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _read_stat(process: Path) -> tuple[int, str, int]:
    """Read the id, the state and the start time (in ticks since boot) of a process."""
    # The name is in parentheses, and may itself have parentheses and blanks.
    head, _, tail = (process / "stat").read_text(errors="replace").rpartition(")")
    rest = tail.split()
    return int(head.split()[0]), rest[0], int(rest[19])
