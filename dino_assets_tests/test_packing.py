"""Packed records: the behaviour of a list in a fraction of its memory."""

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
    """Make distinct points; some notes are None or not valid text."""
    notes = [None, "", "é\udcff", "a" * 300]
    return [Point(f"p{n}\udc80", n / 3, notes[n % 4]) for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, BLOCK_RECORDS - 1, BLOCK_RECORDS, 2 * BLOCK_RECORDS + 5])
def test_packed__equals_the_list_of_records(count: int):
    records = points(count)
    packed = Packed(Point, records)
    assert len(packed) == count
    assert list(packed) == records
    assert list(packed) == records  # a second iteration starts again
    assert packed[:7] == records[:7]
    assert packed[-3:] == records[-3:]
    assert [packed[n] for n in range(-count, count, 97)] == [
        records[n] for n in range(-count, count, 97)
    ]
    for index in (count, -count - 1):
        with pytest.raises(IndexError):
            packed[index]


def test_packed__append_between_two_readings():
    records = points(BLOCK_RECORDS + 1)
    packed = Packed(Point, records[:-2])
    assert packed[-1] == records[-3]
    packed.append(records[-2])
    packed.extend(records[-1:])
    assert list(packed) == records
    assert packed[BLOCK_RECORDS] == records[-1]


def test_packed__listing_takes_a_tenth_of_the_memory():
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
    assert held_bytes < 20 * count  # uncompressed, 200 bytes each
