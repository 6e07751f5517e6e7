"""The Dagster UI as one thing: it starts on a free port or not at all, and ends with all its children.

``dagster dev`` on a busy port stays, without its web server and with a second daemon beside the first
one; and it is left waiting for its children when it is told to end. So it runs below this process.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import TextIO

from dino_assets.errors import ConfigError

# Asked, then told, then made to: what runs commit survives any of these.
_LADDER = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


def serve(
    root: Path, host: str, port: int, *, environment: Mapping[str, str], patience_s: float = 5.0
) -> int:
    """Serve the UI until somebody ends it; gives the exit status.

    Raises:
        ConfigError: the folder's UI is open already, or the port cannot be listened on.
    """
    with (root / ".dagster" / "ui.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                "the UI of this folder is open already, or still ending. Two would run every sensor "
                "twice; use that one, or end it first.",
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
    # `dagster dev`, whose web server opens the store's files as well.
    server = [sys.executable, "-m", "dino_assets.defs.web_server", "dev"]
    command = [*server, "-h", host, "-p", str(port)]
    stops: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stops.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    # A session of its own: Ctrl-C reaches us alone, and the group is everything that it started.
    # It holds the lock, too: should we be killed, it is still the folder's UI.
    serving = subprocess.Popen(
        command, cwd=root, env=environment, start_new_session=True, pass_fds=[lock.fileno()]
    )
    try:
        return serving.wait()
    except KeyboardInterrupt:
        for number in before:
            signal.signal(number, signal.SIG_IGN)  # it ends already
        end_group(serving, patience_s)
        return 0 if stops[0] == signal.SIGINT else 128 + stops[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_port(host: str, port: int, *, subject: str = "the UI") -> None:
    """Refuse a port that cannot be listened on, before anything is started.

    Raises:
        ConfigError: it is taken, or the host is none of this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that just ended
            trial.bind((host, port))
    except (OSError, OverflowError) as err:
        reason = getattr(err, "strerror", None) or str(err)
        raise ConfigError(
            f"{subject} cannot listen on {host}:{port} ({reason}). Is it open already? Otherwise name "
            "another port with --port.",
            setting="port",
            value=port,
        ) from None


def end_group(process: "subprocess.Popen[bytes]", patience_s: float) -> None:
    """End a process that leads a group, and everything in the group, by force if need be."""
    for number in _LADDER:
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
