"""The scheduler of tiles: order, size of calls, cancelled and failed jobs."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_assets.embeddings.encoder.tokens import Tokens
from dino_assets.serving.computing.scheduling import PictureJob, Scheduler
from dino_assets_tests.worlds.serving import SIDE, Painter, wait_until


@dataclass
class Work:
    """Jobs that record which tiles are cut, kept and released."""

    order: list[tuple[str, int]] = field(default_factory=list)
    kept: dict[str, list[int]] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)

    def job(self, name: str, tiles: int) -> PictureJob:
        self.kept[name] = []

        def cut(number: int) -> np.ndarray:
            self.order.append((name, number))
            return np.full((SIDE, SIDE, 3), number % 256, np.uint8)

        def keep(number: int, tokens: Tokens) -> None:
            np.testing.assert_allclose(tokens["cls"][0, 0] * 255, number % 256, atol=1e-3)
            self.kept[name].append(number)

        def release() -> None:
            self.released.append(name)

        return PictureJob(tiles, cut, keep, release, lambda: self.discarded.append(name))


@pytest.fixture
def scheduled() -> Iterator:
    with ExitStack() as stack:

        def start(engine: Painter) -> Scheduler:
            scheduler = Scheduler(engine)
            stack.callback(scheduler.close)
            stack.callback(engine.gate.set)
            return scheduler

        yield start


def test_scheduler__one_tile_each_in_turn(scheduled):
    engine, work = Painter(is_held=True), Work()
    scheduler = scheduled(engine)
    jobs = [work.job(name, tiles) for name, tiles in (("a", 4), ("b", 1), ("c", 2))]
    scheduler.submit(jobs[0])
    wait_until(lambda: engine.calls)  # the first tile of a runs
    for job in jobs[1:]:
        scheduler.submit(job)
    engine.gate.set()
    for job in jobs:
        job.done.result(10)
    assert [name for name, _ in work.order] == ["a", "a", "b", "c", "a", "c", "a"]
    assert {name: sorted(tiles) for name, tiles in work.kept.items()} == {
        "a": [0, 1, 2, 3],
        "b": [0],
        "c": [0, 1],
    }


@pytest.mark.parametrize("threads", [1, 2])
def test_scheduler__a_single_tile_waits_for_at_most_three_of_294(scheduled, threads):
    engine, work = Painter(is_held=True, threads=threads), Work()
    scheduler = scheduled(engine)
    large, small = work.job("large", 294), work.job("small", 1)
    scheduler.submit(large)
    for _ in range(50):
        engine.steps.release()
    wait_until(lambda: len(engine.calls) == 50 + threads)
    scheduler.submit(small)
    steps = 0
    while ("small", 0) not in work.order:
        engine.steps.release()
        steps += 1
        wait_until(lambda: len(engine.calls) == 50 + threads + steps)  # noqa: B023
    assert steps <= 3 * threads
    assert work.order[-1] == ("small", 0)


@pytest.mark.parametrize(
    ("waiting", "calls"),
    [([1], [1]), ([3], [4]), ([1, 1, 1], [4]), ([9], [8, 1]), ([4, 4, 4], [8, 4]), ([17], [8, 8, 1])],
)  # fmt: skip
def test_scheduler__uses_the_smallest_shape_that_holds_waiting_tiles(scheduled, waiting, calls):
    """Shapes 1, 4 and 8; a call takes tiles of several pictures. A first job keeps the thread busy."""
    engine, work = Shapes(shapes=(1, 4, 8), is_held=True), Work()
    scheduler = scheduled(engine)
    first = work.job("first", 1)
    scheduler.submit(first)
    wait_until(lambda: engine.calls)
    jobs = [work.job(str(number), tiles) for number, tiles in enumerate(waiting)]
    for job in jobs:
        scheduler.submit(job)
    engine.gate.set()
    for job in jobs:
        job.done.result(10)
    assert engine.built == [1, *calls]
    assert sum(engine.calls) == 1 + sum(waiting)


def test_scheduler__tells_the_engine_that_a_tile_is_alone(scheduled):
    """A tile is alone if no other call runs and no tile waits; its time is no time of a tile on one thread."""
    engine, work = Watching(threads=2), Work()
    scheduler = scheduled(engine)
    scheduler.tile_s = 7.0
    for name in ("a", "b"):
        job = work.job(name, 1)
        scheduler.submit(job)
        job.done.result(10)
    assert engine.were_alone == [True, True]
    assert scheduler.tile_s == 7.0
    engine.is_held = True
    held, other = work.job("held", 1), work.job("other", 3)
    scheduler.submit(held)
    wait_until(lambda: len(engine.calls) == 3)
    scheduler.submit(other)
    wait_until(lambda: len(engine.calls) == 4)
    engine.gate.set()
    other.done.result(10)
    assert engine.were_alone[2:4] == [True, False]
    assert scheduler.tile_s < 7.0


class Watching(Painter):
    """An engine that records which calls were alone."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.were_alone: list[bool] = []

    def encode(self, tiles: np.ndarray, *, is_alone: bool = False) -> Tokens:
        self.were_alone.append(is_alone)
        return super().encode(tiles, is_alone=is_alone)


class Shapes(Painter):
    """An engine that records the shape of each call."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.built: list[int] = []

    def encode(self, tiles: np.ndarray, *, is_alone: bool = False) -> Tokens:
        self.built.append(next(shape for shape in self.shapes if shape >= len(tiles)))
        return super().encode(tiles, is_alone=is_alone)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
    st.integers(1, 4),
    st.sampled_from([(1,), (1, 4), (3,)]),
)
def test_scheduler__computes_every_tile_once(tiles, threads, shapes):
    work = Work()
    scheduler = Scheduler(Painter(threads=threads, shapes=shapes))
    jobs = [work.job(str(number), count) for number, count in enumerate(tiles)]
    for job in jobs:
        scheduler.submit(job)
    for job in jobs:
        job.done.result(10)
    scheduler.close()
    assert all(sorted(work.kept[str(n)]) == list(range(count)) for n, count in enumerate(tiles))
    assert sorted(work.released) == sorted(map(str, range(len(tiles))))
    assert work.discarded == []
    assert (scheduler.waiting, scheduler.computed) == (0, sum(tiles))


def test_give_up__starts_no_further_tile(scheduled):
    engine, work = Painter(is_held=True), Work()
    scheduler = scheduled(engine)
    gone_job, other_job = work.job("gone", 50), work.job("other", 3)
    scheduler.submit(gone_job)
    wait_until(lambda: engine.calls)
    scheduler.submit(other_job)
    assert scheduler.give_up(gone_job)
    assert work.released == []  # the first tile is still being computed
    assert scheduler.waiting == 3
    engine.gate.set()
    other_job.done.result(10)
    assert [name for name, _ in work.order] == ["gone", "other", "other", "other"]
    assert work.kept["gone"] == []
    assert (work.released, work.discarded) == (["gone", "other"], ["gone"])
    assert gone_job.done.cancelled()


def test_give_up__before_the_first_tile(scheduled):
    engine, work = Painter(is_held=True), Work()
    scheduler = scheduled(engine)
    first, queued = work.job("first", 1), work.job("queued", 5)
    scheduler.submit(first)
    wait_until(lambda: engine.calls)
    scheduler.submit(queued)
    scheduler.give_up(queued)
    engine.gate.set()
    first.done.result(10)
    assert work.order == [("first", 0)]
    assert work.discarded == ["queued"]


def test_give_up__after_the_end(scheduled):
    work = Work()
    scheduler = scheduled(Painter())
    job = work.job("a", 2)
    scheduler.submit(job)
    job.done.result(10)
    assert not scheduler.give_up(job)
    assert work.discarded == []


def test_scheduler__a_failing_call_fails_its_jobs(scheduled):
    engine, work = Painter(fault=MemoryError()), Work()
    scheduler = scheduled(engine)
    broken_job = work.job("broken", 5)
    scheduler.submit(broken_job)
    with pytest.raises(MemoryError):
        broken_job.done.result(10)
    engine.fault = None
    sound_job = work.job("sound", 5)
    scheduler.submit(sound_job)
    sound_job.done.result(10)
    assert (work.released, work.discarded) == (["broken", "sound"], ["broken"])


def test_scheduler__a_failing_keep_ends_only_its_job(scheduled):
    work = Work()
    scheduler = scheduled(Painter(shapes=(4,)))
    full_job, sound_job = work.job("full", 3), work.job("sound", 3)

    def fail(number: int, tokens: Tokens) -> None:
        raise OSError(28, "no space left")

    full_job.keep = fail
    scheduler.submit(full_job)
    scheduler.submit(sound_job)
    sound_job.done.result(10)
    with pytest.raises(OSError, match="no space"):
        full_job.done.result(10)
    assert sorted(work.kept["sound"]) == [0, 1, 2]
    assert work.discarded == ["full"]


def test_longest_call_s__a_running_call(scheduled):
    engine = Painter(is_held=True)
    scheduler = scheduled(engine)
    assert scheduler.longest_call_s() == 0
    scheduler.submit(Work().job("a", 1))
    wait_until(lambda: scheduler.longest_call_s() > 0.05)


def test_close__leaves_no_thread():
    scheduler = Scheduler(Painter(threads=3))
    scheduler.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("tiles-")]
