"""Containers of built images, run by runc as an operator would run them: read-only, without rights."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

WORK = "/srv/dino-assets"
NAME = f"dino-assets-test-{os.getpid()}-"


def list_remains() -> list[Path]:
    """Control groups of this process's containers that are there now."""
    return [path for path in Path("/sys/fs/cgroup").rglob(f"{NAME}*") if path.is_dir()]


@dataclass(frozen=True)
class Container:
    """A running container; ``process`` is runc's, which ends as the container's own process does."""

    name: str
    state: Path
    process: "subprocess.Popen[bytes]"
    log: Path

    def runc(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of runc about this container."""
        verb, *rest = arguments
        return _runc(self.state, verb, *rest)

    def execute(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command inside, as the container's own user."""
        return self.runc("exec", self.name, *command)

    def read_status(self) -> dict[str, str]:
        """What the kernel says of the container's first process."""
        pid = json.loads(self.runc("state", self.name).stdout)["pid"]
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (each.partition(":") for each in lines)}

    def stop(self, *, limit_s: float = 30) -> int:
        """Send SIGTERM; gives the exit status."""
        completed = self.runc("kill", self.name, "SIGTERM")
        assert completed.returncode == 0, completed.stderr
        return self.process.wait(limit_s)


def _runc(state: Path, verb: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ["runc", "--root", str(state), verb, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@contextmanager
def running_container(
    files: Path,
    config: Mapping[str, Any],
    folder: Path,
    *,
    environment: Mapping[str, str],
    mounts: Mapping[Path, str],
    command: list[str] | None = None,
) -> Iterator[Container]:
    """Run an image's own command, or another one; ``mounts`` are writable only below its work folder."""
    bundle, state = folder / "bundle", folder / "runc"
    bundle.mkdir(parents=True)
    state.mkdir()
    spec = _describe(files, config, environment=environment, mounts=mounts, command=command)
    (bundle / "config.json").write_text(json.dumps(spec))
    name, log = f"{NAME}{uuid4().hex[:8]}", folder / "log"
    start = ["runc", "--root", str(state), "run"]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*start, "--bundle", str(bundle), name],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    try:
        yield Container(name, state, process, log)
    finally:
        # In this order: the control group of a process that is still ending cannot be removed.
        _runc(state, "kill", name, "SIGKILL")
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _runc(state, "delete", "--force", name)


def _describe(
    files: Path,
    config: Mapping[str, Any],
    *,
    environment: Mapping[str, str],
    mounts: Mapping[Path, str],
    command: list[str] | None,
) -> dict[str, Any]:
    """Describe the container as the runtime's specification wants it; the network is this machine's."""
    uid, gid = (int(number) for number in config["User"].split(":"))
    variables = [*config["Env"], *(f"{name}={value}" for name, value in environment.items())]
    binds = [
        {
            "type": "bind",
            "source": str(source),
            "destination": destination,
            "options": ["bind", "rw" if destination.startswith(WORK) else "ro"],
        }
        for source, destination in mounts.items()
    ]
    tmpfs = {"type": "tmpfs", "source": "tmpfs"}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": uid, "gid": gid},
            "args": command or config["Cmd"],
            "env": variables,
            "cwd": config["WorkingDir"],
            "noNewPrivileges": True,
            "capabilities": {},
        },
        "root": {"path": str(files), "readonly": True},
        "mounts": [
            {"type": "proc", "source": "proc", "destination": "/proc"},
            {"type": "sysfs", "source": "sysfs", "destination": "/sys", "options": ["ro"]},
            {**tmpfs, "destination": "/dev", "options": ["nosuid", "mode=755"]},
            {**tmpfs, "destination": "/dev/shm", "options": ["nosuid", "nodev", "mode=1777"]},
            {**tmpfs, "destination": "/tmp", "options": ["nosuid", "nodev", "mode=1777"]},
            *binds,
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
    }
