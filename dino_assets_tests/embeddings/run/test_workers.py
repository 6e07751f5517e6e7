"""Worker processes that stay from one drop of a run to the next, and what ends them."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dino_assets.compute.processes import Workers
from dino_assets.embeddings.run.shards import Done
from dino_assets.errors import ConfigError, SourceError, WorkerLostError
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.shard_workers import Echo, Stubborn, make_shards

DEVICES = ["0", "1"]


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers(patience_s=0.5)
    yield workers
    workers.close()
    assert multiprocessing.active_children() == []


def pids_of(
    workers: Workers, work: Echo, *, devices: list[str] = DEVICES, count: int = 8
) -> set[int]:
    """Whose processes worked on some shards, all of which are done."""
    messages = list(workers.map_shards(make_shards(count), work, devices=devices))
    done_messages = [message for message in messages if isinstance(message, Done)]
    assert sorted(each.number for each in done_messages) == list(range(count))
    return {each.receipt.facts["pid"] for each in done_messages}


def children() -> set[int]:
    return {int(each.pid or 0) for each in multiprocessing.active_children()}


def test_map_shards__reuses_the_processes(workers: Workers, tmp_path: Path):
    slow_work = Echo(tmp_path, wait_s=0.2)
    first_pids = pids_of(workers, slow_work)
    assert first_pids == children()
    assert len(first_pids) == 2
    assert pids_of(workers, slow_work) == first_pids
    # A drop of one shard: by the process that has the model open, not by another one beside it.
    assert pids_of(workers, slow_work, devices=["0"], count=1) <= first_pids
    assert children() == first_pids


def test_map_shards__several_equal_devices(workers: Workers, tmp_path: Path):
    """A CPU that is divided: its parts have one name."""
    equal_devices = ["cpu", "cpu"]
    first_pids = pids_of(workers, Echo(tmp_path, wait_s=0.2), devices=equal_devices)
    assert len(first_pids) == 2
    assert pids_of(workers, Echo(tmp_path, wait_s=0.2), devices=equal_devices) == first_pids


def test_map_shards__one_device_uses_this_process(workers: Workers, tmp_path: Path):
    assert pids_of(workers, Echo(tmp_path), devices=["0"]) == {os.getpid()}
    assert children() == set()


def test_map_shards__restarts_a_process_that_died_between_calls(workers: Workers, tmp_path: Path):
    slow_work = Echo(tmp_path, wait_s=0.2)
    first_pids = pids_of(workers, slow_work)
    dead_process = multiprocessing.active_children()[0]
    dead_process.kill()
    dead_process.join()
    second_pids = pids_of(workers, slow_work)
    assert second_pids & first_pids == first_pids - {dead_process.pid}
    assert len(second_pids) == 2


def test_map_shards__next_call_after_a_killed_worker_is_complete(workers: Workers, tmp_path: Path):
    lethal_work = Echo(tmp_path, at=3, how="kill", wait_s=0.05)
    with raising(WorkerLostError, exit_code=-signal.SIGKILL):
        list(workers.map_shards(make_shards(6), lethal_work, devices=DEVICES))
    assert len(pids_of(workers, Echo(tmp_path, wait_s=0.2))) == 2


@pytest.mark.parametrize(("how", "kind"), [("source", SourceError), ("stubborn", RuntimeError)])
def test_map_shards__a_worker_that_raised_is_reused(
    workers: Workers, tmp_path: Path, how: str, kind: type[Exception]
):
    """A drop's error ends who is in the middle of it; who raised it waits for the next drop."""
    assert issubclass(Stubborn, Exception)
    first_pids = pids_of(workers, Echo(tmp_path, wait_s=0.2))
    with pytest.raises(kind):
        list(workers.map_shards(make_shards(6), Echo(tmp_path, at=0, how=how), devices=DEVICES))
    second_pids = pids_of(workers, Echo(tmp_path, wait_s=0.2))
    assert len(second_pids) == 2
    assert second_pids & first_pids


def test_map_shards__an_unpicklable_job_starts_no_process(workers: Workers, tmp_path: Path):
    class Local(Echo):
        """Pickle finds it nowhere."""

    with pytest.raises(Exception, match="pickle"):
        list(workers.map_shards(make_shards(2), Local(tmp_path), devices=DEVICES))
    assert children() == set()


def test_map_shards__a_device_that_cannot_be_opened_is_tried_again(
    workers: Workers, tmp_path: Path
):
    with pytest.raises(ConfigError):
        list(
            workers.map_shards(make_shards(6), Echo(tmp_path, how="fail to open"), devices=DEVICES)
        )
    assert len(pids_of(workers, Echo(tmp_path, wait_s=0.2))) == 2


def test_map_shards__closed_in_the_middle_ends_busy_workers(workers: Workers, tmp_path: Path):
    messages = workers.map_shards(make_shards(6), Echo(tmp_path, wait_s=0.2), devices=DEVICES)
    next(message for message in messages if isinstance(message, Done))
    messages.close()
    assert children() == set()


def test_close__ends_idle_workers(workers: Workers, tmp_path: Path):
    pids_of(workers, Echo(tmp_path))
    assert children()
    workers.close()
    assert children() == set()
