"""Records with a damaged manifest: restoring from the copy, and setting aside."""

import pytest

from dino_assets.errors import CommitRefusedError, CorruptObjectError, NotCommittedError
from dino_assets.store.commits.manifests import find_manifest, manifest_key, read_manifest
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
def test_verify__restores_a_damaged_record_from_its_copy(store: ObjectStore, damaged: bytes):
    objects = choose(store, 1, 2)
    store.put(KEY, damaged)
    with raising(CorruptObjectError, key=KEY):
        open_table(store, "selections", space="space1")
    (fault,) = verify(store)
    assert "Run `dino-assets verify --repair`" in str(fault)
    assert store.get(KEY) == damaged
    (fault,) = verify(store, should_repair=True)
    assert str(fault).endswith("It was restored from its copy, as it was committed.")
    assert snapshot(store, ROUND) == objects
    assert list(verify(store)) == []
    assert collect(store).parts == []


def test_verify__restores_the_latest_version_of_a_record(store: ObjectStore):
    choose(store, 1, 2)
    objects = choose(store, 3, version="2")
    store.put(KEY, b"")
    list(verify(store, should_repair=True))
    assert snapshot(store, ROUND) == objects


def test_verify__restores_no_record_after_two_different_reads(store: ObjectStore):
    choose(store, 1)
    store.put(KEY, b"1234567")
    (fault,) = verify(FlippingStore(store, times=2), should_repair=True)
    assert "two reads gave different bytes" in str(fault)
    assert store.get(KEY) == b"1234567"


def test_commit__adds_a_missing_copy_of_a_record(store: ObjectStore):
    objects = choose(store, 1, 2)
    store.delete(COPIES + KEY)
    assert commit(store, rows_draft([1, 2], output=ROUND)).was_reused
    store.put(KEY, b"")
    list(verify(store, should_repair=True))
    assert snapshot(store, ROUND) == objects


def test_verify__labels_version_without_undamaged_copy(store: ObjectStore):
    version = OutputId("label_versions", "0123456789ab")
    commit(store, rows_draft([1, 2], output=version))
    for key in (manifest_key(version), COPIES + manifest_key(version)):
        store.put(key, b"")
    (fault,) = verify(store, should_repair=True)
    assert "backup" in str(fault)
    assert "rounds --set-aside" not in str(fault)  # only rounds can be set aside
    assert store.exists(manifest_key(version))


def test_set_aside__record_without_undamaged_copy(store: ObjectStore):
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


def test_set_aside__copy_with_missing_parts_does_not_count(store: ObjectStore):
    choose(store, 1, 2)
    store.put(KEY, b"")
    for info in list(store.list("parts")):
        store.delete(info.key)
    (fault,) = verify(store, should_repair=True)
    assert "it has no undamaged copy" in str(fault)
    set_aside(store, ROUND)
    assert list(verify(store)) == []


def test_set_aside__refuses_undamaged_and_restorable_records(store: ObjectStore):
    with raising(NotCommittedError, output=str(ROUND)):
        set_aside(store, ROUND)
    objects = choose(store, 1, 2)
    with raising(CommitRefusedError, reason="sound"):
        set_aside(store, ROUND)
    store.put(KEY, b"")
    with raising(CommitRefusedError, reason="has-copy"):
        set_aside(store, ROUND)
    list(verify(store, should_repair=True))
    assert snapshot(store, ROUND) == objects


def test_set_aside__record_whose_table_is_damaged(store: ObjectStore):
    choose(store, 1, 2)
    (part,) = [part for part in read_manifest(store, ROUND).parts if part.name is None]
    store.put(part.key, b"")
    set_aside(store, ROUND)
    assert find_manifest(store, ROUND) is None
    assert list(verify(store)) == []
    choose(store, 3)
