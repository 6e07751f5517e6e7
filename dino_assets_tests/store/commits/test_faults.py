"""The commit protocol under faults at every store call, flipped bytes and simultaneous writers."""

import contextlib
import itertools
import threading
from collections.abc import Callable

import pytest

from dino_assets.errors import CorruptObjectError, StoreUnavailableError
from dino_assets.store.commits.manifests import manifest_key, parse_manifest, read_manifest
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Draft, OutputId
from dino_assets.store.commits.receipts import find_receipt, parse_receipt, receipt_key
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.store.upkeep.collecting import collect
from dino_assets.store.upkeep.verifying import verify
from dino_assets_tests.worlds.outputs import (
    OUTPUT,
    full_draft,
    local_file,
    rows_draft,
    snapshot,
    wipe,
)
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.store_doubles import Strike, WatchedStore, fail

pytestmark = pytest.mark.usefixtures("two_rows_per_part")


def commit_without_faults(
    store: ObjectStore, draft: Callable[[ObjectStore], Draft]
) -> dict[str, bytes]:
    """Commit without faults in an emptied store, return the objects, and empty it again."""
    wipe(store)
    commit(store, draft(store))
    objects = snapshot(store)
    wipe(store)
    assert objects is not None
    return objects


@pytest.mark.parametrize("has_old", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
def test_commit__fault_at_every_call(swept_store: ObjectStore, tmp_path, when: str, has_old: bool):
    store = swept_store
    file = local_file(tmp_path)
    new_objects = commit_without_faults(store, lambda s: full_draft(s, file, version="2"))
    old_objects = commit_without_faults(store, lambda s: full_draft(s, file)) if has_old else None
    calls = 0
    for n in itertools.count():
        wipe(store)
        if has_old:
            commit(store, full_draft(store, file))
        strike = Strike(n, fail)
        faulty = WatchedStore(store, **{when: strike})
        try:
            commit(faulty, full_draft(faulty, file, version="2"))
        except StoreUnavailableError:
            assert strike.has_struck
        assert snapshot(store) in (old_objects, new_objects)
        commit(store, full_draft(store, file, version="2"))
        assert snapshot(store) == new_objects
        if not strike.has_struck:
            break
        calls += 1
    # Read 1 manifest, put 5 parts and 1 receipt, get 1 receipt, check 1 part, put the manifest, check
    # 5 parts. A call that finds nothing has no "after".
    not_found = 1 if has_old else 2
    assert calls == (15 if when == "before" else 15 - not_found)


def test_commit__fault_at_every_call_of_a_reuse(store: ObjectStore, tmp_path):
    file = local_file(tmp_path)
    commit(store, full_draft(store, file))
    objects = snapshot(store)
    for n in itertools.count():
        strike = Strike(n, fail)
        faulty = WatchedStore(store, before=strike)
        with contextlib.suppress(StoreUnavailableError):
            assert commit(faulty, full_draft(faulty, file)).was_reused
        assert snapshot(store) == objects
        if not strike.has_struck:
            break
    assert n == 6


def test_commit__large_file_faults(store: ObjectStore, tmp_path):
    store.chunk_bytes = 64
    file = local_file(tmp_path)
    objects = commit_without_faults(store, lambda s: full_draft(s, file))
    for when in ("before", "after"):
        strike = Strike(0, fail, verbs=("put_chunks",))
        faulty = WatchedStore(store, **{when: strike})
        with pytest.raises(StoreUnavailableError):
            commit(faulty, full_draft(faulty, file))
        assert snapshot(store) is None
        commit(store, full_draft(store, file))
        assert snapshot(store) == objects
        wipe(store)


def flip(store: ObjectStore, key: str, at: int) -> None:
    data = bytearray(store.get(key))
    data[at] ^= 1
    store.put(key, bytes(data))


def committed_keys(store: ObjectStore) -> list[str]:
    parts = [part.key for part in read_manifest(store, OUTPUT).parts]
    return [*parts, manifest_key(OUTPUT), receipt_key(OUTPUT, "shard-1")]


def test_verify__finds_a_flipped_byte_in_every_object(store: ObjectStore, tmp_path):
    file = local_file(tmp_path)
    commit(store, full_draft(store, file))
    objects = snapshot(store)
    assert list(verify(store)) == []
    for key in committed_keys(store):
        size = store.head(key).bytes
        flip(store, key, size // 2)
        faults = list(verify(store))
        assert {(fault.store, fault.key) for fault in faults} == {(store.url, key)}
        assert all(key in str(fault) and store.url in str(fault) for fault in faults)
        if key.startswith("manifests"):
            with raising(CorruptObjectError, key=key):
                read_manifest(store, OUTPUT)
        elif key.startswith("parts"):
            part = next(part for part in read_manifest(store, OUTPUT).parts if part.key == key)
            with raising(CorruptObjectError, key=key):
                read_part(store, part)
        else:
            assert find_receipt(store, OUTPUT, "shard-1") is None
        assert {fault.key for fault in verify(store, should_repair=True)} == {key}
        commit(store, full_draft(store, file))
        assert snapshot(store) == objects
        if key.startswith("receipts"):
            # The output needs no receipt; a new run would write it again.
            wipe(store)
            commit(store, full_draft(store, file))
        assert list(verify(store)) == []


def test_verify__finds_a_flipped_byte_anywhere_in_a_manifest_or_receipt(
    local_store: ObjectStore, tmp_path
):
    commit(local_store, full_draft(local_store, local_file(tmp_path)))
    for key, parse in (
        (manifest_key(OUTPUT), parse_manifest),
        (receipt_key(OUTPUT, "shard-1"), parse_receipt),
    ):
        data = local_store.get(key)
        parse(data, store="store", key=key)
        for position, bit in itertools.product(range(len(data)), (1, 7, 128)):
            # 7 turns a line break into a carriage return, which JSON ignores, but `unseal` does not.
            altered_data = data[:position] + bytes([data[position] ^ bit]) + data[position + 1 :]
            with raising(CorruptObjectError, key=key, store="store"):
                parse(altered_data, store="store", key=key)


def test_commit__computes_a_damaged_shard_again(store: ObjectStore, tmp_path):
    file = local_file(tmp_path)
    commit(store, full_draft(store, file))
    objects = snapshot(store)
    # The writer was killed before its manifest; then a byte of a shard's part was damaged.
    store.delete(manifest_key(OUTPUT))
    receipt = find_receipt(store, OUTPUT, "shard-1")
    flip(store, receipt.parts[0].key, 10)
    commit(store, full_draft(store, file))
    assert snapshot(store) == objects


def test_verify__repair_keeps_a_replaced_manifest(store: ObjectStore):
    commit(store, rows_draft([1, 2, 3]))
    objects = snapshot(store)
    part = read_manifest(store, OUTPUT).parts[0]
    flip(store, part.key, 10)

    def heal(verb: str, key: str) -> None:
        # Between finding the fault and repairing it, another run replaces the output.
        if verb == "head" and key == manifest_key(OUTPUT):
            commit(store, rows_draft([1, 2, 4], version="2"))

    faults = list(verify(WatchedStore(store, before=heal), should_repair=True))
    assert [fault.key for fault in faults] == [part.key]
    assert read_manifest(store, OUTPUT).recipe.code_version == "2"
    assert snapshot(store) != objects
    assert list(verify(store)) == []


def test_verify__missing_part_is_reported_once_per_output(store: ObjectStore):
    other_output = OutputId("things", "flight-1", "space2")
    commit(store, rows_draft([1, 2], output=other_output))
    commit(store, rows_draft([1, 2]))
    # The parts' metadata contains the space, so the two outputs share no part.
    key = read_manifest(store, OUTPUT).parts[0].key
    store.delete(key)
    assert [fault.key for fault in verify(store)] == [key]
    assert "is missing in store" in str(next(verify(store, should_repair=True)))
    assert snapshot(store) is None
    assert snapshot(store, other_output) is not None


class Losing(WatchedStore):
    """A store in which another program deletes each table part that is put."""

    def put(self, key: str, data: bytes, **options: bool) -> None:
        super().put(key, data, **options)
        if key.startswith("manifests"):
            self.inner.delete(next(self.inner.list("parts")).key)


def test_commit__fails_if_parts_keep_disappearing(store: ObjectStore):
    with raising(StoreUnavailableError, store=store.url) as caught:
        commit(Losing(store), rows_draft([1, 2, 3]))
    assert caught.value.key.startswith("parts/things/flight-1/")
    assert snapshot(store) is None
    commit(store, rows_draft([1, 2, 3]))
    assert snapshot(store) is not None


@pytest.mark.parametrize("differ", [False, True])
@pytest.mark.parametrize("conditional", [False, True])
def test_commit__two_writers_at_once(
    swept_store: ObjectStore, tmp_path, differ: bool, conditional: bool
):
    store = swept_store
    file = local_file(tmp_path)
    versions = ("1", "2") if differ else ("1", "1")
    outcomes = [
        commit_without_faults(store, lambda s, v=v: full_draft(s, file, version=v))
        for v in versions
    ]
    for n in range(6):
        wipe(store)
        # The writers wait for each other at their n-th write.
        gate = threading.Barrier(2)

        def meet(verb: str, key: str, gate=gate) -> None:
            with contextlib.suppress(threading.BrokenBarrierError):
                gate.wait(20)

        def write(version: str, n=n, meet=meet, gate=gate) -> None:
            kind = ConditionalStore if conditional else WatchedStore
            meeting_store = kind(store, before=Strike(n, meet, verbs=("put", "put_chunks")))
            commit(meeting_store, full_draft(meeting_store, file, version=version))
            gate.abort()  # it may have reused the other's receipt, and had less to write

        writers = [threading.Thread(target=write, args=(version,)) for version in versions]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert snapshot(store) in outcomes
        assert collect(store).parts == []


class ConditionalStore(WatchedStore):
    """A store that puts parts with create-if-absent first, as servers with conditional PUT allow."""

    def put(self, key: str, data: bytes, **options: bool) -> None:
        try:
            super().put(key, data, **options | {"if_absent": key.startswith("parts")})
        except FileExistsError:
            assert self.inner.get(key) == data
