"""Encoding of tables as Parquet bytes of bounded size: equal rows give equal bytes."""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

MAX_PART_BYTES = 64 * 2**20
MAX_PART_ROWS = 65_536
_ROW_BUDGET_BYTES = 48 * 2**20
# While writing a row group, Parquet uses 4 bytes of levels for each number of a vector. With one group per
# part, writing peaks at 766 MB; with groups of this size, at 475 MB (1M × 384 fp16).
_ROW_GROUP_BYTES = 8 * 2**20
_VARIABLE_WIDTH_BYTES = 64  # a typical string here: an id or a path
METADATA_KEY = b"dino_assets"


def with_metadata(schema: pa.Schema, values: Mapping[str, object]) -> pa.Schema:
    """Attach key-value metadata (asset, space, …), so that a part describes itself in other programs."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return schema.with_metadata({**(schema.metadata or {}), METADATA_KEY: text.encode()})


def read_metadata(schema: pa.Schema) -> dict[str, object]:
    """Read the values that ``with_metadata`` attached; empty for tables of other programs."""
    raw = (schema.metadata or {}).get(METADATA_KEY)
    return json.loads(raw) if raw else {}


def rows_per_part(schema: pa.Schema, *, max_rows: int | None = None) -> int:
    """Compute how many rows a full part has.

    The number depends on the schema and on ``max_rows`` only, so batch sizes never change the bytes.
    """
    return max(1, min(max_rows or MAX_PART_ROWS, _ROW_BUDGET_BYTES // _row_width(schema)))


def _row_width(schema: pa.Schema) -> int:
    return max(1, sum(_width(field.type) for field in schema))


def _width(kind: pa.DataType) -> int:
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _width(kind.value_type)
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:
        return _VARIABLE_WIDTH_BYTES


class PartCutter:
    """Regroups batches of any size into tables of ``rows_per_part`` rows."""

    def __init__(self, schema: pa.Schema, *, max_rows: int | None = None) -> None:
        self._schema = schema
        self._limit = rows_per_part(schema, max_rows=max_rows)
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0

    def add(self, batch: pa.RecordBatch) -> Iterator[pa.Table]:
        """Add a batch; yield the tables that it completes."""
        while self._waiting_rows + batch.num_rows >= self._limit:
            room = self._limit - self._waiting_rows
            table = _joined([*self._waiting, batch.slice(0, room)], self._schema)
            self._waiting, self._waiting_rows, batch = [], 0, batch.slice(room)
            yield table
        if batch.num_rows:
            self._waiting.append(batch)
            self._waiting_rows += batch.num_rows

    def finish(self) -> pa.Table:
        """Return the remaining rows, possibly none."""
        return _joined(self._waiting, self._schema)


def _joined(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    # Combine into one chunk: Parquet ends a page at each chunk's end, which would change the bytes.
    return pa.Table.from_batches(batches, schema).combine_chunks()


def encode(table: pa.Table, *, max_bytes: int = MAX_PART_BYTES) -> Iterator[tuple[pa.Table, bytes]]:
    """Encode a table as Parquet, halving it until each piece fits ``max_bytes``.

    Yield the rows and the encoded bytes of each piece. A single row is never split, even if it is larger.
    """
    sink = io.BytesIO()
    # Dictionaries help only for repeated strings; for vectors they cost time and space.
    # BYTE_STREAM_SPLIT is smaller for floats, but several readers do not support it for fp16.
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=3,
        use_dictionary=[f.name for f in table.schema if pa.types.is_string(f.type)],
        version="2.6",
        row_group_size=max(1, _ROW_GROUP_BYTES // _row_width(table.schema)),
    )
    data = sink.getvalue()
    if len(data) <= max_bytes or table.num_rows < 2:
        yield table, data
        return
    half = table.num_rows // 2
    for piece in (table.slice(0, half), table.slice(half)):
        yield from encode(piece, max_bytes=max_bytes)


def decode(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """Decode Parquet bytes: all columns, or those in ``columns``."""
    with _open(data, columns) as file:
        table = file.read(columns=columns, use_threads=False)
    return table.select(columns) if columns else table


def decode_groups(data: bytes, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Decode Parquet bytes group by group, with the memory for one group; at least one table is yielded."""
    with _open(data, columns) as file:
        groups = range(file.num_row_groups)
        if not groups:
            yield file.read(columns=columns, use_threads=False)
        for group in groups:
            table = file.read_row_group(group, columns=columns, use_threads=False)
            yield table.select(columns) if columns else table


@contextmanager
def _open(data: bytes, columns: list[str] | None) -> Iterator[pq.ParquetFile]:
    # pq.read_table is not used: its scanner's threads may still run when the process ends, which aborts it
    # ("terminate called without an active exception", 4 of 90 processes that had read a table).
    with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
        # Checked here, because `read` silently leaves out missing columns.
        missing = sorted(set(columns or ()) - set(file.schema_arrow.names))
        if missing:
            raise pa.ArrowInvalid(f"no column {missing[0]!r} in {file.schema_arrow.names}")
        yield file
