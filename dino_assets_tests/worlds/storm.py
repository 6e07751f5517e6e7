"""A storm over a project: drops arrive in every odd way while the UI's processes are killed at random."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import dagster as dg

from dino_assets.defs.dead_runs import IN_FLIGHT
from dino_assets.defs.instance import open_instance
from dino_assets.drops.arrivals import MARKER
from dino_assets.settings.records import StorageSettings
from dino_assets.settings.urls import parse_url
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.ui import LOCATION, Ui, serving_ui

SENSOR = {**LOCATION, "sensorName": "new_drops"}
START = """mutation($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) {
  __typename ... on Sensor { sensorState { status } } } }"""
# What a process of the UI is, by words of its command line; the first that fits.
PARTS = {
    "daemon": (b"dagster._daemon",),
    "web server": (b"dino_assets.defs.web_server", b"--port"),
    "code server": (b"dagster", b"api", b"grpc"),
    "run": (b"spawn_main",),
}
KINDS = ("whole", "pieces", "late", "again", "replaced", "deleted", "poisoned", "twin", "odd name")


@dataclass
class Arriving:
    """A drop of the storm: its folder, how it behaves, and the files that lie there in the end."""

    folder: str
    kind: str
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether it must come out right."""
        return self.kind not in ("deleted", "poisoned")


@dataclass
class Inbox:
    """A folder or a bucket where drops arrive, file by file."""

    put: Callable[[str, bytes], object]
    delete: Callable[[str], object]

    @classmethod
    def in_folder(cls, folder: Path) -> "Inbox":
        def put(key: str, data: bytes) -> None:
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_bytes(data)

        return cls(put, lambda key: (folder / key).unlink())

    @classmethod
    def in_bucket(cls, settings: StorageSettings, folder: str) -> "Inbox":
        """As another program fills it, under keys that our own store would not write."""
        address = parse_url(settings.url)
        bucket, prefix = address.bucket, f"{address.prefix}/{folder}"
        client = boto3.client(
            "s3",
            endpoint_url=settings.endpoint,
            aws_access_key_id=settings.access_key,
            aws_secret_access_key=settings.secret_key,
            region_name="us-east-1",
        )
        return cls(
            lambda key, data: client.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=data),
            lambda key: client.delete_object(Bucket=bucket, Key=f"{prefix}/{key}"),
        )


class Flights:
    """Everything that arrives in the storm, by a clock of its own."""

    def __init__(self, inbox: Inbox, *, drops: int, spread_s: float, dice: random.Random) -> None:
        self._inbox, self._dice, self._spread_s = inbox, dice, spread_s
        self._events: list[tuple[float, Callable[[], object]]] = []
        self.drops: list[Arriving] = []
        self._photographs: set[bytes] = set()
        for number in range(drops):
            self._plan(number, KINDS[number % len(KINDS)])

    @contextmanager
    def flying(self) -> "Iterator[Future[None]]":
        """Let them arrive, in a thread."""

        def work() -> None:
            started = time.monotonic()
            for at_s, act in sorted(self._events, key=lambda event: event[0]):
                time.sleep(max(0.0, started + at_s - time.monotonic()))
                act()

        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(work)

    def _plan(self, number: int, kind: str) -> None:
        folder = f"Flug {number} (ä) ✈'s" if kind == "odd name" else f"flight-{number:02d}"
        drop = Arriving(folder, kind)
        self.drops.append(drop)
        at_s = self._dice.uniform(0, self._spread_s)
        photos = {
            f"DJI_{n:04d}.JPG": photo_bytes(500, 400, seed=100 * number + n, quality=50)
            for n in range(self._dice.randint(1, 3))
        }
        if kind == "twin":  # of the first one, once that is there for long
            photos, at_s = dict(self.drops[0].files), self._spread_s
        if kind == "poisoned":
            photos = dict.fromkeys(photos, b"no picture" * 100)
        pause_s = 2.0 if kind == "pieces" else 0.0
        for name, data in photos.items():
            self._at(at_s, drop, name, data)
            at_s += pause_s
        self._at(at_s, drop, MARKER, b"")
        later_s = at_s + self._dice.uniform(5, 40)
        first_name = next(iter(photos))
        if kind == "late":
            self._at(later_s, drop, "LATE_0001.JPG", photo_bytes(500, 400, seed=100 * number + 90))
        elif kind == "again":
            for name, data in photos.items():
                self._at(later_s, drop, name, data)
        elif kind == "replaced":
            self._at(later_s, drop, first_name, photo_bytes(500, 400, seed=100 * number + 91))
        elif kind == "deleted":
            for name in (*photos, MARKER):
                self._events.append(
                    (later_s, lambda key=f"{folder}/{name}": self._inbox.delete(key))
                )
        drop.files.pop(MARKER)

    @property
    def photographs(self) -> int:
        """How many different ones ever lay there."""
        return len(self._photographs)

    def _at(self, at_s: float, drop: Arriving, name: str, data: bytes) -> None:
        if drop.kind != "poisoned" and data:
            self._photographs.add(data)
        drop.files[name] = data  # what is put last stays
        self._events.append((at_s, lambda: self._inbox.put(f"{drop.folder}/{name}", data)))


class Weather:
    """A UI that is killed part by part and started again, as whoever keeps a service up would."""

    def __init__(self, project: Path, logs: Path, *, dice: random.Random) -> None:
        self._project, self._logs, self._dice = project, logs, dice
        self._leaving = ExitStack()
        self.starts = 0
        self.kills: list[str] = []
        self.ui: Ui | None = None

    @contextmanager
    def blowing(self) -> Iterator["Weather"]:
        try:
            self.start()
            assert self.ui is not None
            self.ui.ask(START, sensor=SENSOR)
            yield self
        finally:
            self._leaving.close()

    def start(self) -> None:
        """Start the UI, ending what is left of the one before."""
        self._leaving.close()
        self._leaving = ExitStack()
        log = self._logs / f"ui-{self.starts}.log"
        self.ui = self._leaving.enter_context(serving_ui(self._project, log))
        self.starts += 1

    def keep_up(self) -> None:
        """Start it anew if a part of it is gone and does not come back by itself."""
        needed_parts = {"daemon", "web server", "code server"}
        for _ in range(10):
            if needed_parts <= {part for part, _ in self._find_parts()}:
                return
            time.sleep(0.5)
        self.start()

    def strike(self) -> bool:
        """Kill one part, or all at once, while a run is queued or going on; False where none is."""
        if not self.find_in_flight():
            return False
        parts = self._find_parts()
        runs = [pid for part, pid in parts if part == "run"]
        target = self._dice.choice(("run", "run", "daemon", "web server", "code server", "all"))
        if target == "run" and not runs:
            return False
        targets = [pid for part, pid in parts if target in (part, "all")]
        for pid in targets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if targets:
            self.kills.append(target)
        return bool(targets)

    def find_in_flight(self) -> list[str]:
        """The runs that are not over, as the instance has them."""
        with open_instance(self._project) as instance:
            return [run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=IN_FLIGHT))]

    def _find_parts(self) -> list[tuple[str, int]]:
        assert self.ui is not None
        port = self.ui.url.rpartition(":")[2].encode()
        processes = dict(_list_commands())
        leaders = [pid for pid, words in processes.items() if {b"dev", port} <= set(words)]
        groups = {_group(pid) for pid in leaders}
        parts = []
        for pid, words in processes.items():
            if pid in leaders or _group(pid) not in groups:
                continue
            text = b" ".join(words)
            part = next(
                (name for name, each in PARTS.items() if all(w in text for w in each)), None
            )
            if part:
                parts.append((part, pid))
        return parts


def _list_commands() -> Iterator[tuple[int, list[bytes]]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield int(path.parent.name), path.read_bytes().split(b"\0")


def _group(pid: int) -> int:
    with contextlib.suppress(OSError):
        return os.getpgid(pid)
    return -1


def run_command(project: Path, *words: str) -> str:
    """Run ``dino-assets`` in a project and give what it prints."""
    process = subprocess.run(
        [sys.executable, "-m", "dino_assets.cli", *words],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout
