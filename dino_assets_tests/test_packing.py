"""Packed records: a list in all that is asked of it, and a fraction of its memory."""

import tracemalloc
from dataclasses import dataclass

import pytest

from dino_assets.drops.records import SourceEntry
from dino_assets.packing import BLOCK_RECORDS, Packed


@dataclass(frozen=True, slots=True)
class Point:
    name: str
    x: float
    note: str | None = None


def points(count: int) -> list[Point]:
    """No two alike; some names are not text."""
    notes = [None, "", "é\udcff", "a" * 300]
    return [Point(f"p{n}\udc80", n / 3, notes[n % 4]) for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, BLOCK_RECORDS - 1, BLOCK_RECORDS, 2 * BLOCK_RECORDS + 5])
def test_packed__is_the_list_that_it_was_made_of(count: int):
    records = points(count)
    packed = Packed(Point, records)
    assert len(packed) == count
    assert list(packed) == records
    assert list(packed) == records  # again from the start
    assert packed[:7] == records[:7]
    assert packed[-3:] == records[-3:]
    assert [packed[n] for n in range(-count, count, 97)] == [
        records[n] for n in range(-count, count, 97)
    ]
    for beyond in (count, -count - 1):
        with pytest.raises(IndexError):
            packed[beyond]


def test_append__between_two_readings():
    records = points(BLOCK_RECORDS + 1)
    packed = Packed(Point, records[:-2])
    assert packed[-1] == records[-3]
    packed.append(records[-2])
    packed.extend(records[-1:])
    assert list(packed) == records
    assert packed[BLOCK_RECORDS] == records[-1]


def test_packed__holds_a_listing_in_a_tenth_of_its_memory():
    count = 20 * BLOCK_RECORDS
    tracemalloc.start()
    try:
        packed = Packed(
            SourceEntry, (SourceEntry(f"field_{n // 999}/DJI_{n}.JPG", n, "") for n in range(count))
        )
        held_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(packed) == count
    assert held_bytes < 20 * count  # as objects, 200 each
