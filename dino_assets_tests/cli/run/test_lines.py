"""Lines printed for a run, on a terminal and in a log file."""

import io
import logging
import sys
import threading
import time

import dagster as dg
import pytest

from dino_assets.cli.run.lines import RunLines, describe_made, describe_quarantined
from dino_assets.cli.run.printer import Printer
from dino_assets.cli.terminal import name_command
from dino_assets.defs.judging import show_rows
from dino_assets.images.stage.judging import BadFile

RATE = (
    "a: {} of 100 tiles ({} %), 1.0 tiles/s, about 9 s left; shard 1 of 2, 0 reused; read 1.0 s, c"
)


def log_entry(text: str, level: int = logging.INFO, step: str = "embeddings") -> dg.EventLogEntry:
    return dg.EventLogEntry(
        error_info=None,
        level=level,
        user_message=text,
        run_id="r",
        timestamp=0.0,
        step_key=step,
        job_name="ingest",
    )


def step_start(step: str) -> dg.EventLogEntry:
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.STEP_START.value, job_name="ingest", step_key=step
    )
    entry = log_entry("", step=step)
    return entry._replace(dagster_event=event)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_run_lines__progress_at_growing_intervals_in_a_log(clock, capsys):
    lines = RunLines(Printer(), drop="a", read_clock=clock)
    for second in range(0, 200, 5):
        clock.now = float(second)
        lines(log_entry(RATE.format(second, second)))
    printed = capsys.readouterr().out.splitlines()
    assert [int(line.split()[1]) for line in printed] == [5, 15, 35, 65, 95, 125, 155, 185]
    assert printed[0].endswith("about 9 s left; shard 1 of 2, 0 reused")


def test_run_lines__line_every_half_minute_of_a_silent_step(clock, capsys):
    lines = RunLines(Printer(), drop="a", read_clock=clock)

    def wait(until: int) -> list[str]:
        for second in range(int(clock.now) + 1, until + 1):
            clock.now = float(second)
            lines.beat()
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    assert wait(31) == ["starting … 30 s so far"]
    lines(step_start("tiles"))
    assert wait(100) == ["tiles cutting tiles … 29 s so far", "tiles cutting tiles … 59 s so far"]
    lines(step_start("tiles_tiles_are_sound"))
    assert wait(150) == [
        "checking the results … 20 s so far",
        "checking the results … 50 s so far",
    ]
    lines(step_start("embeddings"))
    lines(log_entry("holding it against PyTorch"))
    # A logged, unprinted line comes first; later only the time is printed.
    assert wait(181) == ["embeddings holding it against PyTorch"]
    assert wait(215) == ["embeddings at work … 60 s so far"]


def test_run_lines__no_half_minute_line_on_a_terminal(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    lines = RunLines(Printer(), drop="a", read_clock=clock)
    clock.now = 99.0
    lines.beat()
    assert capsys.readouterr().out == ""


def test_run_lines__beat_is_called_by_a_thread(clock, capsys):
    lines = RunLines(Printer(), drop="a", read_clock=clock)
    beats = threading.Event()
    with lines.beating():
        clock.now = 30.0
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not beats.wait(0.05):
            if capsys.readouterr().out:
                beats.set()
    assert beats.is_set()
    assert "run-lines" not in {thread.name for thread in threading.enumerate()}


def test_run_lines__lines_that_are_printed_at_once(clock, capsys):
    lines = RunLines(Printer(), drop="a", read_clock=clock)
    lines(log_entry("a: some engine; forecast: 720 tiles of 6 images, 85 s, 0.5 MB"))
    lines(log_entry("a: the engine was changed", logging.WARNING))
    lines(log_entry("a: committed, 3 rows, 61.1 kB in 5 parts, 0.40 s"))
    lines(log_entry("drop a failed", logging.ERROR))
    lines(log_entry("a: 3 no-gps", logging.WARNING, step="images_images_look_right"))
    printed = capsys.readouterr()
    assert [line.split(maxsplit=1) for line in printed.out.splitlines()] == [
        ["embeddings", "some engine; forecast: 720 tiles of 6 images, 85 s, 0.5 MB"],
        ["embeddings", "the engine was changed"],
    ]
    assert printed.err == ""


def test_run_lines__one_warning_is_printed_once(capsys):
    warnings: set[str] = set()
    for drop in ("a", "b"):
        lines = RunLines(Printer(), drop=drop, warned=warnings)
        for asset in ("weights", "embeddings"):
            lines(log_entry(f"{asset}: mind that", logging.WARNING, step=asset))
    assert capsys.readouterr().out == "  weights      mind that\n"


def test_run_lines__progress_on_a_terminal_is_one_line(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    lines = RunLines(Printer(), drop="a", read_clock=clock)
    for second in range(0, 1000, 5):
        clock.now = float(second)
        lines(log_entry(RATE.format(second, second)))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\r\x1b[2K") == 200
    assert "\n" not in printed.err


@pytest.mark.parametrize(
    ("asset", "metadata", "line"),
    [
        ("images", {"dagster/row_count": 1200, "usable": 1198, "seconds": 4.21}, None),
        ("weights", {"model": "m", "stored_mb": 2.0, "was_reused": True}, "m, 2.0 MB, reused"),
        ("selections", {"dagster/row_count": 20, "pool": 1720, "seconds": 1}, "20 of 1,720 tiles chosen, 1.0 s"),
        (
            "embeddings",
            {"dagster/row_count": 720, "seconds": 85, "tiles_per_s": 8.47, "forecast_s": 80},
            "720 vectors, 85 s, 8.5 tiles/s, the forecast was 80 s",
        ),
    ],
)  # fmt: skip
def test_describe_made__rows_and_seconds(asset: str, metadata: dict, line: str | None):
    assert describe_made(asset, metadata) == (line or "1,200 files, 1,198 usable, 4.2 s")


def test_describe_quarantined__the_first_few():
    names = [f"{number}.JPG" for number in range(4)]
    bad_files = [BadFile("a", name, "truncated", "") for name in ("x\n.JPG", *names)]

    def describe(files: list[BadFile]) -> list[str]:
        rows = {"quarantined": show_rows(files, ["path", "reason", "detail"])}
        return [line.strip() for line in describe_quarantined(rows, drop="a")]

    first, *other_lines, report = describe(bad_files)
    assert first.endswith(".JPG: truncated")
    assert first.isprintable()
    assert other_lines == ["0.JPG: truncated", "1.JPG: truncated"]
    assert report == f"the others: {name_command()} drops report a"
    unreadable_file = BadFile("a", "x.JPG", "unreadable", "an error of the disk")
    assert describe([unreadable_file])[0] == "x.JPG: unreadable (an error of the disk)"
    assert describe([unreadable_file])[1] == f"the report: {name_command()} drops report a"
    assert describe([]) == list(describe_quarantined({}, drop="a")) == []


def test_printer__closed_pipe_does_not_end_the_run(monkeypatch, tmp_path):
    class Closed(io.TextIOWrapper):
        def flush(self) -> None:
            raise BrokenPipeError

    with (tmp_path / "pipe").open("wb") as pipe:
        monkeypatch.setattr(sys, "stdout", Closed(io.FileIO(pipe.fileno(), "w", closefd=False)))
        Printer().say("a line")
