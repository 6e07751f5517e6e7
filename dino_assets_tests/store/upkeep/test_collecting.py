"""Garbage collection beside writers, and verification with repair."""

import contextlib
import itertools
import os
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from dino_assets.errors import CorruptObjectError, StoreUnavailableError
from dino_assets.store.commits.manifests import find_manifest, manifest_key, read_manifest
from dino_assets.store.commits.parts import put_part
from dino_assets.store.commits.protocol import OutputId, Receipt
from dino_assets.store.commits.receipts import find_receipt, receipt_key, write_receipt
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.store.upkeep.collecting import MIN_AGE, collect
from dino_assets.store.upkeep.verifying import verify
from dino_assets_tests.worlds.outputs import (
    OUTPUT,
    contents,
    full_draft,
    local_file,
    restore,
    rows_draft,
    snapshot,
)
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.store_doubles import ClockedStore, Strike, WatchedStore, fail

OLD = MIN_AGE + timedelta(hours=1)
pytestmark = pytest.mark.usefixtures("two_rows_per_part")


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return sorted(info.key for info in store.list(prefix))


def test_collect__deletes_only_old_unreferenced_parts(store: ObjectStore):
    clocked = ClockedStore(store)
    manifest = commit(clocked, rows_draft([1, 2, 3])).manifest
    old_part = put_part(clocked, OUTPUT, b"unreferenced", rows=1)
    clocked.age(OLD)
    young_part = put_part(clocked, OUTPUT, b"recent", rows=1)
    all_keys = keys(store)

    dry_run = collect(clocked, now=clocked.now, is_dry_run=True)
    assert dry_run.parts == [old_part.key]
    assert dry_run.bytes == len(b"unreferenced")
    assert dry_run.kept_parts == 3
    assert keys(store) == all_keys

    collection = collect(clocked, now=clocked.now)
    assert collection == dry_run
    assert keys(store, "parts") == sorted([young_part.key, *(part.key for part in manifest.parts)])
    assert keys(store, "collected") == []
    assert collect(clocked, now=clocked.now).parts == []


def test_collect__replaced_output(store: ObjectStore):
    clocked = ClockedStore(store)
    old_manifest = commit(clocked, rows_draft([1, 2])).manifest
    new_manifest = commit(clocked, rows_draft([3, 4], version="2")).manifest
    clocked.age(OLD)
    assert collect(clocked, now=clocked.now).parts == [old_manifest.parts[0].key]
    assert keys(store, "parts") == [new_manifest.parts[0].key]


def test_collect__uses_file_times_on_a_local_disk(local_store: ObjectStore):
    part = put_part(local_store, OUTPUT, b"unreferenced", rows=1)
    assert collect(local_store).parts == []
    long_ago = time.time() - OLD.total_seconds()
    os.utime(local_store.folder / part.key, (long_ago, long_ago))
    assert collect(local_store).parts == [part.key]
    assert keys(local_store) == []


def test_collect__keeps_receipts_of_unfinished_drops(store: ObjectStore):
    clocked = ClockedStore(store)
    part = put_part(clocked, OUTPUT, b"paid for", rows=1)
    write_receipt(clocked, Receipt(OUTPUT, "s", (part,)))
    clocked.age(100 * OLD)
    collection = collect(clocked, now=clocked.now)
    assert (collection.parts, collection.receipts, collection.kept_parts) == ([], [], 1)
    assert find_receipt(store, OUTPUT, "s") is not None


def test_collect__deletes_receipts_of_committed_outputs(store: ObjectStore, tmp_path):
    clocked = ClockedStore(store)
    commit(clocked, full_draft(clocked, local_file(tmp_path)))
    key = receipt_key(OUTPUT, "shard-1")
    assert collect(clocked, now=clocked.now).receipts == []
    clocked.age(OLD)
    objects = snapshot(store)
    assert collect(clocked, now=clocked.now, is_dry_run=True).receipts == [key]
    assert keys(store, "receipts") == [key]
    collection = collect(clocked, now=clocked.now)
    assert (collection.receipts, collection.parts) == ([key], [])
    assert keys(store, "receipts") == []
    assert snapshot(store) == objects


def test_collect__keeps_a_receipt_newer_than_the_manifest(store: ObjectStore):
    # A new version of the output was started and not finished.
    clocked = ClockedStore(store)
    commit(clocked, rows_draft([1, 2]))
    clocked.age(timedelta(seconds=5))
    part = put_part(clocked, OUTPUT, b"paid for", rows=1)
    write_receipt(clocked, Receipt(OUTPUT, "s", (part,)))
    clocked.age(OLD)
    collection = collect(clocked, now=clocked.now)
    assert (collection.parts, collection.receipts) == ([], [])


def test_collect__keeps_a_receipt_written_again_meanwhile(store: ObjectStore):
    clocked = ClockedStore(store)
    part = put_part(clocked, OUTPUT, b"some bytes", rows=1)
    receipt = Receipt(OUTPUT, "s", (part,))
    write_receipt(clocked, receipt)
    commit(clocked, rows_draft([1, 2]))
    clocked.age(OLD)

    def write_again(verb: str, key: str) -> None:
        put_part(clocked, OUTPUT, b"some bytes", rows=1)
        write_receipt(clocked, receipt)

    strike = Strike(0, write_again, verbs=("move", "delete"))
    collection = collect(WatchedStore(clocked, before=strike), now=clocked.now)
    assert strike.has_struck
    assert (collection.parts, collection.receipts) == ([], [])
    assert find_receipt(store, OUTPUT, "s") == receipt


def test_collect__keeps_a_part_put_again_meanwhile(store: ObjectStore):
    # Its writer has not put its manifest yet; deleting the part would lose its work.
    clocked = ClockedStore(store)
    part = put_part(clocked, OUTPUT, b"some bytes", rows=1)
    clocked.age(OLD)
    strike = Strike(0, lambda *_: clocked.put(part.key, b"some bytes"), verbs=("head",))
    collection = collect(WatchedStore(clocked, before=strike), now=clocked.now)
    assert strike.has_struck
    assert (collection.parts, collection.kept_parts) == ([], 1)
    assert store.get(part.key) == b"some bytes"


def test_find_receipt__renews_old_parts(store: ObjectStore):
    part = put_part(store, OUTPUT, b"some bytes", rows=1)
    write_receipt(store, Receipt(OUTPUT, "s", (part,)))
    put_keys: list[str] = []
    watched_store = WatchedStore(
        store, before=lambda v, k: put_keys.append(k) if v == "put" else None
    )
    find_receipt(watched_store, OUTPUT, "s")
    assert put_keys == []
    find_receipt(watched_store, OUTPUT, "s", renew_after=timedelta(days=-1))
    assert put_keys == [part.key]


@pytest.mark.parametrize("has_old", [False, True])
@pytest.mark.parametrize("skew", [timedelta(0), OLD])
def test_collect__runs_at_every_call_of_a_writer(
    swept_store: ObjectStore, tmp_path, skew, has_old: bool
):
    store = swept_store
    # With skew, the collector's clock is a week ahead, so that even new parts look old.
    file = local_file(tmp_path)
    clocked = ClockedStore(store)
    if has_old:
        commit(clocked, full_draft(clocked, file))
        old_objects = snapshot(store)
    commit(clocked, full_draft(clocked, file, version="2"))
    new_objects = snapshot(store)
    # Left by a killed writer: the same parts that the next writer will put again.
    clocked.delete(manifest_key(OUTPUT))
    clocked.delete(receipt_key(OUTPUT, "shard-2"))
    if has_old:
        for key in old_objects:
            clocked.put(key, old_objects[key])
    objects_before = contents(clocked)
    for n in itertools.count():
        restore(clocked, objects_before)
        clocked.age(OLD)

        strike = Strike(n, lambda *_: collect(clocked, now=clocked.now + skew))
        commit(WatchedStore(clocked, before=strike), full_draft(clocked, file, version="2"))
        assert snapshot(store) == new_objects
        collect(clocked, now=clocked.now + skew)
        assert snapshot(store) == new_objects
        if not strike.has_struck:
            break
    assert n >= 10


@pytest.mark.parametrize("skew", [timedelta(0), OLD])
@pytest.mark.parametrize("when", ["before", "after"])
def test_collect__writer_runs_at_every_call(swept_store: ObjectStore, tmp_path, skew, when: str):
    store = swept_store
    # The critical moment is between the last check of a part and its deletion.
    file = local_file(tmp_path)
    clocked = ClockedStore(store)
    commit(clocked, full_draft(clocked, file))
    objects = snapshot(store)
    clocked.delete(manifest_key(OUTPUT))
    clocked.delete(receipt_key(OUTPUT, "shard-1"))
    objects_before = contents(clocked)
    for n in itertools.count():
        restore(clocked, objects_before)
        clocked.age(OLD)

        strike = Strike(n, lambda *_: commit(clocked, full_draft(clocked, file)))
        collect(WatchedStore(clocked, **{when: strike}), now=clocked.now + skew)
        if not strike.has_struck:
            break
        assert snapshot(store) == objects
        assert keys(store, "collected") == []
    assert n > 15


@pytest.mark.parametrize("when", ["before", "after"])
def test_collect__fault_at_every_call(swept_store: ObjectStore, tmp_path, when: str):
    store = swept_store
    file = local_file(tmp_path)
    clocked = ClockedStore(store)
    commit(clocked, full_draft(clocked, file))
    objects = snapshot(store)
    put_part(clocked, OUTPUT, b"unreferenced", rows=1)
    put_part(clocked, OUTPUT, b"another unreferenced", rows=1)
    objects_before = contents(clocked)
    for n in itertools.count():
        restore(clocked, objects_before)
        clocked.age(OLD)
        strike = Strike(n, fail)
        with contextlib.suppress(StoreUnavailableError):
            collect(WatchedStore(clocked, **{when: strike}), now=clocked.now)
        assert snapshot(store) == objects
        collect(clocked, now=clocked.now)
        assert keys(store) == sorted(objects)
        if not strike.has_struck:
            break
    assert n > 15


def test_collect__next_collection_undoes_a_killed_one(store: ObjectStore, tmp_path):
    file = local_file(tmp_path)
    clocked = ClockedStore(store)
    commit(clocked, full_draft(clocked, file))
    objects = snapshot(store)
    manifest = clocked.get(manifest_key(OUTPUT))
    clocked.delete(manifest_key(OUTPUT))
    clocked.delete(receipt_key(OUTPUT, "shard-1"))
    clocked.age(OLD)
    with pytest.raises(StoreUnavailableError):
        collect(WatchedStore(clocked, after=Strike(2, fail, verbs=("move",))), now=clocked.now)
    assert len(keys(store, "collected")) == 3
    # A writer puts its manifest while its parts are in the bin.
    clocked.put(manifest_key(OUTPUT), manifest)
    collect(clocked, now=clocked.now)
    assert snapshot(store) == objects
    assert keys(store, "collected") == []


def test_commit__fails_beside_a_collection_that_never_stops(store: ObjectStore):
    # A collector with a wrong clock that never stops: the commit fails and leaves nothing.
    clocked = ClockedStore(store)

    def always(verb: str, key: str) -> None:
        collect(clocked, now=clocked.now + OLD)

    with pytest.raises(StoreUnavailableError):
        commit(WatchedStore(clocked, before=always), rows_draft([1, 2, 3]))
    assert snapshot(store) is None


def test_collect__deletes_nothing_with_a_damaged_manifest(store: ObjectStore):
    clocked = ClockedStore(store)
    commit(clocked, rows_draft([1, 2]))
    commit(clocked, rows_draft([3, 4], output=replace(OUTPUT, drop="flight-2")))
    put_part(clocked, OUTPUT, b"unreferenced", rows=1)
    clocked.age(OLD)
    key = manifest_key(OUTPUT)
    clocked.put(key, clocked.get(key)[:-1])
    clocked.age(OLD)
    all_keys = keys(store)
    with raising(CorruptObjectError, key=key):
        collect(clocked, now=clocked.now)
    assert keys(store) == all_keys


def test_collect__keeps_damaged_receipts_and_foreign_objects(store: ObjectStore):
    clocked = ClockedStore(store)
    for key in (
        "receipts/things/_/flight-1/s.json",
        "receipts/README",
        "parts/things/_/README",
        "parts/README",
        "manifests/README",
        "drops/flight-1.json",
        "elsewhere/x",
    ):
        clocked.put(key, b"{}")
    clocked.age(OLD)
    all_keys = keys(store)
    collection = collect(clocked, now=clocked.now)
    assert (collection.parts, collection.receipts) == ([], [])
    assert keys(store) == all_keys


def test_collect__staging_files_of_killed_writers(local_store: ObjectStore, tmp_path):
    commit(local_store, rows_draft([1, 2], output=OutputId("things", "flight-1")))
    objects = snapshot(local_store, OutputId("things", "flight-1"))
    folder = local_store.folder
    long_ago = time.time() - OLD.total_seconds()
    swept_names = ["parts/things/flight-1/abc.parquet#1", "manifests/things/_/flight-1.json#12"]
    foreign = ["parts/.DS_Store", "receipts/things/._s.json", "manifests/things/_/._flight-1.json"]
    old_names = ["parts/things/flight-1/abc#1x.parquet", "elsewhere/x#1", *foreign]
    young_names = ["parts/things/flight-1/abc.parquet#2", "receipts/things/_/a/b.json#1"]
    for name in (*swept_names, *old_names, *young_names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        if name not in young_names:
            os.utime(path, (long_ago, long_ago))
    dry_run = collect(local_store, is_dry_run=True)
    assert sorted(dry_run.staging) == ["abc.parquet#1", "flight-1.json#12"]
    assert all((folder / name).exists() for name in swept_names)
    assert sorted(collect(local_store).staging) == sorted(dry_run.staging)
    assert not any((folder / name).exists() for name in swept_names)
    assert all((folder / name).exists() for name in (*old_names, *young_names))
    assert snapshot(local_store, OutputId("things", "flight-1")) == objects


def test_verify__repair_deletes_only_a_records_damaged_part(store: ObjectStore, tmp_path):
    file = local_file(tmp_path)
    other_output = OutputId("others", "flight-1")
    commit(store, full_draft(store, file))
    commit(store, rows_draft([1, 2], output=other_output))
    store.delete(receipt_key(OUTPUT, "shard-1"))
    objects, manifest = snapshot(store), read_manifest(store, OUTPUT)
    damaged_key = manifest.parts[0].key
    for key in (damaged_key, read_manifest(store, other_output).parts[0].key):
        store.put(key, b"something else")
    faults = {fault.key: str(fault) for fault in verify(store, should_repair=False)}
    assert not any("Deleted" in text for text in faults.values())
    faults = {f.key: str(f) for f in verify(store, should_repair=True, records=("things",))}
    assert faults[damaged_key].endswith(
        f"Deleted the part and kept the record {manifest_key(OUTPUT)!r}. Make that output again, with the "
        "same settings, to restore the part."
    )
    assert read_manifest(store, OUTPUT) == manifest
    assert damaged_key not in keys(store, "parts")
    assert find_manifest(store, other_output) is None
    assert not commit(store, full_draft(store, file)).was_reused
    assert snapshot(store) == objects
    assert list(verify(store)) == []


def test_verify__repair_keeps_an_unreadable_record(store: ObjectStore):
    commit(store, rows_draft([1, 2]))
    key = manifest_key(OUTPUT)
    broken_data = store.get(key)[:-1]
    store.put(key, broken_data)
    (fault,) = verify(store, should_repair=True, records=("things",))
    assert "Nothing was deleted: it is a record" in str(fault)
    assert store.get(key) == broken_data
    (fault,) = verify(store, should_repair=True)
    assert str(fault).endswith(f"Deleted {key!r}. Make its output again.")
    assert keys(store, "manifests") == []


def test_verify__repair_keeps_a_part_put_again_meanwhile(store: ObjectStore):
    commit(store, rows_draft([1, 2]))
    objects = snapshot(store)
    (part,) = read_manifest(store, OUTPUT).parts
    for at in (2, 3, 4, 5):  # the repair's head calls, which follow the two reads of verifying
        store.put(part.key, b"something else")
        heads = 0

        def heal(verb: str, key: str, at: int = at) -> None:
            nonlocal heads
            heads += verb == "head"
            if (verb, heads) == ("head", at + 1):
                store.put(part.key, objects[part.key])

        watched_store = WatchedStore(store, before=heal)
        faults = list(verify(watched_store, should_repair=True, records=("things",)))
        assert [fault.key for fault in faults] == [part.key]
        assert "given up" not in str(faults[0])
        assert snapshot(store) == objects


def test_collect__empty_store(store: ObjectStore):
    collection = collect(store)
    assert (collection.parts, collection.receipts, collection.staging, collection.bytes) == (
        [],
        [],
        [],
        0,
    )
