"""What a drop's source was last seen to hold."""

import pytest

from dino_assets.drops.observing import record_observed
from dino_assets.drops.registering import register_drop
from dino_assets.drops.registry import read_drop
from dino_assets.errors import UnknownDropError
from dino_assets.store.objects import ObjectStore


@pytest.fixture
def memory() -> ObjectStore:
    return ObjectStore.in_memory()


def test_record_observed__only_changes(memory, tmp_path, write_photo):
    write_photo(tmp_path / "d" / "1.jpg")
    drop, _ = register_drop(memory, "d", source="d", root=tmp_path)
    assert not record_observed(memory, "d", drop.fingerprint)
    assert read_drop(memory, "d") == drop
    assert record_observed(memory, "d", "other")
    assert not record_observed(memory, "d", "other")
    # What it looked like once is news again.
    assert record_observed(memory, "d", drop.fingerprint)
    assert read_drop(memory, "d").observed == drop.fingerprint


def test_record_observed__unregistered_drop(memory):
    with pytest.raises(UnknownDropError):
        record_observed(memory, "d", "x")
    assert not list(memory.list("drops"))


def test_register_drop__again_records_the_source(memory, tmp_path, write_photo):
    write_photo(tmp_path / "d" / "1.jpg")
    first, _ = register_drop(memory, "d", source="d", root=tmp_path)
    assert register_drop(memory, "d", source="d", root=tmp_path) == (first, False)
    write_photo(tmp_path / "d" / "2.jpg")
    second, has_changed = register_drop(memory, "d", source="d", root=tmp_path)
    assert has_changed
    assert second.observed == second.fingerprint != first.fingerprint
    assert register_drop(memory, "d", source="d", root=tmp_path) == (second, False)
