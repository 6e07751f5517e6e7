"""Indexes: rows that no two writers take from each other, and that are made again when they are lost."""

from collections.abc import Iterable

import pytest

from dino_assets.errors import StoreFullError
from dino_assets.store.commits.indexes import MOST_OBJECTS, Row, add_row, read_index
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.outputs import contents, restore
from dino_assets_tests.worlds.store_doubles import FlippingStore, Strike, WatchedStore

NAME = "things/space1"


class Committed:
    """What an index is made of, and how often somebody had to look."""

    def __init__(self, *rows: Row) -> None:
        self.rows, self.looks = rows, 0

    def __call__(self) -> Iterable[Row]:
        self.looks += 1
        return self.rows


NOTHING = Committed()


def unneeded() -> Iterable[Row]:
    raise AssertionError("nobody needs to look through everything")


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


def test_read_index__many_objects_become_one(store: ObjectStore):
    add(store, MOST_OBJECTS)
    assert read_index(store, NAME, unneeded) == rows(MOST_OBJECTS)
    assert len(list_keys(store)) == MOST_OBJECTS
    add(store, 1, first=MOST_OBJECTS)
    for _ in range(2):
        assert read_index(store, NAME, unneeded) == rows(MOST_OBJECTS + 1)
        assert len(list_keys(store)) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_read_index__killed_at_every_write(memory: ObjectStore, when: str):
    """While many objects are put together: no row is lost, and the next one ends it."""
    add(memory, MOST_OBJECTS + 1)
    full = contents(memory)
    for n in range(MOST_OBJECTS + 2):

        def kill(verb: str, key: str) -> None:
            raise KeyboardInterrupt

        strike = Strike(n, kill, verbs=("put", "delete"))
        with pytest.raises(KeyboardInterrupt):
            read_index(WatchedStore(memory, **{when: strike}), NAME, unneeded)
        assert read_index(memory, NAME, unneeded) == rows(MOST_OBJECTS + 1)
        restore(memory, full)


def test_read_index__two_that_put_together_and_one_that_adds(memory: ObjectStore):
    add(memory, MOST_OBJECTS + 1)
    others = MOST_OBJECTS + 2

    def interfere(verb: str, key: str) -> None:
        if verb == "put":
            add(memory, 1, first=MOST_OBJECTS + 1)
            assert read_index(memory, NAME, unneeded) == rows(others)

    outer = read_index(
        WatchedStore(memory, before=Strike(0, interfere, verbs=("put",))), NAME, unneeded
    )
    assert outer == rows(MOST_OBJECTS + 1)
    assert read_index(memory, NAME, unneeded) == rows(others)


def test_read_index__put_together_since_it_was_listed(memory: ObjectStore):
    add(memory, MOST_OBJECTS + 1)

    def fold(verb: str, key: str) -> None:
        read_index(memory, NAME, unneeded)

    watched = WatchedStore(memory, before=Strike(0, fold, verbs=("get",)))
    assert read_index(watched, NAME, unneeded) == rows(MOST_OBJECTS + 1)


def test_read_index__lost_is_made_again(store: ObjectStore):
    add(store, 3)
    for key in list_keys(store):
        store.delete(key)
    committed = Committed(*rows(3))
    for _ in range(2):
        assert read_index(store, NAME, committed) == rows(3)
    assert committed.looks == 1


def test_add_row__to_a_lost_index_makes_it_whole(memory: ObjectStore):
    """With the new row alone it would seem to hold everything."""
    committed = Committed(*rows(3))
    add_row(memory, NAME, row(7), committed)
    assert committed.looks == 1
    assert read_index(memory, NAME, unneeded) == rows(3) | {row(7)}


@pytest.mark.parametrize("harm", [b"", b"rot", "flip", "cut"])
def test_read_index__a_damaged_object_is_made_again(memory: ObjectStore, harm: bytes | str):
    add(memory, 3)
    key = list_keys(memory)[1]
    data = memory.get(key)
    spoiled = {"flip": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "cut": data[:-1]}
    memory.put(key, harm if isinstance(harm, bytes) else spoiled[harm])
    committed = Committed(*rows(3))
    for _ in range(2):
        assert read_index(memory, NAME, committed) == rows(3)
    assert committed.looks == 1


def test_read_index__a_bit_that_flips_on_the_way_is_read_again(memory: ObjectStore):
    add(memory, 3)
    assert read_index(FlippingStore(memory, times=1), NAME, unneeded) == rows(3)


def test_index__a_store_that_is_full(memory: ObjectStore):
    """Hints may be missing: what has to be stored says that there is no room."""
    add(memory, MOST_OBJECTS + 1)

    def refuse(verb: str, key: str) -> None:
        if verb == "put":
            raise StoreFullError("full, for the test", key=key)

    full = WatchedStore(memory, before=refuse)
    add_row(full, NAME, row(99), unneeded)
    assert read_index(full, NAME, unneeded) == rows(MOST_OBJECTS + 1)
    assert len(list_keys(memory)) == MOST_OBJECTS + 1
