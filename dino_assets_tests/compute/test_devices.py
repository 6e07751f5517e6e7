"""What this machine has, and what else it does."""

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
def test_has_other_work__beside_our_own_threads(load, threads, processors, is_busy):
    found = has_other_work(threads, read_load=lambda: load, processors=processors)
    assert found is is_busy


def test_has_other_work__where_the_system_does_not_say():
    def read_load() -> float:
        raise OSError

    assert has_other_work(2, read_load=read_load) is False
