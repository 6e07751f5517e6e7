"""Buffer for one picture's tokens until they are stored: in memory if small, else in an unnamed file.

All tiles must be computed before the first byte of the result is written, since the small arrays come
first. The tokens of 294 tiles of a ViT-B take 618 MB. An unnamed file holds them on disk. The system deletes
this file when the process ends, even if the process is killed.
"""

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.errors import DiskFullError

MEMORY_BYTES = 8 * 2**20
_PIECE_BYTES = 4 * 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Spool:
    """A buffer of rows of equal length: written in any order by several threads, read from first to last."""

    def __init__(
        self,
        rows: int,
        row_bytes: int,
        folder: Path,
        *,
        memory_bytes: int = MEMORY_BYTES,
        nameless: int = getattr(os, "O_TMPFILE", 0),
    ) -> None:
        self.rows, self.row_bytes = rows, row_bytes
        self._memory: list[memoryview] = []
        self._file = -1
        if rows * row_bytes <= memory_bytes:
            self._memory = [memoryview(b"")] * rows
        else:
            self._file = _open_nameless(folder, nameless)

    def write(self, row: int, values: NDArray[Any]) -> None:
        """Write one row; a small buffer keeps ``values`` as they are, so they must not change afterwards.

        Raises:
            DiskFullError: the disk is full.
        """
        data, at = memoryview(np.ascontiguousarray(values).data).cast("B"), row * self.row_bytes
        if len(data) != self.row_bytes:
            raise ValueError(f"the row has {len(data)} bytes; {self.row_bytes} are expected")
        if self._memory:
            self._memory[row] = data
            return
        try:
            while data:
                count = os.pwrite(self._file, data, at)
                data, at = data[count:], at + count
        except OSError as err:
            if err.errno not in _FULL:
                raise
            raise DiskFullError(
                "the service's disk has too little space for the work in progress; free some space",
                needed_bytes=self.rows * self.row_bytes,
            ) from None

    def pieces(self) -> Iterator[bytes | memoryview]:
        """Yield the bytes of all rows, some MiB at a time."""
        yield from self._memory
        if self._file < 0:
            return
        at = 0
        while data := os.pread(self._file, _PIECE_BYTES, at):
            at += len(data)
            yield data

    def close(self) -> None:
        """Free memory and disk."""
        self._memory = []
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _open_nameless(folder: Path, nameless: int) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    if nameless:
        try:
            return os.open(folder, nameless | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as err:
            if err.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
    handle, name = tempfile.mkstemp(dir=folder)  # some file systems lack unnamed files
    Path(name).unlink()
    return handle
