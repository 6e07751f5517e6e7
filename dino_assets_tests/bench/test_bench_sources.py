"""Listing 100,000 files against a plain ``os.scandir`` walk; memory; requests to a bucket."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dino_assets.drops.cards import find_raw_twins, is_photo_name
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.drops.sources.source import fingerprint
from dino_assets.images.report.numbering import find_gaps

pytestmark = pytest.mark.bench
PROJECT = Path(__file__).parents[2]
FILES, PER_FOLDER = 100_000, 1000
ROUNDS = 5
ALLOWED = 2.0
LIMIT_MB = 50
LIMIT_LISTS = 110
NAMES_S = 3.0

PEAK = """
import json, re, sys
from pathlib import Path
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.drops.sources.source import fingerprint
entries = FolderSource(Path(sys.argv[1]), shown="card").entries()
fingerprint(entries)
# Not ru_maxrss: Linux hands a parent's peak on to the program that a child becomes.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(json.dumps([len(entries), int(peak) / 1024]))
"""


def card_path(number: int) -> str:
    folder, name = divmod(number, PER_FOLDER)
    return f"{100 + folder}MEDIA/DJI_{name:04d}.JPG"


def write_card(folder: Path, files: int) -> Path:
    for number in range(files):
        path = folder / card_path(number)
        if number % PER_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.touch()
    return folder


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_card(tmp_path_factory.mktemp("large") / "card", FILES)


def walk(folder: Path, *, with_status: bool) -> list[tuple[str, int, int]]:
    """The peer: each file's name, and with its status its size and time."""
    entries = []
    folders = [os.fspath(folder)]
    while folders:
        with os.scandir(folders.pop()) as scan:
            for item in scan:
                if item.is_dir(follow_symlinks=False):
                    folders.append(item.path)
                elif with_status:
                    status = item.stat(follow_symlinks=False)
                    entries.append((item.path, status.st_size, status.st_mtime_ns))
                else:
                    entries.append((item.path, 0, 0))
    return entries


def test_folder__keeps_up_with_scandir(card: Path):
    source = FolderSource(card, shown="card")
    times: dict[str, list[float]] = {"names": [], "walk": [], "entries": [], "fingerprint": []}
    for _ in range(ROUNDS):  # taking turns: what else the machine does falls on all
        for name, call in (
            ("names", lambda: walk(card, with_status=False)),
            ("walk", lambda: walk(card, with_status=True)),
            ("entries", source.entries),
        ):
            start_s = time.perf_counter()
            entries = call()
            times[name].append(time.perf_counter() - start_s)
            assert len(entries) == FILES
        start_s = time.perf_counter()
        fingerprint(entries)
        times["fingerprint"].append(time.perf_counter() - start_s)
    best = {name: min(values) for name, values in times.items()}
    print(
        f"\n{FILES:,} files: scandir walk with size and time {best['walk']:.3f} s, names alone "
        f"{best['names']:.3f} s; entries {best['entries']:.3f} s = "
        f"{best['entries'] / best['walk']:.2f}× and {best['entries'] / best['names']:.1f}×; "
        f"fingerprint {best['fingerprint']:.3f} s"
    )
    assert best["entries"] <= ALLOWED * best["walk"]


def peak_mb(folder: Path) -> tuple[int, float]:
    command = [sys.executable, "-c", PEAK, str(folder)]
    process = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    count, peak = json.loads(process.stdout)
    return count, peak


def test_folder__memory(card: Path, tmp_path: Path):
    small_peak = peak_mb(write_card(tmp_path / "card", FILES // 10))
    large_peak = peak_mb(card)
    assert (small_peak[0], large_peak[0]) == (FILES // 10, FILES)
    print(
        f"\npeak {small_peak[1]:.0f} MB at {small_peak[0]:,} files, {large_peak[1]:.0f} MB at {large_peak[0]:,}"
    )
    assert large_peak[1] - small_peak[1] <= LIMIT_MB


def test_names__a_hundred_thousand():
    paths = [card_path(number) for number in range(FILES)]
    raws = [path[:-3] + "dng" for path in paths]
    seconds = {}
    for name, call in (
        ("find_gaps", lambda: find_gaps(paths, raws)),
        ("find_raw_twins", lambda: find_raw_twins(paths + raws)),
        ("is_photo_name", lambda: [is_photo_name(path) for path in paths]),
    ):
        start_s = time.perf_counter()
        call()
        seconds[name] = time.perf_counter() - start_s
    print(f"\n{FILES:,} names:", ", ".join(f"{name} {s:.2f} s" for name, s in seconds.items()))
    assert max(seconds.values()) <= NAMES_S


LIST_BUCKET = """
import logging, sys, time
from pathlib import Path
import moto.server
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.s3.models import s3_backends
from werkzeug.serving import WSGIRequestHandler
from dino_assets.settings.records import StorageSettings
from dino_assets.drops.sources.buckets import BucketSource
from dino_assets.store.buckets import create_bucket
from dino_assets.store.objects import open_store

requests = []
WSGIRequestHandler.log_request = lambda self, *_, **__: requests.append(self.requestline)
server = ThreadedMotoServer(port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
settings = StorageSettings(
    url="minio://cards/some/prefix", root=Path.cwd(), endpoint=f"http://127.0.0.1:{port}",
    region="us-east-1", access_key="test-access", secret_key="test-secret",
)
create_bucket(settings)
(backend,) = (
    found
    for account in s3_backends
    for found in s3_backends[account].values()
    if "cards" in found.buckets
)
for number in range(int(sys.argv[1])):
    folder, name = divmod(number, 1000)
    backend.put_object("cards", f"some/prefix/{100 + folder}MEDIA/DJI_{name:04d}.JPG", b"x")
requests.clear()
started = time.perf_counter()
entries = BucketSource(open_store(settings)).entries()
took = time.perf_counter() - started
lists = [line for line in requests if "list-type=2" in line]
import json
print(json.dumps([len(entries), len(lists), len(requests), took]))
server.stop()
"""


def test_bucket__list_requests():
    command = [sys.executable, "-c", LIST_BUCKET, str(FILES)]
    process = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    count, lists, requests, list_s = json.loads(process.stdout.splitlines()[-1])
    print(f"\n{count:,} objects: {lists} LIST of {requests} requests, {list_s:.1f} s (moto)")
    assert count == FILES
    assert 0 < lists == requests <= LIMIT_LISTS
