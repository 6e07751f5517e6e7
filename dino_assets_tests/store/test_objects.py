import random
import threading

import pytest

from dino_assets.errors import ConfigError, ObjectExistsError, ObjectNotFoundError, StoreError
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.raising import raising


def test_put_get__round_trip(store: ObjectStore):
    store.put("a/b.txt", b"hello")
    assert store.get("a/b.txt") == b"hello"
    assert store.head("a/b.txt").bytes == 5
    assert store.exists("a/b.txt")
    assert not store.exists("a/c.txt")


def test_put__replaces_the_whole_object(store: ObjectStore):
    store.put("a", b"a long first version")
    store.put("a", b"short")
    assert store.get("a") == b"short"


def test_put__empty_object(store: ObjectStore):
    store.put("empty", b"")
    assert store.get("empty") == b""
    assert store.head("empty").bytes == 0


def test_put__if_absent_keeps_the_first(store: ObjectStore):
    store.put("a", b"first", if_absent=True)
    with raising(ObjectExistsError, key="a", store=store.url) as caught:
        store.put("a", b"second", if_absent=True)
    assert (caught.value.store, caught.value.key) == (store.url, "a")
    assert isinstance(caught.value, FileExistsError)
    assert store.get("a") == b"first"


def test_put__if_absent_has_one_winner(store: ObjectStore):
    winners: list[int] = []
    gate = threading.Barrier(4)

    def put(n: int) -> None:
        gate.wait()
        try:
            store.put("a", bytes([n]) * 1000, if_absent=True)
        except ObjectExistsError:
            return
        winners.append(n)

    threads = [threading.Thread(target=put, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    assert store.get("a") == bytes(winners) * 1000


def test_put_chunks__small_and_large(store: ObjectStore):
    store.chunk_bytes = 5 * 2**20
    for size in (0, 7, 5 * 2**20, 11 * 2**20 + 3):
        content = random.Random(0).randbytes(size)
        store.put_chunks("f", (content[start : start + 2**20] for start in range(0, size, 2**20)))
        assert store.get("f") == content


def test_put_chunks__failed_chunks_keep_the_older_object(store: ObjectStore):
    def chunks():
        yield b"x" * 2**20
        raise RuntimeError("the chunks cannot be read")

    with pytest.raises(RuntimeError):
        store.put_chunks("a", chunks())
    assert not store.exists("a")
    store.put("a", b"old")
    with pytest.raises(RuntimeError):
        store.put_chunks("a", chunks())
    assert store.get("a") == b"old"
    assert [info.key for info in store.list()] == ["a"]


def test_stream__from_first_to_last(store: ObjectStore):
    store.stream_bytes = 2**20
    data = random.Random(0).randbytes(5 * 2**20 + 3)
    store.put("large", data)
    store.put("empty", b"")
    chunks = list(store.stream("large"))
    assert b"".join(chunks) == data
    assert {type(chunk) for chunk in chunks} == {bytes}
    if store.url != "memory://":  # which returns the whole object at once
        assert max(map(len, chunks)) < 3 * 2**20
    assert b"".join(store.stream("empty")) == b""


def test_stream__missing(store: ObjectStore):
    with raising(ObjectNotFoundError, key="no"):
        list(store.stream("no"))
    with raising(ConfigError, reason="key"):
        list(store.stream("a//b"))


def test_get_range__inside_and_over_the_end(store: ObjectStore):
    store.put("a", b"0123456789")
    assert store.get_range("a", start=2, length=3) == b"234"
    assert store.get_range("a", start=8, length=100) == b"89"


def test_get_range__outside_is_an_error(store: ObjectStore):
    store.put("a", b"0123456789")
    with raising(StoreError, key="a"):
        store.get_range("a", start=10, length=1)
    for start, length in ((-1, 1), (0, 0)):
        with raising(ConfigError, reason="range"):
            store.get_range("a", start=start, length=length)


def test_list__whole_segments_below_a_prefix(store: ObjectStore):
    for key in ("a/1", "a/b/2", "ab/3", "c"):
        store.put(key, key.encode())
    assert sorted(info.key for info in store.list()) == ["a/1", "a/b/2", "ab/3", "c"]
    assert sorted((info.key, info.bytes) for info in store.list("a")) == [("a/1", 3), ("a/b/2", 5)]
    assert list(store.list("nothing/here")) == []


def test_list__more_than_a_page(swept_store: ObjectStore):
    store = swept_store
    keys = {f"many/{n:04d}" for n in range(1005)}
    for key in keys:
        store.put(key, b"")
    assert {info.key for info in store.list("many")} == keys


def test_list__objects_deleted_meanwhile(store: ObjectStore):
    # Objects that are not deleted are in every listing.
    for n in range(60):
        store.put(f"d/{n % 10}/{n:03d}", b"x")
    lasting_keys = {f"d/{n % 10}/{n:03d}" for n in range(0, 60, 2)}
    deleting_thread = threading.Thread(
        target=lambda: [store.delete(f"d/{n % 10}/{n:03d}") for n in range(1, 60, 2)]
    )
    deleting_thread.start()
    while deleting_thread.is_alive():
        assert lasting_keys <= {info.key for info in store.list("d")}
    deleting_thread.join()
    assert lasting_keys == {info.key for info in store.list("d")}


def test_delete__missing_is_fine(store: ObjectStore):
    store.put("a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/there")
    assert list(store.list()) == []


def test_move__renames_the_object(store: ObjectStore):
    store.put("a/b", b"x")
    store.move("a/b", "bin/a/b")
    assert [info.key for info in store.list()] == ["bin/a/b"]
    assert store.get("bin/a/b") == b"x"
    with raising(ObjectNotFoundError, key="a/b"):
        store.move("a/b", "bin/a/b")


@pytest.mark.parametrize("verb", ["get", "head", "get_range"])
def test_get__missing(store: ObjectStore, verb: str):
    options = {"start": 0, "length": 1} if verb == "get_range" else {}
    with pytest.raises(
        ObjectNotFoundError, match=r"'no/pe' in store '.+': the object does not"
    ) as caught:
        getattr(store, verb)("no/pe", **options)
    assert (caught.value.store, caught.value.key) == (store.url, "no/pe")
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".", "a b", "a#1", "ä", "a\0"]
)
def test_put__invalid_key(store: ObjectStore, key: str):
    for write in (
        lambda: store.put(key, b""),
        lambda: store.put_chunks(key, iter([b""])),
        lambda: store.delete(key),
        lambda: store.move("a", key),
    ):
        with raising(ConfigError, reason="key"):
            write()
    assert list(store.list()) == []


@pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", "a/../b", "./a", "a\0b"])
def test_get__impossible_key(store: ObjectStore, key: str):
    for read in (
        lambda: store.get(key),
        lambda: store.head(key),
        lambda: store.get_range(key, start=0, length=1),
    ):
        with raising(ConfigError, reason="key"):
            read()


def test_get__any_key_of_an_inbox(store: ObjectStore):
    # Only keys that this package writes are restricted.
    with raising(ObjectNotFoundError, key="100MEDIA/DJI 0001 ä (1).JPG"):
        store.get("100MEDIA/DJI 0001 ä (1).JPG")


def test_get__folder_is_not_an_object(store: ObjectStore):
    store.put("a/b/c", b"x")
    with raising(ObjectNotFoundError, key="a/b"):
        store.get("a/b")
