import io
import itertools
import json
import subprocess
import sys
from pathlib import Path

import duckdb
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings

from dino_assets.store.commits import tables
from dino_assets.store.commits.protocol import Draft, OutputId, Recipe
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.outputs import SCHEMA, batch, pushing


def vectors(rows: int, dim: int, dtype: type, *, seed: int = 0) -> pa.FixedSizeListArray:
    values = np.random.default_rng(seed).standard_normal(rows * dim).astype(dtype)
    return pa.FixedSizeListArray.from_arrays(pa.array(values), dim)


def mixed_batch(rows: int) -> pa.RecordBatch:
    """Every type of column in this package's tables, with nulls and repeated strings."""
    return pa.record_batch(
        {
            "tile_id": [f"{n:016x}-x{n % 7:05d}" for n in range(rows)],
            "reason": [None if n % 3 else f"reason-{n % 2}" for n in range(rows)],
            "x": pa.array(range(rows), pa.int32()),
            "share": pa.array(np.linspace(0, 1, rows)),
            "is_whole": [n % 2 == 0 for n in range(rows)],
            "thumbnail": pa.array([bytes([n % 256]) * (n % 5) for n in range(rows)], pa.binary()),
            "cls": vectors(rows, 8, np.float16),
            "corners": pa.array([[n, n + 1] for n in range(rows)], pa.list_(pa.int64())),
        }
    )


MIXED = mixed_batch(3000)


def encoded(batches: list[pa.RecordBatch], schema: pa.Schema, **limit: int) -> list[bytes]:
    return [data for table in cut(batches, schema, **limit) for _, data in tables.encode(table)]


def cut(batches: list[pa.RecordBatch], schema: pa.Schema, **limit: int) -> list[pa.Table]:
    cutter = tables.PartCutter(schema, **limit)
    full_tables = [table for batch in batches for table in cutter.add(batch)]
    last_table = cutter.finish()
    return [*full_tables, last_table] if last_table.num_rows or not full_tables else full_tables


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cuts=st.lists(st.integers(0, MIXED.num_rows), max_size=30), limit=st.sampled_from([700, 3000])
)
@example(cuts=list(range(0, 3000, 7)), limit=700)
@example(cuts=[0, 0, 3000, 3000], limit=3000)
@example(cuts=[700, 1400], limit=700)
def test_parts__do_not_depend_on_batch_sizes(cuts: list[int], limit: int):
    bounds = [0, *sorted(cuts), MIXED.num_rows]
    batches = [MIXED.slice(a, b - a) for a, b in itertools.pairwise(bounds)]
    expected = encoded([MIXED], MIXED.schema, max_rows=limit)
    assert encoded(batches, MIXED.schema, max_rows=limit) == expected


def test_parts__do_not_depend_on_batch_sizes_of_many_pages():
    # Megabytes per column, so that pages, dictionaries and statistics end inside of batches.
    rows = 70_000
    source = pa.record_batch(
        {
            "tile_id": [f"{n * 7919:032x}-x{n:05d}" for n in range(rows)],
            "reason": [f"reason-{n % 5000}" for n in range(rows)],
            "cls": vectors(rows, 32, np.float32),
        }
    )
    expected = encoded([source], source.schema)
    for size in (999, 4096, 65_535, 65_537):
        copies = [
            pa.record_batch(source.slice(start, size).to_pydict(), source.schema) if size == 999 else
            source.slice(start, size)
            for start in range(0, rows, size)
        ]  # fmt: skip
        assert encoded(copies, source.schema) == expected


def test_part_cutter__cuts_batches_into_tables():
    cut_tables = cut([batch([1]), batch([2, 3, 4]), batch([5])], SCHEMA, max_rows=2)
    assert [table["n"].to_pylist() for table in cut_tables] == [[1, 2], [3, 4], [5]]
    cut_tables = cut([batch([1, 2, 3, 4])], SCHEMA, max_rows=2)
    assert [table["n"].to_pylist() for table in cut_tables] == [[1, 2], [3, 4]]


@pytest.mark.parametrize("batches", [[], [batch([])], [batch([]), batch([])]])
def test_part_cutter__no_rows_are_one_empty_table(batches):
    ((table, data),) = [p for t in cut(batches, SCHEMA) for p in tables.encode(t)]
    assert table.num_rows == 0
    assert tables.decode(data).schema.equals(SCHEMA)


@pytest.mark.parametrize(
    ("schema", "rows"),
    [
        (pa.schema([("id", pa.string())]), 65_536),
        (pa.schema([("id", pa.string()), ("cls", pa.list_(pa.float16(), 384))]), 60_494),
        (pa.schema([("cls", pa.list_(pa.float32(), 4096))]), 3072),
        (pa.schema([("huge", pa.list_(pa.float32(), 2**25))]), 1),
    ],
)
def test_rows_per_part__from_the_schema_alone(schema: pa.Schema, rows: int):
    assert tables.rows_per_part(schema) == rows
    assert tables.rows_per_part(tables.with_metadata(schema, {"a": "b" * 1000})) == rows


def test_encode__halves_large_tables():
    # A row takes 4,000 bytes that zstd compresses little.
    table = pa.table({"n": range(7), "v": vectors(7, 1000, np.float32)})
    pieces = list(tables.encode(table, max_bytes=10_000))
    assert [piece["n"].to_pylist() for piece, _ in pieces] == [[0], [1, 2], [3, 4], [5, 6]]
    assert pa.concat_tables(tables.decode(data) for _, data in pieces).equals(table)
    assert all(len(data) <= 10_000 for _, data in pieces)


def test_encode__parts_have_at_most_64_mib():
    # The row budget assumes short texts, so a part with long texts is too large at first.
    rng = np.random.default_rng(0)
    table = pa.table({"blob": pa.array([rng.bytes(2**20) for _ in range(80)], pa.binary())})
    pieces = list(tables.encode(table))
    assert [piece.num_rows for piece, _ in pieces] == [40, 40]
    assert all(len(data) <= 64 * 2**20 for _, data in pieces)


def test_encode__one_huge_row_stays_whole():
    ((piece, _),) = tables.encode(pa.table({"a": ["x" * 1000]}), max_bytes=10)
    assert piece.num_rows == 1


def test_metadata__keeps_other_programs_metadata():
    schema = SCHEMA.with_metadata({"pandas": "{}"})
    described_schema = tables.with_metadata(schema, {"asset": "things", "space": None})
    ((_, data),) = tables.encode(pa.Table.from_batches([batch([1])], described_schema))
    file_schema = pq.read_schema(pa.BufferReader(data))
    assert tables.read_metadata(file_schema) == {"asset": "things", "space": None}
    assert file_schema.metadata[b"pandas"] == b"{}"
    assert tables.read_metadata(SCHEMA) == {}


def test_commit__parts_name_asset_and_space(store: ObjectStore):
    output = OutputId("embeddings", "flight-1", "space1")
    committed = commit(store, Draft(Recipe(output, "1"), pushing([batch([1])]), SCHEMA))
    metadata = pq.read_metadata(io.BytesIO(store.get(committed.manifest.parts[0].key))).metadata
    assert json.loads(metadata[b"dino_assets"]) == {"asset": "embeddings", "space": "space1"}


@pytest.fixture(params=[np.float16, np.float32])
def embeddings(request, tmp_path, local_store: ObjectStore):
    """A committed embedding table as a plain file, with its expected values."""
    rows, dim = 5, 4
    cls = vectors(rows, dim, request.param)
    record_batch = pa.record_batch({"tile_id": [f"t{n}" for n in range(rows)], "cls": cls})
    recipe = Recipe(OutputId("embeddings", "flight-1", "space1"), "1")
    committed = commit(local_store, Draft(recipe, pushing([record_batch]), record_batch.schema))
    path = local_store.folder / committed.manifest.parts[0].key
    return path, cls.flatten().to_numpy(zero_copy_only=False).reshape(rows, dim)


def test_embeddings__arrow(embeddings):
    path, expected = embeddings
    table = pq.read_table(path)
    assert table.schema.field("cls").type == pa.list_(pa.from_numpy_dtype(expected.dtype), 4)
    assert "BYTE_STREAM_SPLIT" not in pq.read_metadata(path).row_group(0).column(1).encodings


def test_embeddings__pandas(embeddings):
    path, expected = embeddings
    frame = pd.read_parquet(path)
    vectors = np.stack(frame["cls"].to_list())
    assert vectors.dtype == expected.dtype
    np.testing.assert_array_equal(vectors, expected)
    assert frame["tile_id"].to_list() == ["t0", "t1", "t2", "t3", "t4"]


def test_embeddings__polars(embeddings):
    path, expected = embeddings
    frame = pl.read_parquet(path)
    assert isinstance(frame.schema["cls"], pl.Array)
    np.testing.assert_array_equal(np.array(frame["cls"].to_list(), expected.dtype), expected)
    assert frame["tile_id"].to_list() == ["t0", "t1", "t2", "t3", "t4"]


def test_embeddings__duckdb(embeddings):
    path, expected = embeddings
    rows = duckdb.sql(f"select cls, tile_id from '{path}' order by tile_id").fetchall()
    np.testing.assert_array_equal(np.array([row[0] for row in rows], expected.dtype), expected)
    assert [row[1] for row in rows] == ["t0", "t1", "t2", "t3", "t4"]


def test_decode__named_columns():
    ((_, data),) = tables.encode(pa.table({"a": [1, 2], "b": ["x", "y"]}))
    assert tables.decode(data, ["b"]).to_pydict() == {"b": ["x", "y"]}
    with pytest.raises(pa.ArrowInvalid, match="nope"):
        tables.decode(data, ["nope"])


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_decode__leaves_no_thread_behind():
    """Arrow's own threads abort the process if they still run at its end."""
    code = """
import os, pyarrow as pa
from dino_assets.store.commits import tables
table = pa.table({"a": list(range(200_000)), "b": ["x"] * 200_000})
data = next(tables.encode(table))[1]
before = len(os.listdir("/proc/self/task"))
assert tables.decode(data, ["a"]).num_rows == 200_000
assert tables.decode(data).num_columns == 2
print(len(os.listdir("/proc/self/task")) - before)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (process.returncode, process.stdout.strip()) == (0, "0"), process.stderr
