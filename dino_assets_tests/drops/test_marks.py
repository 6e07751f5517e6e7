"""Drops that are tagged, retired and restored, and what a pool then is."""

import logging

import pytest

from dino_assets.drops.choice import choose_drops, find_chosen
from dino_assets.drops.marks import set_retired, tag_drop
from dino_assets.drops.records import Drop
from dino_assets.drops.registry import find_drops, read_drop, register_drop, write_drop
from dino_assets.errors import ConfigError, CorruptObjectError, DropConflictError, UnknownDropError
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.raising import raising


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


def test_set_retired__and_back_is_the_same_record(memory):
    before = memory.get("drops/a.json")
    drop, has_changed = set_retired(memory, "a", True)
    assert (drop.is_retired, has_changed) == (True, True)
    assert read_drop(memory, "a") == drop
    assert set_retired(memory, "a", True) == (drop, False)
    assert set_retired(memory, "a", False)[1]
    assert memory.get("drops/a.json") == before
    with raising(UnknownDropError, drop="none"):
        set_retired(memory, "none", True)


def test_write_drop__what_is_not_said_leaves_no_trace(memory):
    write_drop(memory, Drop("plain", "s", "f", "Plain"))
    assert memory.get("drops/plain.json") == (
        b'{\n "fingerprint": "f",\n "name": "plain",\n "original_name": "Plain",\n "source": "s"\n}\n'
    )


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
def test_read_drop__marks_of_another_kind(memory, text):
    rest = b'"name": "a", "source": "s", "fingerprint": "f", "original_name": "a"'
    memory.put("drops/a.json", text % rest)
    with raising(CorruptObjectError, key="drops/a.json"):
        read_drop(memory, "a")


# --- choosing -------------------------------------------------------------------------------


def test_choose_drops__all_but_the_retired(memory):
    assert chosen(memory) == ["a", "b", "c"]
    # An embedded drop without a record is one, too.
    assert chosen(memory, made=["a", "by-hand", "old"]) == ["a", "b", "by-hand", "c"]


def test_choose_drops__named_or_tagged(memory):
    assert chosen(memory, "a") == ["a"]
    assert chosen(memory, tags=["fire"]) == ["a", "b"]
    assert chosen(memory, "c", tags=["fire"]) == ["a", "b", "c"]
    assert chosen(memory, tags=["fire", "2026"]) == ["a", "b", "c"]
    assert chosen(memory, "by-hand", made=["by-hand"]) == ["by-hand"]


def test_choose_drops__what_does_not_exist(memory):
    with raising(ConfigError, setting="drops", value="z", reason="unknown-drop", match="a, b, c$"):
        chosen(memory, "a", "z")
    with raising(ConfigError, setting="tags", reason="unknown-tag", match="There are: 2026, fire"):
        chosen(memory, tags=["x"])  # of a retired one alone
    with raising(ConfigError, setting="drops", value="old", reason="retired"):
        chosen(memory, "old")
    assert not find_chosen(find_drops(memory), [], drops=["z", "old"], tags=["x"])


def test_choose_drops__a_damaged_record_may_be_of_a_retired_one(memory, caplog):
    memory.put("drops/a.json", b"{")
    with caplog.at_level(logging.WARNING):
        assert chosen(memory, made=["a"]) == ["b", "c"]
    assert "records are damaged: a" in caplog.text
    with raising(CorruptObjectError, key="drops/a.json"):
        chosen(memory, "a")
