"""Transfer of files: broken connections, wrong answers, killed and concurrent processes."""

import contextlib
import fcntl
import hashlib
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub.errors import HTTPError

from dino_assets.errors import ChecksumError, LocalEntryNotFoundError
from dino_assets.settings.hub import resolve_hub
from dino_assets.weights.hub.filling import Watch
from dino_assets.weights.hub.listings import HubFile
from dino_assets.weights.hub.places import RepoCache
from dino_assets.weights.hub.transfer import FileRequest, Interrupted, TransferRetries, fetch_file
from dino_assets_tests.worlds.finding import find_checkpoint
from dino_assets_tests.worlds.hub_server import HubServer, blob_id, hub_for_test
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.servers import free_port

PROJECT = Path(__file__).parents[3]
REPO = "org/model"
NAME = "model.safetensors"
SIZE = 3_000_001
DATA = np.random.default_rng(1).bytes(SIZE)
FILE = HubFile(NAME, SIZE, hashlib.sha256(DATA).hexdigest())


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with hub_for_test(monkeypatch, tmp_path) as server:
        server.add(REPO, {NAME: DATA, "config.json": b"{}"})
        yield server


class Line:
    """Fetches one file and records the waits."""

    def __init__(self, hub: HubServer, part: Path) -> None:
        commit = hub.repositories[REPO].branches["main"]
        self.source = FileRequest(
            f"{hub.endpoint}/{REPO}/resolve/{commit}/{NAME}", {"authorization": "x"}
        )
        self.hub, self.part = hub, part
        self.waits: list[float] = []
        self.reports: list[int] = []
        hub.grant("x")

    def fetch(self, file: HubFile = FILE, **retries: float) -> None:
        fetch_file(
            file,
            self.part,
            self.source,
            retries=TransferRetries(
                **{"attempts": 4, "stall_s": 20, **retries},
                sleep=self.waits.append,
                rng=np.random.default_rng(0),
            ),
            report=self.reports.append,
        )

    @property
    def ranges(self) -> list[str | None]:
        return [
            hub_request.range
            for hub_request in self.hub.bodies(NAME)
            if hub_request.host == "localhost"
        ]


@pytest.fixture
def line(hub: HubServer, tmp_path: Path) -> Line:
    return Line(hub, tmp_path / "some.part")


def test_fetch_file__without_interruption(line):
    line.fetch()
    assert line.part.read_bytes() == DATA
    assert line.ranges == [None]
    assert line.reports[-1] == SIZE
    assert line.reports == sorted(line.reports)
    line.fetch()  # whole already: verified without a request
    assert line.ranges == [None]


def test_fetch_file__git_blob_and_empty_file(line, hub):
    for data in (b"{}", b""):
        commit = hub.add(REPO, {"config.json": data, NAME: DATA})
        source = FileRequest(f"{hub.endpoint}/{REPO}/resolve/{commit}/config.json", {})
        file = HubFile("config.json", len(data), blob_id(data))
        fetch_file(file, line.part, source, retries=TransferRetries())
        assert line.part.read_bytes() == data


@pytest.mark.parametrize("kind", ["reset", "close", "stall"])
def test_fetch_file__resumes_after_a_broken_connection(line, hub, caplog, kind):
    hub.misbehave(NAME, kind, times=2, after=1_000_000)
    line.fetch(stall_s=1.5 if kind == "stall" else 20)
    assert line.part.read_bytes() == DATA
    assert line.ranges == [None, "bytes=1000000-", "bytes=2000000-"]
    assert ("ReadTimeout" in caplog.text) == (kind == "stall")
    assert len(line.waits) == 2
    assert all(0.5 <= wait <= 1 for wait in line.waits)  # bytes came, so the waits start again


@pytest.mark.parametrize(
    ("kind", "headers", "waits"),
    [
        ("503", {}, None),
        ("500", {}, None),
        ("408", {}, None),
        ("429", {"Retry_After": "11"}, [11, 11, 11]),
        ("503", {"Retry_After": "99999"}, [300, 300, 300]),
        (
            "429",
            {
                "Retry_After": "Wed, 21 Oct 2015 07:28:30 GMT",
                "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
            },
            None,
        ),
        ("503", {"Retry_After": "soon"}, None),
    ],
)
def test_fetch_file__waits_for_a_busy_server(line, hub, kind, headers, waits):
    hub.misbehave(NAME, kind, times=3, **headers)
    line.fetch()
    assert line.part.read_bytes() == DATA
    if waits:
        assert line.waits == waits
    elif "Date" not in headers:
        # Doubling, with a jitter from half to all.
        for wait, full_wait in zip(line.waits, (1, 2, 4), strict=True):
            assert full_wait / 2 <= wait <= full_wait


def test_fetch_file__gives_up_after_several_attempts(line, hub):
    hub.misbehave(NAME, "reset", times=1, after=500_000)
    hub.misbehave(NAME, "503", times=9)
    with raising(Interrupted, reason="HTTP 503"):
        line.fetch()
    assert line.part.read_bytes() == DATA[:500_000]
    assert len(line.waits) == 3
    hub.faults.clear()
    line.fetch()
    assert line.part.read_bytes() == DATA
    assert line.ranges[-1] == "bytes=500000-"


@pytest.mark.parametrize("times", [1, 2])
def test_fetch_file__requests_a_new_address_after_expiry(line, hub, times):
    hub.misbehave(NAME, "reset", times=1, after=1_000_000)
    hub.misbehave(NAME, "expired", times=times)
    line.fetch()
    assert line.part.read_bytes() == DATA
    hub_requests = [a for a in hub.bodies(NAME) if a.host == "127.0.0.1"]
    assert len(hub_requests) == 2 + times
    assert all(a.token == "x" for a in hub_requests)
    assert not any(a.token for a in hub.asked if a.host == "localhost")


@pytest.mark.parametrize(
    ("kind", "after"), [("ignores range", 0), ("refuses range", 0), ("other range", 0)]
)
def test_fetch_file__wrong_ranges(line, hub, kind, after):
    line.part.write_bytes(DATA[:1_000_000])
    hub.misbehave(NAME, kind)
    line.fetch()
    assert line.part.read_bytes() == DATA
    expected = ["bytes=1000000-", None]
    assert line.ranges == (expected[:1] if kind == "ignores range" else expected)


@pytest.mark.parametrize(
    "kind", ["wrong bytes", "wrong length", "too long", "too long, unannounced"]
)
def test_fetch_file__wrong_once_and_wrong_twice(line, hub, kind):
    hub.misbehave(NAME, kind, after=2_000_000)
    line.fetch()
    assert line.part.read_bytes() == DATA
    assert line.ranges == [None, None]
    assert (
        max(hub_request.sent for hub_request in hub.bodies(NAME)) < 20_000_000
    )  # the answer is not read to its end
    line.part.unlink()
    hub.misbehave(NAME, kind, times=2, after=2_000_000)
    with raising(Interrupted, is_wrong=True):
        line.fetch()
    assert line.part.read_bytes() == b""  # nothing of it is kept


@pytest.mark.parametrize("kind", ["page", "page, unannounced", "packed page", "empty"])
def test_fetch_file__a_log_in_page_keeps_received_bytes(line, hub, kind):
    line.part.write_bytes(DATA[:2_000_000])
    hub.misbehave(NAME, kind, times=2)
    with raising(Interrupted, is_wrong=kind != "empty"):
        line.fetch(attempts=2)
    assert line.part.read_bytes() == DATA[:2_000_000]
    hub.misbehave(NAME, kind)
    hub.asked.clear()
    line.fetch()
    assert line.part.read_bytes() == DATA
    assert line.ranges == ["bytes=2000000-"] * 2


@pytest.mark.parametrize("kind", ["refuses range", "other range", "wrong length"])
def test_fetch_file__a_refused_range_keeps_received_bytes(line, hub, kind):
    line.part.write_bytes(DATA[:2_000_000])
    hub.misbehave(NAME, kind)
    hub.misbehave(NAME, "page")
    with raising(Interrupted, is_wrong=True):
        line.fetch()
    assert line.ranges == ["bytes=2000000-", None]
    assert line.part.read_bytes() == DATA[:2_000_000]
    hub.asked.clear()
    hub.misbehave(NAME, kind)
    hub.misbehave(NAME, "503")
    hub.misbehave(NAME, "reset", after=1_000_000)
    line.fetch()
    assert line.part.read_bytes() == DATA
    # The refused range is not requested again, and a broken connection is resumed as usual. A reset may
    # throw away bytes that were sent and not read yet.
    *before, last = line.ranges
    assert before == ["bytes=2000000-", None, None]
    assert last is None or 0 < int(last.removeprefix("bytes=").removesuffix("-")) <= 1_000_000


@pytest.mark.parametrize("there", [b"x" * 1000, b"x" * SIZE, DATA + b"x"])
def test_fetch_file__foreign_part_file(line, there):
    line.part.write_bytes(there)
    line.fetch()
    assert line.part.read_bytes() == DATA


def test_fetch_file__endless_redirect(line, hub):
    hub.moved["org/model"] = "org/model"
    with raising(Interrupted, reason="TooManyRedirects"):
        line.fetch(attempts=1)
    assert len(hub.asked) < 50


@pytest.mark.parametrize(
    "location",
    [
        "http://localhost:99999/x",
        "http://[bad",
        "http://localhost:port/",
        "http://a..b/x",
        f"http://{'a' * 70}/x",
        "ftp://x/y",
    ],
)
def test_fetch_file__redirect_to_an_invalid_address(line, hub, location):
    hub.redirects_to = location
    with raising(Interrupted, is_wrong=False):
        line.fetch()
    assert len(line.waits) == 3


def test_fetch_file__address_that_the_client_refuses(line, hub):
    line.source = FileRequest(f"{hub.endpoint}/{'x' * 70_000}", {})
    with raising(Interrupted, reason="InvalidURL"):
        line.fetch(attempts=1)


def test_fetch_file__warnings_show_no_addresses(line, hub, caplog):
    caplog.set_level(logging.WARNING, logger="dino_assets")
    hub.misbehave(NAME, "reset", after=1000)
    line.fetch()
    assert f"{NAME}, 1,000 of 3,000,001 bytes: " in caplog.text
    assert "signature" not in caplog.text


def test_run__shows_only_the_class_of_the_clients_error():
    def refuse():
        raise HTTPError("Illegal header value b'Bearer hf_secret'")

    with pytest.raises(Interrupted) as caught:
        TransferRetries(attempts=2, sleep=lambda _: None).run(refuse, what="it")
    assert caught.value.reason == "HTTPError"
    assert caught.value.__suppress_context__  # or its text would be shown


def test_fetch_file__retries_a_refused_connection(line, hub):
    """The host has just answered, so it is retried as often as after other failures."""
    hub.redirects_to = f"http://127.0.0.1:{free_port()}/"
    with raising(Interrupted, reason="ConnectError", is_unreachable=True):
        line.fetch()
    assert len(line.waits) == 3


def test_run__logs_each_wait(caplog):
    def later():
        raise Interrupted("HTTP 429", after_s=300)

    with pytest.raises(Interrupted):
        TransferRetries(attempts=2, sleep=lambda _: None).run(later, what="the listing")
    assert [record.getMessage() for record in caplog.records] == [
        "the listing: HTTP 429; trying again in 300.0 s"
    ]
    assert caplog.records[0].levelname == "WARNING"


@contextlib.contextmanager
def fetching(root: Path, **order: object) -> Iterator["subprocess.Popen[str]"]:
    order = {"model": REPO, "root": str(root), **order}
    process = subprocess.Popen(
        [sys.executable, "-m", "dino_assets_tests.worlds.fetch_process", json.dumps(order)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


BIG = 64 * 2**20


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(0.0, marks=pytest.mark.slow),
        pytest.param(0.25, marks=pytest.mark.slow),
        0.5,
        pytest.param(0.9, marks=pytest.mark.slow),
        pytest.param(1.0, marks=pytest.mark.slow),
    ],
)
def test_find_checkpoint__another_process_resumes_after_a_kill(hub, tmp_path, at):
    data = np.random.default_rng(2).bytes(BIG)
    hub.add(REPO, {NAME: data})
    with fetching(tmp_path, die_at=at * BIG) as process:
        assert process.wait(60) == -signal.SIGKILL
    part = next((tmp_path / "hf").rglob("*.part"))
    part_bytes = part.stat().st_size
    # At most four batches wait for the disk, and one is being hashed.
    assert max(0, at * BIG - 6 * 2**20) <= part_bytes <= BIG
    assert part.read_bytes() == data[:part_bytes]
    hub.asked.clear()
    with fetching(tmp_path) as process:
        folder = Path(process.communicate(timeout=60)[0].strip())
        assert process.returncode == 0
    assert (folder / NAME).read_bytes() == data
    bodies = [a for a in hub.bodies(NAME) if a.host == "localhost"]
    if part_bytes < BIG:
        assert [a.range for a in bodies] == [f"bytes={part_bytes}-" if part_bytes else None]
    assert sum(a.sent for a in bodies) == BIG - part_bytes


def test_find_checkpoint__killed_while_repairing_a_damaged_file(hub, tmp_path):
    folder = find_checkpoint(REPO, root=tmp_path)
    (folder / NAME).write_bytes(b"rotten")
    with fetching(tmp_path, die_at=SIZE // 2) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert (folder / "config.json").read_bytes() == b"{}"
    assert (folder / NAME).read_bytes() == b"rotten"  # never a part of the new one
    assert find_checkpoint(REPO, root=tmp_path) == folder
    assert (folder / NAME).read_bytes() == DATA


def test_find_checkpoint__two_processes_fetch_once(hub, tmp_path):
    cache = RepoCache.of(REPO, resolve_hub(tmp_path))
    cache.folder.mkdir(parents=True)
    with (cache.folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with fetching(tmp_path) as first_process, fetching(tmp_path) as second_process:
            deadline = time.monotonic() + 60
            while sum("/revision/" in a.path for a in hub.asked) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(0.2)
            assert hub.bodies(NAME) == []
            fcntl.flock(lock, fcntl.LOCK_UN)
            folders = {
                process.communicate(timeout=60)[0].strip()
                for process in (first_process, second_process)
            }
            assert first_process.returncode == second_process.returncode == 0
    assert len(folders) == 1
    assert (Path(folders.pop()) / NAME).read_bytes() == DATA
    assert sum(a.sent for a in hub.bodies(NAME)) == SIZE


def test_find_checkpoint__progress_counts_all_files(hub, tmp_path):
    progress_counts: list[tuple[int, int]] = []
    find_checkpoint(
        REPO, root=tmp_path, watch=Watch(lambda *counts: progress_counts.append(counts))
    )
    assert progress_counts[-1] == (SIZE + 2, SIZE + 2)
    assert {total for _, total in progress_counts} == {SIZE + 2}


@pytest.mark.parametrize(
    ("kind", "error"), [("wrong bytes", ChecksumError), ("503", LocalEntryNotFoundError)]
)
def test_find_checkpoint__raises_this_packages_errors(hub, tmp_path, kind, error):
    hub.misbehave(NAME, kind, times=9)
    with raising(error, file=NAME, here_bytes=0):
        find_checkpoint(
            REPO, root=tmp_path, retries=TransferRetries(attempts=3, sleep=lambda _: None)
        )


def test_find_checkpoint__message_names_kept_bytes(hub, tmp_path):
    retries = TransferRetries(attempts=1, sleep=lambda _: None)
    hub.misbehave(NAME, "reset", after=2_000_000)
    with raising(LocalEntryNotFoundError, file=NAME, here_bytes=2_000_000):
        find_checkpoint(REPO, root=tmp_path, retries=retries)
    hub.misbehave(NAME, "page")
    with pytest.raises(ChecksumError, match=r"39 bytes.*the 2,000,000 bytes from before are kept"):
        find_checkpoint(REPO, root=tmp_path, retries=retries)
    hub.misbehave(NAME, "wrong bytes", after=2_000_000)
    with raising(ChecksumError, file=NAME, here_bytes=0):
        find_checkpoint(REPO, root=tmp_path, retries=retries)
