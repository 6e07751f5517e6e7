"""The same pictures under two names."""

import shutil

import pytest

from dino_assets.drops.duplicates import find_duplicates, warn_of_duplicates
from dino_assets.drops.marks import set_retired
from dino_assets.drops.registering import register_drop
from dino_assets.drops.registry import read_drop
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.store_doubles import WatchedStore


@pytest.fixture
def memory() -> ObjectStore:
    return ObjectStore.in_memory()


def test_find_duplicates__by_source_or_by_files(memory, tmp_path, write_photo):
    def register(name, folder):
        return register_drop(memory, name, source=folder, root=tmp_path)[0]

    write_photo(tmp_path / "card" / "1.jpg")
    first = register("first", "card")
    assert find_duplicates(memory, first) == []
    assert warn_of_duplicates(memory, first) == ""
    write_photo(tmp_path / "other" / "1.jpg", seed=2)
    assert find_duplicates(memory, register("other", "other")) == []
    # Another state of the same folder; a copy that keeps times.
    write_photo(tmp_path / "card" / "2.jpg")
    second = register("second", "card")
    assert find_duplicates(memory, second) == ["first"]
    shutil.copytree(tmp_path / "card", tmp_path / "copy")
    assert find_duplicates(memory, register("third", "copy")) == ["second"]
    assert "registered as 'second'" in warn_of_duplicates(memory, register("third", "copy"))
    set_retired(memory, "first", True)
    assert find_duplicates(memory, second) == ["third"]


@pytest.fixture
def twins(memory, tmp_path, write_photo):
    """Two names of one folder, and another drop."""
    write_photo(tmp_path / "card" / "1.jpg")
    write_photo(tmp_path / "other" / "1.jpg", seed=2)
    for name, folder in (("first", "card"), ("other", "other"), ("second", "card")):
        register_drop(memory, name, source=folder, root=tmp_path)
    return memory


def list_index(store) -> list[str]:
    return sorted(info.key for info in store.list("indexes/drops"))


def test_find_duplicates__reads_no_other_drop(twins):
    keys: list[str] = []
    watched_store = WatchedStore(twins, before=lambda verb, key: keys.append(key))
    assert find_duplicates(watched_store, read_drop(twins, "second")) == ["first"]
    assert {key for key in keys if "other" in key} == set()
    assert "drops" not in keys


@pytest.mark.parametrize("harm", ["lost", "damaged"])
def test_find_duplicates__without_the_index(twins, harm):
    for key in list_index(twins):
        twins.delete(key) if harm == "lost" else twins.put(key, b"rot")
    assert find_duplicates(twins, read_drop(twins, "second")) == ["first"]
    assert len(list_index(twins)) == 1


def test_find_duplicates__outdated_index_rows(twins, tmp_path):
    """One that moved, one that was deleted, one that cannot be read."""
    register_drop(twins, "third", source="card", root=tmp_path)
    register_drop(twins, "fourth", source="card", root=tmp_path)
    register_drop(twins, "first", source="other", root=tmp_path, may_replace=True)
    twins.delete("drops/third.json")
    twins.put("drops/fourth.json", b"rot")
    assert find_duplicates(twins, read_drop(twins, "second")) == []
    assert find_duplicates(twins, read_drop(twins, "first")) == ["other"]


def test_register_drop__killed_before_its_record(twins, tmp_path, write_photo):
    write_photo(tmp_path / "card-2" / "1.jpg", seed=3)

    def kill(verb, key):
        if key == "drops/late.json":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        register_drop(WatchedStore(twins, before=kill), "late", source="card-2", root=tmp_path)
    drop, _ = register_drop(twins, "again", source="card-2", root=tmp_path)
    assert find_duplicates(twins, drop) == []
    register_drop(twins, "late", source="card-2", root=tmp_path)
    assert find_duplicates(twins, drop) == ["late"]
