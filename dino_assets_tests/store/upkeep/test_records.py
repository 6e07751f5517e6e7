"""A record whose manifest is damaged: put back from its copy, or set aside."""

import pytest

from dino_assets.errors import CommitRefusedError, CorruptObjectError, NotCommittedError
from dino_assets.store.commits.manifests import find_manifest, manifest_key
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.records import COPIES
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.store.upkeep.collecting import collect
from dino_assets.store.upkeep.setting_aside import set_aside
from dino_assets.store.upkeep.verifying import verify
from dino_assets_tests.worlds.outputs import rows_draft, snapshot
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.store_doubles import FlippingStore

ROUND = OutputId("selections", "round-0001", "space1")
KEY = manifest_key(ROUND)


def choose(store: ObjectStore, *numbers: int, version: str = "1") -> dict[str, bytes]:
    commit(store, rows_draft(list(numbers), output=ROUND, version=version))
    return snapshot(store, ROUND)


@pytest.mark.parametrize("damaged", [b"", b"{", b"\0" * 900])
def test_verify__an_emptied_record_is_put_back_as_it_was(store: ObjectStore, damaged: bytes):
    whole = choose(store, 1, 2)
    store.put(KEY, damaged)
    with raising(CorruptObjectError, key=KEY):
        open_table(store, "selections", space="space1")
    (fault,) = verify(store)
    assert "Run `dino-assets verify --repair`" in str(fault)
    assert store.get(KEY) == damaged
    (fault,) = verify(store, should_repair=True)
    assert str(fault).endswith("It is put back from its copy, as it was committed.")
    assert snapshot(store, ROUND) == whole
    assert list(verify(store)) == []
    assert collect(store).parts == []


def test_verify__a_record_that_was_replaced_is_put_back_as_the_later_one(store: ObjectStore):
    choose(store, 1, 2)
    later = choose(store, 3, version="2")
    store.put(KEY, b"")
    list(verify(store, should_repair=True))
    assert snapshot(store, ROUND) == later


def test_verify__a_record_is_not_put_back_where_the_way_to_it_is_bad(store: ObjectStore):
    choose(store, 1)
    store.put(KEY, b"1234567")
    (fault,) = verify(FlippingStore(store, times=2), should_repair=True)
    assert "two reads gave different bytes" in str(fault)
    assert store.get(KEY) == b"1234567"


def test_commit__a_record_of_an_earlier_version_gets_its_copy(store: ObjectStore):
    whole = choose(store, 1, 2)
    store.delete(COPIES + KEY)
    assert commit(store, rows_draft([1, 2], output=ROUND)).was_reused
    store.put(KEY, b"")
    list(verify(store, should_repair=True))
    assert snapshot(store, ROUND) == whole


def test_set_aside__a_record_without_a_whole_copy(store: ObjectStore):
    choose(store, 1, 2)
    parts = {info.key for info in store.list("parts")}
    store.put(KEY, b"")
    store.put(COPIES + KEY, b"")
    (fault,) = verify(store, should_repair=True)
    assert "`dino-assets rounds --set-aside round-0001 --space space1`" in str(fault)
    assert set_aside(store, ROUND) == "set-aside/manifests/selections/space1/round-0001.1.json"
    assert find_manifest(store, ROUND) is None
    assert open_table(store, "selections", space="space1").drops == ()
    assert list(verify(store)) == []
    assert {info.key for info in store.list("parts")} == parts
    choose(store, 3)
    store.put(KEY, b"")
    store.delete(COPIES + KEY)
    assert set_aside(store, ROUND).endswith("round-0001.2.json")


def test_set_aside__a_copy_whose_parts_are_gone_is_none(store: ObjectStore):
    choose(store, 1, 2)
    store.put(KEY, b"")
    for info in list(store.list("parts")):
        store.delete(info.key)
    (fault,) = verify(store, should_repair=True)
    assert "no copy of it is whole" in str(fault)
    set_aside(store, ROUND)
    assert list(verify(store)) == []


def test_set_aside__only_what_is_damaged_for_good(store: ObjectStore):
    with raising(NotCommittedError, output=str(ROUND)):
        set_aside(store, ROUND)
    whole = choose(store, 1, 2)
    with raising(CommitRefusedError, reason="sound"):
        set_aside(store, ROUND)
    store.put(KEY, b"")
    with raising(CommitRefusedError, reason="has-copy"):
        set_aside(store, ROUND)
    list(verify(store, should_repair=True))
    assert snapshot(store, ROUND) == whole
