"""Arrays for large pools: in memory, or in a temporary file whose pages the system can move out of memory."""

import errno
import logging
import os
import tempfile

import numpy as np
from numpy.typing import DTypeLike

IN_MEMORY_BYTES = 2**28
_FULL = (errno.ENOSPC, errno.EDQUOT)

log = logging.getLogger(__name__)


def allocate_rows(
    count: int,
    dims: int,
    dtype: DTypeLike = np.float32,
    *,
    in_memory_bytes: int = IN_MEMORY_BYTES,
) -> np.ndarray:
    """Allocate rows (N, D) to fill; above ``in_memory_bytes`` they lie in a temporary file.

    The file has no name, so it vanishes with the array or the process. It is in the folder for
    temporary files, which the variable TMPDIR sets. If this folder has no room, the rows are in memory.
    """
    size_bytes = count * dims * np.dtype(dtype).itemsize
    if size_bytes <= max(in_memory_bytes, 0):
        return np.empty((count, dims), dtype)
    try:
        with tempfile.TemporaryFile(prefix="dino-assets-") as file:
            _reserve(file.fileno(), size_bytes)
            return np.asarray(np.memmap(file, dtype, "w+", shape=(count, dims)))
    except OSError as err:
        log.warning("%d rows are in memory: no temporary file can hold them (%s)", count, err)
        return np.empty((count, dims), dtype)


def _reserve(file: int, size_bytes: int) -> None:
    """Reserve room on the disk: writing to a mapped file on a full disk would end the process (SIGBUS)."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file, 0, size_bytes)
    except OSError as err:
        if err.errno in _FULL:
            raise
