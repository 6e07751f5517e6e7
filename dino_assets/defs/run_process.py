"""Which process a run is, told so that another process can see whether it is still there.

A number is not enough: it is given again, and it means somebody else in another container. Clocks do
not help: they are stepped, and containers virtualise them (lxcfs). The kernel's own words do: this
boot, these namespaces, this number, started at this tick. Where they cannot be had (no Linux, the
``/proc`` of another namespace) nothing is told and nothing is judged.
"""

import json
import os
import socket
from dataclasses import asdict, dataclass, fields
from pathlib import Path

# Where a run says it, for the launcher. The UI hides what begins like this: nobody wants to read it.
PROCESS_TAG = ".dagster/dino_assets_process"
# The process that launched a run, where the run's own would be in the same namespaces.
LAUNCH_TAG = ".dagster/dino_assets_launch"

PROC = Path("/proc")
UNKNOWN_START = -1  # of a process that is known by its number alone


@dataclass(frozen=True)
class RunProcess:
    """The process of one run. A retried run is given its parent's tags, hence ``run``."""

    run: str
    host: str
    boot: str
    namespaces: str
    pid: int
    start_ticks: int

    def dump(self) -> str:
        """As the tag's text."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> "RunProcess | None":
        """From a tag's text, or None: anybody may write a tag."""
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
    """This process, as the one of a run, or None where the kernel does not say."""
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        spaces = str((proc / "self/ns/pid").readlink())
        if (offsets := proc / "self/ns/time").is_symlink():  # what starts are counted from
            spaces += f" {offsets.readlink()}"
        pid, _, start_ticks = _read_stat(proc / "self")
    except (OSError, ValueError, IndexError):
        return None
    if pid != os.getpid():
        return None  # /proc is that of another namespace
    return RunProcess(run, socket.gethostname(), boot, spaces, pid, start_ticks)


def explain_death(process: RunProcess, here: RunProcess, *, proc: Path = PROC) -> str | None:
    """Why a process is gone for certain, seen from another one; None if it lives or is out of sight."""
    if process.host != here.host:
        return None
    if process.boot != here.boot:
        return f"its process {process.pid} is gone: the machine {process.host} restarted"
    if process.namespaces != here.namespaces or _is_there(process, proc):
        return None
    return f"its process {process.pid} on {process.host} is gone: killed"


def has_argument(*options: tuple[str, str], proc: Path = PROC) -> bool:
    """Tell whether a process that can be seen was started with one of some options and its value."""
    wanted = [b"\0".join([b"", name.encode(), value.encode(), b""]) for name, value in options]
    for folder in proc.glob("[0-9]*") if wanted else ():
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # gone meanwhile, or somebody else's
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
    """Number, state and start of a process, in ticks since the boot."""
    # The name stands in parentheses and may hold some itself, and blanks.
    head, _, tail = (process / "stat").read_text(errors="replace").rpartition(")")
    rest = tail.split()
    return int(head.split()[0]), rest[0], int(rest[19])
