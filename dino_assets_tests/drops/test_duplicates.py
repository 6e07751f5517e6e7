"""The same pictures under two names."""

import shutil

import pytest

from dino_assets.drops.duplicates import find_duplicates, warn_of_duplicates
from dino_assets.drops.marks import set_retired
from dino_assets.drops.registry import register_drop
from dino_assets.store.objects import ObjectStore


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
