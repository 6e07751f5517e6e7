"""Indexes: simultaneous writers, merging, damage and rebuilding."""

from collections.abc import Iterable

import pytest

from dino_assets.errors import StoreFullError
from dino_assets.store.commits.indexes import MOST_OBJECTS, Row, add_row, read_index
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.outputs import contents, restore
from dino_assets_tests.worlds.store_doubles import FlippingStore, Strike, WatchedStore

NAME = "things/space1"


class Committed:
    """The rows that an index is rebuilt from, and how often it was."""

    def __init__(self, *rows: Row) -> None:
        self.rows, self.looks = rows, 0

    def __call__(self) -> Iterable[Row]:
        self.looks += 1
        return self.rows


NOTHING = Committed()


def unneeded() -> Iterable[Row]:
    raise AssertionError("the index must not be rebuilt")


@pytest.fixture
def memory() -> ObjectStore:
    return ObjectStore.in_memory()


def row(number: int) -> Row:
    return (f"flight-{number}", f"content {number}")


def rows(count: int) -> set[Row]:
    return {row(number) for number in range(count)}


def add(store: ObjectStore, count: int, *, first: int = 0) -> None:
    for number in range(first, first + count):
        add_row(store, NAME, row(number), NOTHING)


def list_keys(store: ObjectStore) -> list[str]:
    return sorted(info.key for info in store.list("indexes"))


def test_add_row__is_read_back(store: ObjectStore):
    add(store, 3)
    add(store, 1)  # a row has one place
    assert read_index(store, NAME, unneeded) == rows(3)
    assert read_index(store, "others", NOTHING) == set()
    assert len(list_keys(store)) == 3


def test_read_index__merges_many_objects(store: ObjectStore):
    add(store, MOST_OBJECTS)
    assert read_index(store, NAME, unneeded) == rows(MOST_OBJECTS)
    assert len(list_keys(store)) == MOST_OBJECTS
    add(store, 1, first=MOST_OBJECTS)
    for _ in range(2):
        assert read_index(store, NAME, unneeded) == rows(MOST_OBJECTS + 1)
        assert len(list_keys(store)) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_read_index__killed_at_every_write(memory: ObjectStore, when: str):
    """A kill during merging loses no row, and the next reader finishes the merge."""
    add(memory, MOST_OBJECTS + 1)
    objects = contents(memory)
    for n in range(MOST_OBJECTS + 2):

        def kill(verb: str, key: str) -> None:
            raise KeyboardInterrupt

        strike = Strike(n, kill, verbs=("put", "delete"))
        with pytest.raises(KeyboardInterrupt):
            read_index(WatchedStore(memory, **{when: strike}), NAME, unneeded)
        assert read_index(memory, NAME, unneeded) == rows(MOST_OBJECTS + 1)
        restore(memory, objects)


def test_read_index__two_mergers_and_a_writer_at_once(memory: ObjectStore):
    add(memory, MOST_OBJECTS + 1)
    row_count = MOST_OBJECTS + 2

    def interfere(verb: str, key: str) -> None:
        if verb == "put":
            add(memory, 1, first=MOST_OBJECTS + 1)
            assert read_index(memory, NAME, unneeded) == rows(row_count)

    outer_rows = read_index(
        WatchedStore(memory, before=Strike(0, interfere, verbs=("put",))), NAME, unneeded
    )
    assert outer_rows == rows(MOST_OBJECTS + 1)
    assert read_index(memory, NAME, unneeded) == rows(row_count)


def test_read_index__merged_since_it_was_listed(memory: ObjectStore):
    add(memory, MOST_OBJECTS + 1)

    def fold(verb: str, key: str) -> None:
        read_index(memory, NAME, unneeded)

    watched_store = WatchedStore(memory, before=Strike(0, fold, verbs=("get",)))
    assert read_index(watched_store, NAME, unneeded) == rows(MOST_OBJECTS + 1)


def test_read_index__missing_index_is_rebuilt(store: ObjectStore):
    add(store, 3)
    for key in list_keys(store):
        store.delete(key)
    committed = Committed(*rows(3))
    for _ in range(2):
        assert read_index(store, NAME, committed) == rows(3)
    assert committed.looks == 1


def test_add_row__rebuilds_a_missing_index(memory: ObjectStore):
    """An index with only the new row would look complete."""
    committed = Committed(*rows(3))
    add_row(memory, NAME, row(7), committed)
    assert committed.looks == 1
    assert read_index(memory, NAME, unneeded) == rows(3) | {row(7)}


@pytest.mark.parametrize("harm", [b"", b"rot", "flip", "cut"])
def test_read_index__damaged_object_is_rebuilt(memory: ObjectStore, harm: bytes | str):
    add(memory, 3)
    key = list_keys(memory)[1]
    data = memory.get(key)
    damaged_data = {"flip": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "cut": data[:-1]}
    memory.put(key, harm if isinstance(harm, bytes) else damaged_data[harm])
    committed = Committed(*rows(3))
    for _ in range(2):
        assert read_index(memory, NAME, committed) == rows(3)
    assert committed.looks == 1


def test_read_index__bit_flipped_in_transit_is_read_again(memory: ObjectStore):
    add(memory, 3)
    assert read_index(FlippingStore(memory, times=1), NAME, unneeded) == rows(3)


def test_index__full_store_is_no_error(memory: ObjectStore):
    """Rows are only hints: the commit itself fails in a full store."""
    add(memory, MOST_OBJECTS + 1)

    def refuse(verb: str, key: str) -> None:
        if verb == "put":
            raise StoreFullError("full, for the test", key=key)

    full_store = WatchedStore(memory, before=refuse)
    add_row(full_store, NAME, row(99), unneeded)
    assert read_index(full_store, NAME, unneeded) == rows(MOST_OBJECTS + 1)
    assert len(list_keys(memory)) == MOST_OBJECTS + 1
