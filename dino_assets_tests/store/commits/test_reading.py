import threading
import tracemalloc

import pyarrow as pa
import pytest

from dino_assets.errors import CorruptObjectError, NotCommittedError
from dino_assets.store.commits.protocol import Draft, OutputId, Recipe
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.outputs import SCHEMA, batch, local_file, pushing, rows_draft
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.store_doubles import WatchedStore

pytestmark = pytest.mark.usefixtures("two_rows_per_part")


def numbers(table: pa.Table) -> list[int]:
    return table["n"].to_pylist()


def commit_drops(store: ObjectStore, **drops: list[int]) -> None:
    for drop, rows in drops.items():
        commit(store, rows_draft(rows, output=OutputId("things", drop, "space1")))


def test_open_table__unpartitioned(store: ObjectStore):
    commit(store, rows_draft([1, 2, 3], output=OutputId("things")))
    table = open_table(store, "things")
    assert table.drops == ()
    assert table.unmade == ()
    assert table.rows == 3
    assert numbers(table.read()) == [1, 2, 3]


def test_open_table__several_drops(store: ObjectStore):
    commit_drops(store, b=[4], a=[1, 2, 3])
    commit(store, rows_draft([9], output=OutputId("things", "c", "space2")))
    table = open_table(store, "things", space="space1")
    assert table.drops == ("a", "b")
    assert table.rows == 4
    assert [(m.recipe.output.drop, numbers(rows)) for m, rows in table.parts()] == [
        ("a", [1, 2]),
        ("a", [3]),
        ("b", [4]),
    ]
    assert numbers(table.read("a")) == [1, 2, 3]
    assert [rows.column_names for _, rows in table.parts(["id"])] == [["id"]] * 3


def test_open_table__sorted_by_drop_either_way(store: ObjectStore):
    drops = ["a", "a-1", "a.b", "a0"]
    for drop in drops:
        commit_drops(store, **{drop: [1]})
    assert open_table(store, "things", space="space1").drops == tuple(sorted(drops))
    named_table = open_table(store, "things", space="space1", drops=reversed(drops))
    assert named_table.drops == tuple(sorted(drops))


def test_open_table__lists_unmade_drops(store: ObjectStore):
    commit_drops(store, a=[1], b=[2])
    table = open_table(store, "things", space="space1", registered=["a", "z", "c"])
    assert table.drops == ("a", "b")
    assert table.unmade == ("c", "z")
    named_table = open_table(
        store, "things", space="space1", drops=(drop for drop in ("b", "q")), registered=["c"]
    )
    assert named_table.drops == ("b",)
    assert named_table.unmade == ("c", "q")
    assert open_table(store, "things", space="space1", drops=[]).manifests == ()


def test_open_table__nothing_committed(store: ObjectStore):
    table = open_table(store, "things", registered=["a"])
    assert (table.drops, table.rows, table.unmade) == ((), 0, ("a",))
    assert list(table.parts()) == []
    with raising(NotCommittedError, output="things", reason=""):
        table.read()


def test_read__drop_that_is_not_committed(store: ObjectStore):
    commit_drops(store, a=[1])
    table = open_table(store, "things", space="space1", registered=["z"])
    with raising(NotCommittedError, output="things/z@space1", reason=""):
        table.read("z")
    with pytest.raises(LookupError):
        table.manifest("z")


def test_read__empty_table_has_its_schema(store: ObjectStore):
    commit_drops(store, a=[])
    table = open_table(store, "things", space="space1").read("a")
    assert table.num_rows == 0
    assert table.schema.equals(SCHEMA)


def test_read__output_with_only_files(store: ObjectStore, tmp_path):
    output = OutputId("weights")
    commit(store, Draft(Recipe(output, "1"), pushing([local_file(tmp_path)])))
    with raising(NotCommittedError, output="weights", reason="no-table"):
        open_table(store, "weights").read()


def test_parts__skips_files_beside_a_table(store: ObjectStore, tmp_path):
    items = [batch([1, 2]), local_file(tmp_path), batch([3])]
    commit(store, Draft(Recipe(OutputId("things"), "1"), pushing(items), SCHEMA))
    table = open_table(store, "things")
    assert [numbers(rows) for _, rows in table.parts()] == [[1, 2], [3]]
    assert numbers(table.read()) == [1, 2, 3]


def test_parts__altered_or_missing(store: ObjectStore):
    commit_drops(store, a=[1, 2, 3])
    table = open_table(store, "things", space="space1")
    key = table.manifest("a").parts[1].key
    data = store.get(key)
    store.put(key, data[:-1] + bytes([data[-1] ^ 1]))
    for read in (lambda: list(table.parts()), lambda: table.read("a")):
        with raising(CorruptObjectError, key=key, store=store.url, is_gone=False):
            read()
    store.delete(key)
    with raising(CorruptObjectError, key=key, is_gone=True):
        table.read("a")


def test_parts__read_lazily_one_at_a_time(store: ObjectStore):
    commit_drops(store, a=[1, 2, 3, 4], b=[5])
    gets: list[str] = []
    watched_store = WatchedStore(
        store, before=lambda v, k: gets.append(k) if v.startswith("get") else None
    )
    table = open_table(watched_store, "things", space="space1")
    assert len(gets) == 2
    assert all(key.startswith("manifests/") for key in gets)
    parts = table.parts()
    next(parts)
    assert [key.partition("/")[0] for key in gets[2:]] == ["parts"]
    next(parts)
    assert len(gets) == 4
    count = len(gets)
    assert numbers(table.read("b")) == [5]
    assert len(gets) == count + 1


def test_parts__some_are_read_at_the_same_time(store: ObjectStore):
    """Each read waits until another one has begun; the rows still come in their order."""
    commit_drops(store, a=[1, 2, 3, 4], b=[5, 6, 7, 8])
    two = threading.Barrier(2)

    def meet(verb: str, key: str) -> None:
        if verb == "get" and key.startswith("parts/"):
            two.wait(20)

    table = open_table(WatchedStore(store, before=meet), "things", space="space1")
    parts = list(table.parts(ahead_bytes=2**20))
    assert len(parts) == 4
    assert [n for _, rows in parts for n in numbers(rows)] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_parts__needs_memory_for_one_part_only(local_store: ObjectStore):
    # 40 parts of a megabyte that zstd cannot compress.
    import numpy as np

    rng = np.random.default_rng(0)
    schema = pa.schema([("blob", pa.binary())])
    batches = (
        pa.record_batch([pa.array([rng.bytes(2**19)] * 2, pa.binary())], schema) for _ in range(40)
    )
    commit(local_store, Draft(Recipe(OutputId("blobs"), "1"), pushing(batches), schema))
    table = open_table(local_store, "blobs")
    assert len(table.manifests[0].parts) == 40
    bytes_before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        for _, rows in table.parts():
            assert rows.num_rows == 2
            assert pa.total_allocated_bytes() - bytes_before < 8 * 2**20
            del rows
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
