"""What a person sees of a long run, by a clock that is set by hand."""

import logging

import pyarrow as pa
import pytest

from dino_assets.embeddings.run.progress import ShardProgress, show_seconds
from dino_assets.embeddings.run.shards import Done, Shard, Step, WorkerReady
from dino_assets.store.commits.protocol import OutputId, Receipt


class Clock:
    """Is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def seen(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def is_idle(threads: int) -> bool:
    return False


def make_shards(count: int, *, tiles: int = 100, images: int = 5) -> list[Shard]:
    ids = [f"i{n % images}" for n in range(tiles)]
    table = pa.table({"tile_id": [f"t{n}" for n in range(tiles)], "image_id": ids})
    return [Shard(number, number * tiles, f"s{number}", table) for number in range(count)]


def ready(engine: str = "torch fp32 on cpu", **values: float) -> WorkerReady:
    fields = {"tile_s": 0.1, "image_s": 0.4, "tile_bytes": 2000.0, "threads": 2, **values}
    return WorkerReady({"engine": engine}, int(fields.pop("threads")), **fields)


def done(number: int) -> Done:
    return Done(number, Receipt(OutputId("embeddings"), f"s{number}", ()))


def lines(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records]


def test_progress__forecast_of_a_processor_adds_reading(clock: Clock, seen):
    """400 tiles at 0.1 s, and 20 images at 0.4 s on two threads."""
    ShardProgress("d", make_shards(4), [], read_clock=clock, is_busy=is_idle).update(ready())
    assert lines(seen) == ["d: torch fp32 on cpu; forecast: 400 tiles of 20 images, 44 s, 0.8 MB"]


def test_progress__forecast_mentions_other_programs(clock: Clock, seen):
    busy = ShardProgress(
        "d", make_shards(4), [], read_clock=clock, is_busy=lambda threads: threads == 2
    )
    busy.update(ready())
    assert lines(seen)[0].endswith("0.8 MB; other programs use this machine, it may take longer")


@pytest.mark.parametrize(("image_s", "told"), [(0.4, "40 s"), (3.0, "60 s")])
def test_progress__forecast_of_a_gpu_uses_the_slower_of_reading_and_computing(
    clock: Clock, seen, image_s, told
):
    ShardProgress("d", make_shards(4), [], read_clock=clock, is_busy=is_idle).update(
        ready("torch bf16 on cuda", image_s=image_s)
    )
    assert f"400 tiles of 20 images, {told}, 0.8 MB" in lines(seen)[0]


def test_progress__forecast_of_a_processor_limited_by_reading(clock: Clock, seen):
    """20 images at 10 s by one thread, however many compute."""
    ShardProgress("d", make_shards(4), [], read_clock=clock, is_busy=is_idle).update(
        ready(image_s=10.0, threads=16)
    )
    assert "400 tiles of 20 images, 3.3 min, 0.8 MB" in lines(seen)[0]


def test_progress__two_workers_are_twice_as_fast(clock: Clock, seen):
    """On two threads each: computing halves, and so does reading."""
    progress = ShardProgress("d", make_shards(4), [], read_clock=clock, is_busy=is_idle)
    progress.update(ready())
    progress.update(ready())
    assert "44 s" in lines(seen)[0]
    assert "22 s" in lines(seen)[1]


def test_progress__forecast_counts_only_the_tiles_left(clock: Clock, seen):
    progress = ShardProgress("d", make_shards(4), [0, 2], read_clock=clock, is_busy=is_idle)
    progress.count_copied(60, images=3, shards=0)
    progress.update(ready())
    assert lines(seen) == [
        "d: 2 of 4 shards are already stored and are reused, 200 tiles to compute",
        "d: 60 tiles of 3 images copied from stored embeddings, 140 tiles to compute",
        "d: torch fp32 on cpu; forecast: 140 tiles of 7 images, 15 s, 0.3 MB",
    ]


def test_progress__a_line_every_few_seconds(clock: Clock, seen):
    progress = ShardProgress("d", make_shards(4), [], read_clock=clock, is_busy=is_idle)
    progress.update(ready())
    for _ in range(12):
        clock.now += 1.0
        progress.update(Step(10, read_s=0.5, compute_s=1.5))
    assert lines(seen)[1:] == [
        "d: 50 of 400 tiles (12 %), 10.0 tiles/s, about 35 s left; shard 0 of 4, 0 reused; "
        "read 2.5 s, compute 7.5 s, write 0.0 s, summed over threads",
        "d: 100 of 400 tiles (25 %), 10.0 tiles/s, about 30 s left; shard 0 of 4, 0 reused; "
        "read 5.0 s, compute 15.0 s, write 0.0 s, summed over threads",
    ]


def test_progress__time_left_counts_from_the_first_ready_worker(clock: Clock, seen):
    """Opening a model is not computing, and a second worker does not start the clock again."""
    progress = ShardProgress("d", make_shards(4), [], read_clock=clock, is_busy=is_idle)
    clock.now += 100.0
    progress.update(ready())
    clock.now += 10.0
    progress.update(Step(100))
    progress.update(ready())
    clock.now += 10.0
    progress.update(Step(100))
    assert "200 of 400 tiles (50 %), 10.0 tiles/s, about 20 s left" in lines(seen)[-1]


def test_progress__counts_shards_reused_copied_and_made(clock: Clock, seen):
    progress = ShardProgress("d", make_shards(4), [1], read_clock=clock, is_busy=is_idle)
    progress.count_copied(100, images=5, shards=1)
    progress.update(ready())
    progress.update(Step(100))
    clock.now += 6.0
    progress.update(done(0))
    assert "shard 3 of 4, 1 reused" in lines(seen)[-1]


def test_progress__afterwards_the_forecast_is_compared(clock: Clock, seen):
    progress = ShardProgress("d", make_shards(1), [], read_clock=clock, is_busy=is_idle)
    progress.update(ready(image_s=0.0))
    clock.now += 12.0
    progress.update(Step(100, read_s=1.0, compute_s=22.0))
    progress.update(Step(write_s=0.5))
    progress.update(done(0))
    totals = progress.finish()
    assert lines(seen)[-2:] == [
        "d: 100 of 100 tiles (100 %), 8.3 tiles/s, about 0 s left; shard 1 of 1, 0 reused; "
        "read 1.0 s, compute 22.0 s, write 0.5 s, summed over threads",
        "d: took 12 s, the forecast was 10 s (+20 %)",
    ]
    assert (totals.read_s, totals.compute_s, totals.write_s) == (1.0, 22.0, 0.5)
    assert totals.metadata == {
        "shards_reused": 0,
        "shards_made": 1,
        "tiles_per_s": 8.33,
        "forecast_s": 10.0,
        "took_s": 12.0,
    }


def test_progress__nothing_was_computed(clock: Clock, seen):
    totals = ShardProgress("d", make_shards(2), [0, 1], read_clock=clock, is_busy=is_idle).finish()
    assert totals.metadata == {"shards_reused": 2, "shards_made": 0}
    assert len(lines(seen)) == 2
    assert "2 of 2 shards are already stored and are reused, 0 tiles to compute" in lines(seen)[0]
    assert "shard 2 of 2, 2 reused" in lines(seen)[1]


def test_progress__warnings_are_logged_and_recorded_once(clock: Clock, seen):
    progress = ShardProgress("d", make_shards(1), [], read_clock=clock, is_busy=is_idle)
    refusing = WorkerReady({"engine": "torch fp32 on cpu", "refused": ["openvino: broke"]}, 1)
    progress.update(refusing)
    progress.update(refusing)
    progress.update(Step(warning="out of memory: continuing with 4 tiles per call"))
    assert progress.finish().metadata["warnings"] == [
        "refused: openvino: broke",
        "out of memory: continuing with 4 tiles per call",
    ]
    warnings = [r.getMessage() for r in seen.records if r.levelno == logging.WARNING]
    assert (
        warnings[0]
        == "d: using torch fp32 on cpu, because another engine was refused: openvino: broke"
    )
    assert warnings[-1] == "d: out of memory: continuing with 4 tiles per call"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (48.4, "48 s"), (99, "99 s"), (750, "12.5 min"), (11520, "3.2 h")],
)
def test_show_seconds__units(seconds: float, shown: str):
    assert show_seconds(seconds) == shown


def test_progress__rows_to_copy_that_are_gone(clock: Clock, seen):
    """More is computed than was told: never above 100 %, never less than nothing left."""
    progress = ShardProgress("d", make_shards(1), [], read_clock=clock, is_busy=is_idle)
    progress.count_copied(60, images=3, shards=0)
    progress.update(ready())
    progress.update(Step(100, 0.0, 10.0))
    progress.update(done(0))
    clock.now += 10
    progress.finish()
    (progress_line,) = [line for line in lines(seen) if "tiles/s" in line]
    assert "100 of 100 tiles (100 %)" in progress_line
    assert "about 0 s left" in progress_line


def test_progress__nothing_to_compute(clock: Clock, seen):
    progress = ShardProgress("d", make_shards(2), [0, 1], read_clock=clock, is_busy=is_idle)
    progress.finish()
    assert lines(seen)[-1] == "d: nothing to compute, shard 2 of 2, 2 reused"
