"""Copies of stored tables in a folder of this machine, which programs map into memory.

A stored part is compressed, and every read takes a request, a hash and memory. A copy is opened without
reading it: only the rows in use come into memory, and they stay there while the system has room.
A copy is made from verified bytes when a part is read for the first time. Results never depend
on a copy: it may be deleted at any time, and a damaged one is made again.
"""

import contextlib
import hashlib
import logging
import shutil
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.numerics.allocating import allocate_rows
from dino_assets.store.commits import tables
from dino_assets.store.commits.protocol import Part

_FORMAT = 1  # part of the names: increase it when a copy holds other bytes for the same part
_SUFFIX = ".arrow"
_MARK = ".looked-for-unused"
_CHECKED_AGAIN_S = 86_400
_UNUSED_S = 30 * 86_400
_SPARE_BYTES = 2**30  # that stay free on the disk
_SUM_BYTES = 4
_IN_MEMORY_BYTES = 2**24

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MappedParts:
    """A folder of copies, named by the sha256 of the stored part and by the columns.

    A file is an Arrow stream with one batch, and its CRC-32. Vectors of 16-bit numbers are stored with 32 bits:
    converting 1,000,000 vectors of 384 numbers takes a second at each read.
    """

    folder: Path

    def find(self, part: Part, columns: Sequence[str] | None) -> pa.Table | None:
        """Open the copy of a part, or return None if it is missing or damaged."""
        path = self._path(part, columns)
        try:
            with pa.memory_map(str(path)) as file:
                if _is_due(path):
                    _check(path, file.read_buffer())
                    file.seek(0)
                with pa.ipc.open_stream(file) as stream:
                    return _check_shape(stream.read_all(), part, columns)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, pa.ArrowException) as err:
            log.info("%s cannot be read (%s). It is made again from the store.", path, err)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None

    def add(self, part: Part, columns: Sequence[str] | None, data: bytes) -> pa.Table:
        """Decode the bytes of a part, write its copy and open it; if the disk is full, return the decoded table.

        Copies that nobody has read for 30 days are deleted.
        """
        table = decode_wide(data, columns, rows=part.rows)
        if not self._write(self._path(part, columns), table):
            return table
        copy = self.find(part, columns)
        if copy is None:
            return table
        del table
        pa.default_memory_pool().release_unused()  # else Arrow holds what the largest part took
        return copy

    def _write(self, path: Path, table: pa.Table) -> bool:
        """Write a copy in one step; return False if the disk has no room for it."""
        aside = path.with_name(f".{path.name}.{uuid4().hex[:12]}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self.folder).free < 2 * table.nbytes + _SPARE_BYTES:
                return False
            try:
                _write_stream(aside, table)
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)
            self._delete_unused()
        except OSError as err:
            log.info("%s cannot hold copies of stored tables: %s", self.folder, err)
            return False
        return True

    def _path(self, part: Part, columns: Sequence[str] | None) -> Path:
        names = "all" if columns is None else "\n".join(columns)
        short = hashlib.sha256(f"{_FORMAT} {names}".encode()).hexdigest()[:8]
        return self.folder / f"{part.sha256}-{short}{_SUFFIX}"

    def _delete_unused(self) -> None:
        """Delete copies that were not read for 30 days.

        This is called after each new copy, and a first search makes thousands. So it looks at most once a day.
        """
        mark = self.folder / _MARK
        with contextlib.suppress(FileNotFoundError):
            if time.time() - mark.stat().st_mtime < _CHECKED_AGAIN_S:
                return
        mark.touch()
        oldest = time.time() - _UNUSED_S
        for path in self.folder.glob(f"*{_SUFFIX}*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def decode_wide(data: bytes, columns: Sequence[str] | None, *, rows: int) -> pa.Table:
    """Decode a part of ``rows`` rows, and convert vectors of 16-bit numbers to 32 bits.

    The part is decoded group by group, and the vectors of a large one lie in a temporary file: decoded as a
    whole, they would take ten times their stored size in memory.
    """
    wide: dict[str, NDArray[np.float32]] = {}
    others: list[pa.Table] = []
    first = 0
    schema = pa.schema([])
    for group in tables.decode_groups(data, None if columns is None else list(columns)):
        schema = group.schema
        halves = [field for field in schema if _is_half_vector(field.type)]
        for field in halves:
            dims = field.type.list_size
            if field.name not in wide:
                wide[field.name] = allocate_rows(rows, dims, in_memory_bytes=_IN_MEMORY_BYTES)
            flat = group[field.name].combine_chunks().flatten().to_numpy()
            wide[field.name][first : first + len(group)] = flat.reshape(len(group), dims)
        others.append(group.drop_columns([field.name for field in halves]))
        first += len(group)
    table = pa.concat_tables(others).combine_chunks()
    columns_by_name: dict[str, Any] = {name: table[name] for name in table.column_names}
    for field in schema:
        if field.name in wide:
            numbers = pa.array(wide[field.name].ravel())
            vectors = pa.FixedSizeListArray.from_arrays(numbers, field.type.list_size)
            columns_by_name[field.name] = vectors
    joined = pa.table({name: columns_by_name[name] for name in schema.names})
    return joined.replace_schema_metadata(schema.metadata)


def _is_half_vector(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) and pa.types.is_float16(kind.value_type))


def _write_stream(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        for batch in table.combine_chunks().to_batches():
            stream.write_batch(batch)
    with pa.memory_map(str(path)) as written:
        check_sum = zlib.crc32(written.read_buffer())
    with path.open("ab") as end:
        end.write(check_sum.to_bytes(_SUM_BYTES, "little"))


def _check(path: Path, data: pa.Buffer) -> None:
    """Compare a copy with its CRC-32, and set its time of change to now.

    Raises:
        OSError: its CRC-32 is wrong.
    """
    view = memoryview(data)
    if zlib.crc32(view[:-_SUM_BYTES]) != int.from_bytes(view[-_SUM_BYTES:], "little"):
        raise OSError("the copy's check sum is wrong")
    with contextlib.suppress(OSError):  # a folder that can only be read
        path.touch()


def _is_due(path: Path) -> bool:
    """Check whether a copy is due for a check: the last one was a day ago, or before this machine started.

    A machine that loses its power may leave pages of zeros in a new file.
    """
    # On Linux and macOS the monotonic clock begins when the machine starts.
    return time.time() - path.stat().st_mtime > min(_CHECKED_AGAIN_S, time.monotonic())


def _check_shape(table: pa.Table, part: Part, columns: Sequence[str] | None) -> pa.Table:
    """Return a table after a check of its shape: reading a damaged table could end the process.

    Raises:
        ValueError: its rows or columns differ, or its buffers are too short.
    """
    if len(table) != part.rows or columns not in (None, table.column_names):
        raise ValueError("the copy has other rows or columns than the table")
    table.validate()
    return table
