"""Drops that are tagged, retired and restored, and what a pool then is."""

import itertools
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from dino_assets.drops.choice import choose_drops, find_chosen
from dino_assets.drops.marks import set_retired, tag_drop
from dino_assets.drops.observing import record_observed
from dino_assets.drops.records import Drop
from dino_assets.drops.registering import register_drop
from dino_assets.drops.registry import find_drops, read_drop, write_drop
from dino_assets.errors import ConfigError, CorruptObjectError, DropConflictError, UnknownDropError
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.store_doubles import FlippingStore


@pytest.fixture
def memory() -> ObjectStore:
    """Four drops: two of a fire, one of them and another of 2026, one retired."""
    store = ObjectStore.in_memory()
    for name, tags in (
        ("a", ("fire",)),
        ("b", ("2026", "fire")),
        ("c", ("2026",)),
        ("old", ("x",)),
    ):
        write_drop(store, Drop(name, f"/cards/{name}", "f", name, tags, name == "old"))
    return store


def chosen(store, *drops, tags=(), made=()):
    return sorted(choose_drops(find_drops(store), made, drops=drops, tags=tags))


def test_set_retired__restored_record_is_the_same(memory):
    record = memory.get("drops/a.json")
    drop, has_changed = set_retired(memory, "a", True)
    assert (drop.is_retired, has_changed) == (True, True)
    assert read_drop(memory, "a") == drop
    assert set_retired(memory, "a", True) == (drop, False)
    assert set_retired(memory, "a", False)[1]
    assert memory.get("drops/a.json") == record
    with raising(UnknownDropError, drop="none"):
        set_retired(memory, "none", True)


def test_write_drop__empty_facts_are_not_written(memory):
    write_drop(memory, Drop("plain", "s", "f", "Plain"))
    record = json.loads(memory.get("drops/plain.json"))
    assert record.keys() - {"format", "sha256"} == {
        "fingerprint",
        "name",
        "original_name",
        "source",
    }
    assert not list(memory.list("drops/plain"))


def test_read_drop__one_flipped_bit_is_noticed(memory):
    drop = Drop("a", "s", "f", "A", tags=("fire",), is_retired=True, observed="g")
    write_drop(memory, drop)
    keys = [f"drops/a{end}.json" for end in ("", "/tags", "/retired", "/observed")]
    for key in keys:
        data = memory.get(key)
        for offset, bit in itertools.product(range(len(data)), (1, 4, 32)):
            memory.put(key, data[:offset] + bytes([data[offset] ^ bit]) + data[offset + 1 :])
            with raising(CorruptObjectError, store=memory.url):
                read_drop(memory, "a")
        memory.put(key, data)
    assert read_drop(memory, "a") == drop


def test_read_drop__records_of_earlier_versions_have_no_seal(memory):
    record = {"name": "a", "source": "s", "fingerprint": "f", "original_name": "A"}
    memory.put("drops/a.json", json.dumps(record, indent=1).encode())
    memory.put("drops/a/tags.json", b'["fire"]\n')
    memory.put("drops/a/retired.json", b"true\n")
    memory.put("drops/a/observed.json", b'"g"\n')
    drop = Drop("a", "s", "f", "A", tags=("fire",), is_retired=True, observed="g")
    assert read_drop(memory, "a") == drop
    assert set_retired(memory, "a", False)[1]
    assert b"sha256" in memory.get("drops/a/retired.json")
    assert read_drop(memory, "a") == replace(drop, is_retired=False)


def test_read_drop__damaged_transfer_is_read_again(memory):
    drop = Drop("a", "s", "f", "A", tags=("fire",))
    write_drop(memory, drop)
    assert read_drop(FlippingStore(memory, times=1), "a") == drop


def test_register_drop__keeps_tags_and_adds_some(memory, tmp_path, write_photo):
    write_photo(tmp_path / "card" / "DJI_0001.JPG")
    card = str(tmp_path / "card")

    def register(**options):
        return register_drop(memory, "a", source=card, root=tmp_path, **options)

    assert register(may_replace=True)[0].tags == ("fire",)
    assert register(tags=["new", "fire"]) == (read_drop(memory, "a"), True)
    assert read_drop(memory, "a").tags == ("fire", "new")
    assert not register(tags=["new"])[1]
    set_retired(memory, "a", True)
    with raising(DropConflictError, drop="a", reason="retired"):
        register(may_replace=True)
    assert read_drop(memory, "a").is_retired


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_marks__concurrent_marks_and_observations_all_succeed(memory, local_store, kind):
    store = memory if kind == "memory" else local_store
    write_drop(store, Drop("r", "/cards/r", "f", "r"))
    for number in range(60):
        start = threading.Barrier(3)

        def at_once(act, *arguments, start=start):
            start.wait()
            act(store, "r", *arguments)

        with ThreadPoolExecutor(3) as pool:
            futures = [
                pool.submit(at_once, record_observed, f"v{number}"),
                pool.submit(at_once, set_retired, number % 2 == 0),
                pool.submit(at_once, tag_drop, [f"t{number}"]),
            ]
        assert [future.exception() for future in futures] == [None] * 3
        drop = read_drop(store, "r")
        assert (drop.observed, drop.is_retired) == (f"v{number}", number % 2 == 0)
        assert len(drop.tags) == number + 1


def test_register_drop__keeps_concurrent_marks(memory, tmp_path, write_photo):
    write_photo(tmp_path / "card" / "DJI_0001.JPG")

    class Slow(type(memory)):
        """A store in which a person retires the drop just before its record is put."""

        def put(self, key, data, **options):
            if key == "drops/b.json":
                set_retired(memory, "b", True)
            super().put(key, data, **options)

    slow_store = Slow(memory._requests.backend, url=memory.url)
    register_drop(slow_store, "b", source=str(tmp_path / "card"), root=tmp_path, may_replace=True)
    assert read_drop(memory, "b").is_retired
    assert read_drop(memory, "b").tags == ("2026", "fire")


def test_tag_drop__adds_and_removes(memory):
    assert tag_drop(memory, "a", ["b", "a"])[0].tags == ("a", "b", "fire")
    assert tag_drop(memory, "a", ["c"], removed=["fire", "a"])[0].tags == ("b", "c")
    assert tag_drop(memory, "a", [], removed=["nothing"]) == (read_drop(memory, "a"), False)


@pytest.mark.parametrize("tag", ["", "two words", "a,b", "x" * 81, "a\n"])
def test_tag_drop__one_word(memory, tag):
    with raising(ConfigError, setting="tags", value=tag):
        tag_drop(memory, "a", [tag])


@pytest.mark.parametrize(
    "text", [b'{"tags": "fire", %s}', b'{"tags": [1], %s}', b'{"is_retired": "no", %s}']
)
def test_read_drop__facts_of_wrong_types(memory, text):
    fields = b'"name": "a", "source": "s", "fingerprint": "f", "original_name": "a"'
    memory.put("drops/a.json", text % fields)
    with raising(CorruptObjectError, key="drops/a.json"):
        read_drop(memory, "a")


@pytest.mark.parametrize("key", ["tags", "retired", "observed"])
def test_register_drop__repairs_damaged_facts(memory, tmp_path, write_photo, key):
    write_photo(tmp_path / "card" / "DJI_0001.JPG")
    memory.put(f"drops/a/{key}.json", b"{")
    with raising(CorruptObjectError, key=f"drops/a/{key}.json"):
        read_drop(memory, "a")
    register_drop(memory, "a", source=str(tmp_path / "card"), root=tmp_path, may_replace=True)
    assert read_drop(memory, "a").tags == (() if key == "tags" else ("fire",))


def test_register_drop__lost_record_stays_active(memory, tmp_path, write_photo):
    write_photo(tmp_path / "card" / "DJI_0001.JPG")
    set_retired(memory, "a", True)
    memory.delete("drops/a.json")
    drop, _ = register_drop(memory, "a", source=str(tmp_path / "card"), root=tmp_path)
    assert read_drop(memory, "a") == drop
    assert (drop.is_retired, drop.tags) == (False, ("fire",))


def test_read_drop__of_an_earlier_version(memory, tmp_path, write_photo):
    """Which wrote all into the record: it counts until it is said anew."""
    write_photo(tmp_path / "card" / "DJI_0001.JPG")
    card = str(tmp_path / "card")
    memory.put(
        "drops/e.json",
        b'{"name": "e", "source": "/e", "fingerprint": "f", "original_name": "e", '
        b'"is_retired": true, "observed": "g", "tags": ["fire"]}',
    )
    assert read_drop(memory, "e") == Drop("e", "/e", "f", "e", ("fire",), True, "g")
    assert find_drops(memory)["e"] == read_drop(memory, "e")
    assert not set_retired(memory, "e", False)[0].is_retired
    assert not read_drop(memory, "e").is_retired
    drop, _ = register_drop(memory, "e", source=card, root=tmp_path, may_replace=True)
    assert read_drop(memory, "e") == drop
    assert (drop.is_retired, drop.tags, drop.observed) == (False, ("fire",), drop.fingerprint)


# --- choosing -------------------------------------------------------------------------------


def test_choose_drops__all_active_drops(memory):
    assert chosen(memory) == ["a", "b", "c"]
    # An embedded drop without a record is one, too.
    assert chosen(memory, made=["a", "by-hand", "old"]) == ["a", "b", "by-hand", "c"]


def test_choose_drops__named_or_tagged(memory):
    assert chosen(memory, "a") == ["a"]
    assert chosen(memory, tags=["fire"]) == ["a", "b"]
    assert chosen(memory, "c", tags=["fire"]) == ["a", "b", "c"]
    assert chosen(memory, tags=["fire", "2026"]) == ["a", "b", "c"]
    assert chosen(memory, "by-hand", made=["by-hand"]) == ["by-hand"]


def test_choose_drops__unknown_names_and_tags(memory):
    with raising(ConfigError, setting="drops", value="z", reason="unknown-drop", match="a, b, c$"):
        chosen(memory, "a", "z")
    with raising(
        ConfigError, setting="tags", reason="unknown-tag", match="Existing tags: 2026, fire"
    ):
        chosen(memory, tags=["x"])  # of a retired one alone
    with raising(ConfigError, setting="drops", value="old", reason="retired"):
        chosen(memory, "old")
    assert not find_chosen(find_drops(memory), [], drops=["z", "old"], tags=["x"])


def test_choose_drops__damaged_record_is_left_out(memory, caplog):
    memory.put("drops/a.json", b"{")
    with caplog.at_level(logging.WARNING):
        assert chosen(memory, made=["a"]) == ["b", "c"]
    assert "records are damaged: a" in caplog.text
    with raising(CorruptObjectError, key="drops/a.json"):
        chosen(memory, "a")
