"""The command ``ui``: Dagster's UI, started on a free port only, and ended with all of its processes.

On a busy port, ``dagster dev`` continues without its web server, with a second daemon next to the first one.
On SIGTERM it hangs, because it waits for its child processes. So this process checks the port first, runs
``dagster dev`` as a child, and ends it with all of its processes.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import TextIO

from dino_assets.errors import ConfigError

# Signals to end the UI, each stronger than the last. Committed results survive all of them.
_END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


def serve(
    root: Path, host: str, port: int, *, environment: Mapping[str, str], patience_s: float = 5.0
) -> int:
    """Serve the UI until it is ended; return the exit status.

    Raises:
        ConfigError: the UI of this folder is already running, or the port cannot be used.
    """
    with (root / ".dagster" / "ui.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                "the UI of this folder is already running, or still ending. Two of them would run every "
                "sensor twice: use the running one, or end it first.",
                setting="root",
                value=str(root),
            ) from None
        check_port(host, port)
        return _run(root, host, port, environment, patience_s, lock)


def _run(
    root: Path,
    host: str,
    port: int,
    environment: Mapping[str, str],
    patience_s: float,
    lock: TextIO,
) -> int:
    # `dagster dev`, with a web server that also opens the store's files.
    server = [sys.executable, "-m", "dino_assets.defs.web_server", "dev"]
    command = [*server, "-h", host, "-p", str(port), *choose_code(root)]
    stops: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stops.append(number)
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    # Started in a session of its own: Ctrl-C reaches only this process, and the group has all processes of
    # the UI. The child inherits the lock: if this process is killed, the UI keeps the folder locked.
    serving = subprocess.Popen(
        command, cwd=root, env=environment, start_new_session=True, pass_fds=[lock.fileno()]
    )
    try:
        return serving.wait()
    except KeyboardInterrupt:
        for number in previous:
            signal.signal(number, signal.SIG_IGN)  # it is ending already
        end_group(serving, patience_s)
        return 0 if stops[0] == signal.SIGINT else 128 + stops[0]
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def choose_code(root: Path) -> list[str]:
    """Choose the options that name the code for the UI; none if files in ``root`` name it, as in a checkout."""
    project = root / "pyproject.toml"
    tools = {}
    with contextlib.suppress(OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        tools = tomllib.loads(project.read_text()).get("tool", {})
    is_named = (root / "workspace.yaml").is_file() or bool({"dagster", "dg"} & set(tools))
    return [] if is_named else ["-m", "dino_assets"]


def check_port(host: str, port: int, *, subject: str = "the UI") -> None:
    """Check that a port can be listened on, before anything is started.

    Raises:
        ConfigError: the port is in use, or the host is not an address of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # the port of a server that just ended may be used
            trial.bind((host, port))
    except (OSError, OverflowError) as err:
        reason = getattr(err, "strerror", None) or str(err)
        raise ConfigError(
            f"{subject} cannot listen on {host}:{port} ({reason}). Check whether {subject} is already "
            "running. If it is not, name another port with --port.",
            setting="port",
            value=port,
        ) from None


def end_group(process: "subprocess.Popen[bytes]", patience_s: float) -> None:
    """End a process and all processes of its group, by force if needed."""
    for number in _END_SIGNALS:
        try:
            os.killpg(process.pid, number)
            process.wait(patience_s)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # children that outlived their parent
