import hashlib
import json
import threading
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from dino_assets.errors import CommitRefusedError, CorruptObjectError, NotCommittedError
from dino_assets.store.commits.manifests import (
    content_hash,
    find_manifest,
    list_manifests,
    manifest_key,
    read_manifest,
    read_manifests,
)
from dino_assets.store.commits.parts import put_part, read_part, verify_part
from dino_assets.store.commits.protocol import Draft, OutputId, Part, Receipt, Recipe
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.receipts import find_receipt, receipt_key, write_receipt
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.outputs import (
    FILE_BYTES,
    OUTPUT,
    SCHEMA,
    batch,
    full_draft,
    local_file,
    pushing,
    rows_draft,
    snapshot,
    wipe,
)
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.store_doubles import WatchedStore


@pytest.mark.usefixtures("two_rows_per_part")
def test_commit__round_trip(store: ObjectStore, tmp_path):
    committed = commit(store, full_draft(store, local_file(tmp_path)))
    assert not committed.was_reused
    assert committed.manifest == read_manifest(store, OUTPUT) == find_manifest(store, OUTPUT)
    # [1, 2] is full before the shard is added; 3 waits for 4.
    assert [(part.rows, part.name) for part in committed.manifest.parts] == [
        (2, None),
        (2, None),
        (0, "weights.bin"),
        (2, None),
        (1, None),
    ]
    assert committed.manifest.rows == 7
    assert committed.manifest.facts == {"seen": 7}
    assert committed.manifest.recipe.inputs == {"drop": "f00d"}
    assert store.get(committed.manifest.parts[2].key) == FILE_BYTES
    table = open_table(store, "things", space="space1").read("flight-1")
    assert table["n"].to_pylist() == [1, 2, 90, 91, 3, 4, 10]


@pytest.mark.usefixtures("two_rows_per_part")
def test_commit__replay_gives_the_same_bytes(store: ObjectStore, tmp_path):
    file = local_file(tmp_path)
    commit(store, full_draft(store, file))
    objects = snapshot(store)
    wipe(store)
    commit(store, full_draft(store, file))
    assert snapshot(store) == objects


def test_commit__reuses_an_equal_recipe(store: ObjectStore):
    committed = commit(store, rows_draft([1, 2], sizes=(1, 2), nested={2: "a", 10: "b"}))
    calls = []
    draft = rows_draft([9], sizes=[1, 2], nested={10: "b", 2: "a"})
    repeated = commit(store, replace(draft, produce=lambda out: calls.append(1)))
    assert repeated.was_reused
    assert not calls
    assert repeated.manifest == committed.manifest


@pytest.mark.parametrize(
    "change",
    [
        {"code_version": "2"},
        {"config": {"side": 224}},
        {"inputs": {"drop": "beef"}},
        {"inputs": {"drop": "f00d", "more": "x"}},
    ],
)
def test_commit__recomputes_when_the_recipe_changed(store: ObjectStore, change: dict):
    commit(store, rows_draft([1, 2]))
    draft = rows_draft([7])
    committed = commit(store, replace(draft, recipe=replace(draft.recipe, **change)))
    assert not committed.was_reused
    assert open_table(store, "things", space="space1").read("flight-1")["n"].to_pylist() == [7]


def test_commit__produces_again_if_a_part_is_missing(store: ObjectStore):
    committed = commit(store, rows_draft([1, 2]))
    objects = snapshot(store)
    store.delete(committed.manifest.parts[0].key)
    assert not commit(store, rows_draft([1, 2])).was_reused
    assert snapshot(store) == objects
    store.put(committed.manifest.parts[0].key, b"truncated")
    assert not commit(store, rows_draft([1, 2])).was_reused
    assert snapshot(store) == objects


def refusing(*items: object, output: OutputId = OUTPUT, error: Exception | None = None) -> Draft:
    def produce():
        yield from items
        raise error or CommitRefusedError("3 of 4 photographs are broken")

    return Draft(Recipe(output, "2"), pushing(produce), SCHEMA)


@pytest.mark.parametrize("error", [None, RuntimeError("the GPU fell off"), KeyboardInterrupt()])
@pytest.mark.usefixtures("two_rows_per_part")
def test_commit__refusal_changes_nothing(store: ObjectStore, tmp_path, error):
    draft = refusing(batch([1, 2, 3]), local_file(tmp_path), {"a": 1}, error=error)
    kind = type(error) if error else CommitRefusedError
    with pytest.raises(kind):
        commit(store, draft)
    assert snapshot(store) is None
    assert list(store.list("manifests")) == []
    commit(store, rows_draft([1, 2]))
    objects_before = snapshot(store)
    with pytest.raises(kind):
        commit(store, draft)
    assert snapshot(store) == objects_before


@pytest.mark.parametrize(
    ("item", "reason", "file"),
    [
        ({"share": float("nan")}, "facts-not-json", ""),
        ({"count": np.int64(3)}, "facts-not-json", ""),
        (Part("parts/things/flight-1/a.x", "a", 3, 1), "no-part", "parts/things/flight-1/a.x"),
    ],
)
def test_commit__refuses_invalid_items(store: ObjectStore, item: object, reason: str, file: str):
    with raising(CommitRefusedError, reason=reason, file=file):
        commit(store, Draft(Recipe(OUTPUT, "1"), pushing([item]), SCHEMA))
    assert list(store.list()) == []


def test_commit__refuses_a_recipe_before_it_produces(store: ObjectStore):
    draft = Draft(
        Recipe(OUTPUT, "1", {"rng": object()}), lambda out: pytest.fail("produced"), SCHEMA
    )
    with raising(CommitRefusedError, reason="recipe-not-json"):
        commit(store, draft)


def test_commit__refuses_rows_without_a_schema(store: ObjectStore):
    with raising(CommitRefusedError, reason="no-schema"):
        commit(store, Draft(Recipe(OUTPUT, "1"), pushing([batch([1, 2])])))
    assert list(store.list("manifests")) == []


def test_commit__batch_of_another_schema_commits_nothing(store: ObjectStore):
    odd_batch = pa.record_batch({"id": ["a"], "n": ["not a number"]})
    with pytest.raises(pa.ArrowInvalid, match="different"):
        commit(store, Draft(Recipe(OUTPUT, "1"), pushing([batch([1]), odd_batch]), SCHEMA))
    assert list(store.list("manifests")) == []


@pytest.mark.parametrize("chunk", [8, 32 * 2**20])
def test_commit__file_that_changed_never_reaches_its_key(store: ObjectStore, tmp_path, chunk: int):
    store.chunk_bytes = chunk
    file = local_file(tmp_path)
    draft = Draft(Recipe(OUTPUT, "1"), pushing([file]))
    commit(store, draft)
    objects_before = snapshot(store)
    assert FILE_BYTES in objects_before.values()
    second_draft = replace(draft, recipe=Recipe(OUTPUT, "2"))
    for content in (FILE_BYTES[:-1] + b"!", FILE_BYTES[:-1], FILE_BYTES + b"!"):
        file.path.write_bytes(content)
        with raising(CommitRefusedError, reason="changed", file="weights.bin"):
            commit(store, second_draft)
        # The old output has a part with that key, which must keep the old bytes.
        assert snapshot(store) == objects_before
    file.path.unlink()
    with raising(CommitRefusedError, reason="vanished", file="weights.bin", hides=str(tmp_path)):
        commit(store, second_draft)


def test_commit__file_described_wrongly(store: ObjectStore, tmp_path):
    file = replace(local_file(tmp_path), bytes=3)
    with raising(CommitRefusedError, reason="changed", file="weights.bin"):
        commit(store, Draft(Recipe(OUTPUT, "1"), pushing([file])))
    assert list(store.list()) == []


def test_manifest__no_time_host_or_folder(local_store: ObjectStore, tmp_path):
    commit(local_store, full_draft(local_store, local_file(tmp_path)))
    body = json.loads(local_store.get(manifest_key(OUTPUT)))
    assert sorted(body) == [
        "asset", "bytes", "code_version", "config", "drop", "facts", "format", "inputs", "parts",
        "rows", "sha256", "space",
    ]  # fmt: skip
    assert str(tmp_path) not in json.dumps(body)


def test_read_manifest__not_committed(store: ObjectStore):
    with pytest.raises(
        NotCommittedError, match=r"things/flight-1@space1 is not in store '.+'\. Mat"
    ):
        read_manifest(store, OUTPUT)
    assert find_manifest(store, OUTPUT) is None


def test_read_manifest__of_another_output(store: ObjectStore):
    commit(store, rows_draft([1, 2]))
    other_output = replace(OUTPUT, drop="flight-2")
    store.put(manifest_key(other_output), store.get(manifest_key(OUTPUT)))
    with raising(CorruptObjectError, key=manifest_key(other_output), is_gone=False):
        read_manifest(store, other_output)


def test_list_manifests__sorted_by_drop_without_foreign_files(store: ObjectStore):
    for drop in ("a-1", "a", "a.b", "B"):
        commit(store, rows_draft([1], output=OutputId("things", drop)))
    commit(store, rows_draft([1], output=OutputId("things", "other", "space1")))
    store.put("manifests/things/_/Thumbs.db", b"a file manager was here")
    drops = [manifest.recipe.output.drop for manifest in list_manifests(store, "things")]
    assert drops == ["B", "a", "a-1", "a.b"]


def test_read_manifests__leaves_out_deleted_ones(store: ObjectStore):
    commit(store, rows_draft([1]))
    keys = [manifest_key(replace(OUTPUT, drop="gone")), manifest_key(OUTPUT)]
    assert [m.recipe.output for m in read_manifests(store, keys)] == [OUTPUT]
    assert read_manifests(store, []) == []


def test_read_manifests__stops_at_the_first_error():
    inner_store = ObjectStore.in_memory()
    requested_keys = []
    before_error = threading.Event()

    def watch(verb: str, key: str) -> None:
        requested_keys.append(key)
        if key == "bad":
            before_error.set()
        else:
            before_error.wait(10)
            time.sleep(0.005)  # on a busy machine, the others could end before the error is seen

    inner_store.put("bad", b"{}")
    keys = ["bad", *(f"missing/{n}" for n in range(2000))]
    with raising(CorruptObjectError, key="bad"):
        read_manifests(WatchedStore(inner_store, before=watch), keys)
    assert len(requested_keys) < len(keys)


def test_read_part__missing_or_altered(store: ObjectStore):
    part = put_part(store, OUTPUT, b"some bytes", rows=1)
    assert read_part(store, part) == b"some bytes"
    verify_part(store, part)
    for damage in (b"some bytez", b"some byte", b""):
        store.put(part.key, damage)
        for read in (read_part, verify_part):
            with pytest.raises(CorruptObjectError, match=r"has sha256 .+verify --repair") as caught:
                read(store, part)
            assert (caught.value.store, caught.value.key) == (store.url, part.key)
    store.delete(part.key)
    for read in (read_part, verify_part):
        with raising(CorruptObjectError, is_gone=True) as caught:
            read(store, part)
        assert (caught.value.store, caught.value.key) == (store.url, part.key)


def test_verify_part__larger_than_a_range(store: ObjectStore):
    store.chunk_bytes = 4
    for data in (b"", b"1234", b"12345", b"12345678"):
        verify_part(store, put_part(store, OUTPUT, data, rows=1))


def test_content_hash__depends_on_content_only(store: ObjectStore):
    manifest = commit(store, rows_draft([1, 2])).manifest
    equal_manifest = commit(store, rows_draft([1, 2], version="2")).manifest
    other_manifest = commit(store, rows_draft([1, 3], version="3")).manifest
    assert content_hash(manifest) == content_hash(equal_manifest) != content_hash(other_manifest)
    # A change of this value makes every downstream output stale.
    expected_hash = hashlib.sha256(b'[["ab",2,null]]').hexdigest()
    assert content_hash(replace(manifest, parts=(Part("k", "ab", 1, 2, None),))) == expected_hash


def test_receipt__round_trip(store: ObjectStore):
    part = put_part(store, OUTPUT, b"some bytes", rows=1)
    receipt = Receipt(OUTPUT, "shard-1", (part,), {"seen": 2})
    assert find_receipt(store, OUTPUT, "shard-1") is None
    write_receipt(store, receipt)
    assert find_receipt(store, OUTPUT, "shard-1") == receipt
    assert find_receipt(store, OUTPUT, "shard-2") is None
    assert find_receipt(store, replace(OUTPUT, drop="flight-2"), "shard-1") is None


@pytest.mark.parametrize("damage", [None, b"some bytez", b"some byte"])
def test_find_receipt__damaged_part(store: ObjectStore, damage):
    part = put_part(store, OUTPUT, b"some bytes", rows=1)
    write_receipt(store, Receipt(OUTPUT, "shard-1", (part,)))
    if damage is None:
        store.delete(part.key)
    else:
        store.put(part.key, damage)
    assert find_receipt(store, OUTPUT, "shard-1") is None


def test_find_receipt__of_another_shard(store: ObjectStore):
    part = put_part(store, OUTPUT, b"some bytes", rows=1)
    write_receipt(store, Receipt(OUTPUT, "shard-1", (part,)))
    store.put(receipt_key(OUTPUT, "shard-2"), store.get(receipt_key(OUTPUT, "shard-1")))
    assert find_receipt(store, OUTPUT, "shard-2") is None


def test_commit__empty_file_beside_an_empty_table(store: ObjectStore, tmp_path):
    commit(store, Draft(Recipe(OUTPUT, "1"), pushing([local_file(tmp_path, b"")]), SCHEMA))
    assert open_table(store, "things", space="space1").read("flight-1").schema.names == ["id", "n"]


def test_local_file__names_with_no_suffix(store: ObjectStore, tmp_path):
    file = replace(local_file(tmp_path), name="LICENSE")
    committed = commit(store, Draft(Recipe(OUTPUT, "1"), pushing([file])))
    assert store.get(committed.manifest.parts[0].key) == FILE_BYTES
