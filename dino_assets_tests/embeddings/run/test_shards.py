"""Shards: cut at whole images, worked on by one process or several, whatever becomes of those."""

import contextlib
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_assets.compute.settings import ComputeSettings
from dino_assets.drops.sources.opening import open_source
from dino_assets.embeddings.run.shards import Done, Shard, Step, WorkerReady, cut_shards
from dino_assets.errors import (
    ConfigError,
    CorruptObjectError,
    SourceError,
    UnusableImageError,
    WorkerLostError,
)
from dino_assets.store.commits.sealing import digest
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets.store.upkeep.verifying import verify
from dino_assets_tests.conftest import REPOSITORY, photo_bytes, s3_settings
from dino_assets_tests.worlds.embedding_bench import COMPUTE, PHOTO_TILES, Bench, write_photos
from dino_assets_tests.worlds.embedding_process import STALLS_AFTER, StallingSource
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.shard_workers import Echo, make_shards, map_shards

MakeBench = Callable[[ObjectStore], Bench]
DEVICES = ["0", "1"]
PHOTOS = 9


class WholeDrop(NamedTuple):
    """A bench whose drop ``d`` is to be embedded, and the bytes of the manifest it must get."""

    bench: Bench
    manifest: bytes


def tiles_of(sizes: list[int]) -> pa.Table:
    """So many tiles of each image."""
    images = [f"i{n:03d}" for n, size in enumerate(sizes) for _ in range(size)]
    return pa.table(
        {"tile_id": [f"{image}-{n:04d}" for n, image in enumerate(images)], "image_id": images},
        schema=pa.schema([("tile_id", pa.string()), ("image_id", pa.string())]),
    )


def sizes_of(cut: list[Shard]) -> list[int]:
    return [shard.tiles.num_rows for shard in cut]


# --- the parent's own errors ---


def test_map_shards__an_error_of_the_shard_iterator_is_raised(tmp_path: Path):
    """A store that fails while a shard is fetched for a worker: that is what is raised."""

    def failing() -> Iterator[Shard]:
        yield from make_shards(2)
        raise TimeoutError("the disk")

    with pytest.raises(TimeoutError) as caught:
        list(map_shards(failing(), Echo(tmp_path), devices=DEVICES))
    assert caught.value.args == ("the disk",)
    assert multiprocessing.active_children() == []


# --- cutting --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shard_tiles", "expected"),
    [(1, [16, 16, 16]), (16, [16, 16, 16]), (32, [32, 16]), (47, [32, 16]), (48, [48])],
)
def test_cut_shards__whole_images(shard_tiles: int, expected: list[int]):
    assert sizes_of(cut_shards(tiles_of([16] * 3), recipe_id="r", shard_tiles=shard_tiles)) == (
        expected
    )


def test_cut_shards__one_image_may_have_more():
    assert sizes_of(cut_shards(tiles_of([2, 300, 2]), recipe_id="r")) == [2, 300, 2]


def test_cut_shards__of_nothing():
    assert cut_shards(tiles_of([]), recipe_id="r") == []


def test_cut_shards__ids_depend_on_the_inputs():
    tiles = tiles_of([2, 2])
    first, second = cut_shards(tiles, recipe_id="r", shard_tiles=2)
    assert first.id != second.id
    assert cut_shards(tiles, recipe_id="s", shard_tiles=2)[0].id != first.id
    # Not the place: an image that comes before it changes nothing.
    (lone_shard,) = cut_shards(tiles.slice(2), recipe_id="r", shard_tiles=2)
    assert (lone_shard.id, lone_shard.first, second.first) == (second.id, 0, 2)
    assert digest(["r", second.tiles["tile_id"].to_pylist()])[:32] == second.id
    # But files that are named by row are of that place.
    (lone_shard,) = cut_shards(tiles.slice(2), recipe_id="r", shard_tiles=2, is_placed=True)
    placed_shards = cut_shards(tiles, recipe_id="r", shard_tiles=2, is_placed=True)
    assert len({lone_shard.id, placed_shards[0].id, placed_shards[1].id}) == 3
    assert digest(["r from 2", second.tiles["tile_id"].to_pylist()])[:32] == placed_shards[1].id


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 20))
def test_cut_shards__every_row_once_in_order(sizes: list[int], shard_tiles: int):
    tiles = tiles_of(sizes)
    cut = cut_shards(tiles, recipe_id="r", shard_tiles=shard_tiles)
    assert [s.number for s in cut] == list(range(len(cut)))
    assert [s.first for s in cut] == [sum(sizes_of(cut)[:n]) for n in range(len(cut))]
    names = [name for shard in cut for name in shard.tiles["tile_id"].to_pylist()]
    assert names == tiles["tile_id"].to_pylist()
    images = [set(s.tiles["image_id"].to_pylist()) for s in cut]
    assert sum(map(len, images)) == len(sizes)
    assert all(
        s.tiles.num_rows <= shard_tiles or len(image_ids) == 1
        for s, image_ids in zip(cut, images, strict=True)
    )


# --- several processes, without a model ------------------------------------------------------


def done_of(messages: Iterator[object]) -> dict[int, list[str]]:
    done_messages = [message for message in messages if isinstance(message, Done)]
    assert len({d.number for d in done_messages}) == len(done_messages)
    return {d.number: d.receipt.facts["ids"] for d in done_messages}


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_map_shards__every_shard_once(tmp_path: Path, count: int):
    """Whatever their number; with fewer shards than workers some have nothing to do."""
    shards = make_shards(count)
    expected = {shard.number: shard.tiles["tile_id"].to_pylist() for shard in shards}
    assert done_of(map_shards(shards, Echo(tmp_path), devices=["0"])) == expected
    assert done_of(map_shards(shards, Echo(tmp_path), devices=DEVICES)) == expected
    assert multiprocessing.active_children() == []


def test_map_shards__uses_one_process_per_device(tmp_path: Path):
    messages = list(map_shards(make_shards(8), Echo(tmp_path, wait_s=0.3), devices=DEVICES))
    engines = [m.facts["engine"] for m in messages if isinstance(m, WorkerReady)]
    assert sorted(engines) == ["echo on 0", "echo on 1"]
    pids = {m.receipt.facts["pid"] for m in messages if isinstance(m, Done)}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert sum(m.tiles for m in messages if isinstance(m, Step)) == 8 * 4


def test_map_shards__one_device_uses_this_process(tmp_path: Path):
    messages = list(map_shards(make_shards(2), Echo(tmp_path), devices=["0"]))
    assert {m.receipt.facts["pid"] for m in messages if isinstance(m, Done)} == {os.getpid()}


def test_map_shards__pickles_a_shard_without_the_rest_of_its_drop(tmp_path: Path):
    """pickle takes the whole table along with a slice of it."""
    shards = make_shards(50, rows=400)
    assert len(pickle.dumps(shards[3].tiles)) > 10 * shards[3].tiles.nbytes
    assert len(pickle.dumps(shards[3])) < 2 * shards[3].tiles.nbytes
    assert done_of(map_shards(shards, Echo(tmp_path), devices=DEVICES))[49] == (
        shards[49].tiles["tile_id"].to_pylist()
    )


def test_map_shards__shards_larger_than_a_pipe(tmp_path: Path):
    shards = make_shards(4, rows=20_000)
    assert shards[0].tiles.nbytes > 2**18
    assert sorted(done_of(map_shards(shards, Echo(tmp_path), devices=DEVICES))) == [0, 1, 2, 3]


def test_map_shards__takes_shards_one_by_one(tmp_path: Path):
    shard_numbers = []

    def lazy() -> Iterator[Shard]:
        for shard in make_shards(30):
            shard_numbers.append(shard.number)
            yield shard

    messages = map_shards(lazy(), Echo(tmp_path), devices=DEVICES)
    first_message = next(message for message in messages if isinstance(message, Done))
    assert first_message.number in (0, 1)
    assert len(shard_numbers) <= 4
    messages.close()


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("source", SourceError, "'a.jpg' is not the photograph that was tiled"),
        ("keywords", CorruptObjectError, "a part is gone"),
        ("rewritten", UnusableImageError, "blank: one colour"),
        ("config", ConfigError, "columns is empty"),
        ("stubborn", RuntimeError, "Stubborn: a lock inside"),
    ],
)
def test_map_shards__raises_the_workers_error(tmp_path: Path, how, kind, message: str):
    with pytest.raises(kind) as caught:
        list(map_shards(make_shards(6), Echo(tmp_path, at=2, how=how), devices=DEVICES))
    assert type(caught.value) is kind
    assert str(caught.value) == message
    assert "in strike" in caught.value.__notes__[0]  # where in the other process
    if how == "keywords":
        assert (caught.value.store, caught.value.key) == ("memory://", "parts/1")
    if how == "rewritten":
        assert (caught.value.reason, caught.value.detail) == ("blank", "one colour")
    assert multiprocessing.active_children() == []


def test_map_shards__a_device_that_cannot_be_opened(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        list(map_shards(make_shards(6), Echo(tmp_path, how="fail to open"), devices=DEVICES))
    assert caught.value.args == ("no such device",)


@pytest.mark.parametrize(("how", "code"), [("kill", -9), ("exit", 3)])
def test_map_shards__a_worker_that_died(tmp_path: Path, how: str, code: int):
    messages = map_shards(make_shards(6), Echo(tmp_path, at=3, how=how), devices=DEVICES)
    with raising(WorkerLostError, exit_code=code):
        assert 3 not in done_of(messages)
    assert multiprocessing.active_children() == []


def test_map_shards__closed_in_the_middle(tmp_path: Path):
    messages = map_shards(make_shards(6), Echo(tmp_path, wait_s=0.1), devices=DEVICES)
    next(message for message in messages if isinstance(message, Done))
    assert len(multiprocessing.active_children()) == 2
    messages.close()
    assert multiprocessing.active_children() == []


def test_map_shards__closed_while_a_worker_does_not_respond(tmp_path: Path):
    deaf_work = Echo(tmp_path, how="deaf", wait_s=0.1)
    messages = map_shards(make_shards(6), deaf_work, devices=DEVICES, patience_s=0.2)
    next(message for message in messages if isinstance(message, Done))
    messages.close()
    assert multiprocessing.active_children() == []


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@contextlib.contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, *command], cwd=REPOSITORY) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], object], *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_map_shards__workers_end_when_the_parent_is_killed(tmp_path: Path):
    with started("-m", "dino_assets_tests.worlds.shard_workers", str(tmp_path)) as parent:
        wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
        pids = [int(path.stem.partition("-")[2]) for path in tmp_path.glob("*.pid")]
        assert all(map(is_running, pids))
        parent.kill()
        parent.wait()
        wait_until(lambda: not any(map(is_running, pids)), seconds=10)


def test_sources__can_be_pickled(tmp_path: Path):
    write_photos(tmp_path / "card", [0])
    (tmp_path / "list.csv").write_text("image_path\ncard/DJI_0.JPG\n")
    for address in ("card", "list.csv"):
        source = open_source(address, root=tmp_path)
        source.read(source.entries()[0].path)
        source_copy = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own bytes
        assert source_copy.read(source_copy.entries()[0].path) == photo_bytes(
            1100, 300, seed=0, quality=30
        )


# --- several processes, with one -------------------------------------------------------------


def test_draft_embeddings__an_in_memory_store_refuses_several_processes(
    make_bench: MakeBench, tmp_path: Path
):
    bench = make_bench(ObjectStore.in_memory())
    bench.add_drop("d", write_photos(tmp_path / "card", range(2)))
    with pytest.raises(ConfigError) as caught:
        bench.commit(compute=replace(COMPUTE, processes=2))
    assert (caught.value.setting, caught.value.value) == ("storage", bench.store.url)
    assert multiprocessing.active_children() == []


def test_draft_embeddings__no_more_processes_than_shards(make_bench: MakeBench, tmp_path: Path):
    """One shard is computed here, with all threads, even where a store could not travel."""
    bench = make_bench(ObjectStore.in_memory())
    bench.add_drop("d", write_photos(tmp_path / "card", range(2)))
    committed = bench.commit(compute=replace(COMPUTE, processes=2), shard_tiles=1000)
    assert committed.metadata["shards_made"] == 1
    assert bench.commit(compute=replace(COMPUTE, processes=4), shard_tiles=1000).was_reused


@pytest.mark.slow
def test_draft_embeddings__two_processes_make_the_same_bytes(
    make_bench: MakeBench, s3_endpoint: str, tmp_path: Path
):
    """Through a bucket; the next test goes through a folder."""
    bucket = make_bench(open_store(s3_settings(s3_endpoint, tmp_path)))
    bucket.add_drop("d", write_photos(tmp_path / "card", range(4)))
    bucket.commit()
    manifest_bytes = bucket.manifest_bytes()
    bucket.forget()
    committed = bucket.commit(compute=replace(COMPUTE, processes=2))
    assert committed.metadata["shards_made"] == 4
    assert bucket.manifest_bytes() == manifest_bytes
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_draft_embeddings__two_processes_with_this_machines_engine(
    make_bench: MakeBench, local_store: ObjectStore, tmp_path: Path
):
    """Whatever `auto` takes: its numbers depend neither on threads nor on processes."""
    bench = make_bench(local_store).add_drop("d", write_photos(tmp_path / "card", range(4)))
    compute = ComputeSettings(device="cpu", threads=2)
    manifest = bench.commit(compute=compute).manifest
    bench.forget()
    committed = bench.commit(compute=replace(compute, processes=2))
    assert committed.metadata["shards_made"] == 4
    assert committed.manifest == manifest


@pytest.mark.slow
def test_draft_embeddings__a_photograph_that_changed_under_two_processes(
    make_bench: MakeBench, local_store: ObjectStore, tmp_path: Path
):
    bench = make_bench(local_store).add_drop("d", write_photos(tmp_path / "card", range(2)))
    write_photos(tmp_path / "card", [99])
    (tmp_path / "card" / "DJI_99.JPG").rename(tmp_path / "card" / "DJI_1.JPG")
    with pytest.raises(SourceError) as caught:
        bench.commit(compute=replace(COMPUTE, processes=2))
    assert caught.value.path == "DJI_1.JPG"
    assert bench.table().drops == ()
    assert multiprocessing.active_children() == []


@pytest.fixture
def whole_drop(make_bench: MakeBench, local_store: ObjectStore, tmp_path: Path) -> WholeDrop:
    """Nine shards that nobody has computed, and the manifest that they must end in."""
    bench = make_bench(local_store).add_drop("d", write_photos(tmp_path / "card", range(PHOTOS)))
    bench.commit()
    manifest = bench.manifest_bytes()
    bench.forget()
    return WholeDrop(bench, manifest)


def count_sound_receipts(bench: Bench) -> int:
    """After a kill: a few shards are there, no drop is, and all is sound."""
    receipts = len(bench.receipts())
    assert 2 <= receipts <= 2 * STALLS_AFTER < PHOTOS
    assert bench.table().drops == ()
    assert list(verify(bench.store)) == []
    return receipts


@pytest.mark.slow
def test_draft_embeddings__a_worker_is_killed(whole_drop: WholeDrop, tmp_path: Path):
    bench = whole_drop.bench

    def kill_one() -> None:
        wait_until(lambda: len(bench.receipts()) >= 2, seconds=120)
        multiprocessing.active_children()[0].kill()

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(WorkerLostError) as caught:
        bench.commit(
            source=StallingSource(tmp_path / "card", shown="card"),
            compute=replace(COMPUTE, processes=2),
        )
    killer.join()
    assert caught.value.exit_code == -9
    receipts = count_sound_receipts(bench)
    committed = bench.commit(compute=replace(COMPUTE, processes=2))
    assert committed.metadata["shards_reused"] == receipts
    assert bench.manifest_bytes() == whole_drop.manifest


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_draft_embeddings__sigkill(
    whole_drop: WholeDrop,
    checkpoint_dir: Path,
    engine_cache: Path,
    tmp_path: Path,
    calls,
    processes: int,
):
    """Killed at any moment: the same bytes in the end, one shard's work repeated at most."""
    bench = whole_drop.bench
    module = "dino_assets_tests.worlds.embedding_process"
    arguments = (str(tmp_path), str(checkpoint_dir), str(engine_cache), str(processes))
    with started("-m", module, *arguments) as process:
        wait_until(lambda: len(bench.receipts()) >= 2, seconds=120)
        process.kill()
        process.wait()
    if processes > 1:
        time.sleep(1)  # whoever is left may still store what it is storing
    receipts = count_sound_receipts(bench)
    calls.reset()
    committed = bench.commit()
    assert committed.metadata["shards_reused"] == receipts
    assert sum(calls.of_run) == PHOTO_TILES * (PHOTOS - receipts)
    assert bench.manifest_bytes() == whole_drop.manifest
