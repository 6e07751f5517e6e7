"""What a long listing logs while it lasts."""

import logging

import pytest

from dino_assets.drops.sources.progress import EVERY_S, Tally


def test_tally__logs_every_few_seconds(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    now_s = 100.0
    tally = Tally("card", "files found", read_clock=lambda: now_s)
    tally.show(1)
    assert caplog.messages == []
    now_s += EVERY_S
    tally.show(12_345)
    tally.show(12_346)
    assert caplog.messages == ["card: 12,345 files found so far, 5 s"]
    now_s += 2 * EVERY_S
    tally.show(20_000)
    assert caplog.messages[1:] == ["card: 20,000 files found so far, 15 s"]


def test_tally__counts_yielded_items(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    times = iter(range(0, 1000, 3))
    tally = Tally("list.csv", "rows read", read_clock=lambda: float(next(times)))
    assert list(tally.count(range(5000))) == list(range(5000))
    assert caplog.messages == [
        "list.csv: 2,048 rows read so far, 6 s",
        "list.csv: 4,096 rows read so far, 12 s",
    ]
