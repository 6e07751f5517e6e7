"""Progress lines of a transfer, with a clock that the test sets."""

import pytest

from dino_assets.weights.hub.progress import ProgressLines

MB = 10**6


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def written() -> list[str]:
    return []


@pytest.fixture
def lines(clock: Clock, written: list[str]) -> ProgressLines:
    return ProgressLines(written.append, what="model", every_s=10, clock=clock)


def test_progress_lines__start_middle_and_end(lines, clock, written):
    for second in range(41):
        clock.now_s = 100.0 + second
        lines(second * MB, 40 * MB)
    assert written == [
        "model: fetching 40.0 MB",
        "model: 10.0 of 40.0 MB (25%), 1.0 MB/s",
        "model: 20.0 of 40.0 MB (50%), 1.0 MB/s",
        "model: 30.0 of 40.0 MB (75%), 1.0 MB/s",
        "model: 40.0 of 40.0 MB (100%), 1.0 MB/s",
    ]


def test_progress_lines__no_line_before_the_interval_ends(lines, clock, written):
    lines(0, 100 * MB)
    clock.now_s += 9.9
    lines(50 * MB, 100 * MB)
    assert len(written) == 1
    clock.now_s += 0.1
    lines(50 * MB, 100 * MB)
    assert written[1:] == ["model: 50.0 of 100.0 MB (50%), 5.0 MB/s"]


def test_progress_lines__present_bytes_do_not_count_as_speed(lines, clock, written):
    lines(1_000 * MB, 1_100 * MB)
    clock.now_s += 10
    lines(1_050 * MB, 1_100 * MB)
    assert written == [
        "model: fetching 1,100.0 MB, 1,000.0 MB are there already",
        "model: 1,050.0 of 1,100.0 MB (95%), 5.0 MB/s",
    ]


def test_progress_lines__fewer_bytes_after_a_restart(lines, clock, written):
    lines(0, 100 * MB)
    clock.now_s += 10
    lines(90 * MB, 100 * MB)
    lines(50 * MB, 100 * MB)  # fewer, but not below the start: the earlier file is still there
    clock.now_s += 10
    lines(60 * MB, 100 * MB)
    assert written[1:] == [
        "model: 90.0 of 100.0 MB (90%), 9.0 MB/s",
        "model: 60.0 of 100.0 MB (60%), 3.0 MB/s",
    ]


def test_progress_lines__fewer_bytes_than_at_the_start(lines, clock, written):
    lines(80 * MB, 100 * MB)
    clock.now_s += 10
    lines(0, 100 * MB)
    clock.now_s += 10
    lines(20 * MB, 100 * MB)
    assert written == [
        "model: fetching 100.0 MB, 80.0 MB are there already",
        "model: fetching 100.0 MB",
        "model: 20.0 of 100.0 MB (20%), 2.0 MB/s",
    ]


def test_progress_lines__one_line_at_the_end(lines, written):
    lines(0, 2 * MB)
    for _ in range(3):  # an empty file may come last
        lines(2 * MB, 2 * MB)
    assert len(written) == 2
    assert "(100%)" in written[1]
