"""Devices, and the load that other programs put on this machine."""

import pytest

from dino_assets.compute.devices import has_other_work


@pytest.mark.parametrize(
    ("load", "threads", "processors", "is_busy"),
    [
        (2.0, 2, 2, False),
        (2.9, 2, 2, False),
        (6.0, 2, 2, True),
        (20.0, 8, 64, False),
        (0, 8, 8, False),
    ],
)
def test_has_other_work__subtracts_own_threads(load, threads, processors, is_busy):
    has_other = has_other_work(threads, read_load=lambda: load, processors=processors)
    assert has_other is is_busy


def test_has_other_work__no_load_average():
    def read_load() -> float:
        raise OSError

    assert has_other_work(2, read_load=read_load) is False
