"""Cells of a mosaic that have a valid pixel, and windows that touch such a cell."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.images.records import CELL_PX


def mark_cells(
    cells: NDArray[np.bool_],
    valid: NDArray[np.bool_] | None,
    x: int,
    y: int,
    width: int,
    height: int,
) -> None:
    """Mark the cells in which a chunk of the mosaic has a valid pixel; a cell may lie in several chunks.

    ``x``, ``y``, ``width`` and ``height`` place the chunk. If ``valid`` is None, all its pixels are valid.
    """
    rows = slice(y // CELL_PX, (y + height - 1) // CELL_PX + 1)
    columns = slice(x // CELL_PX, (x + width - 1) // CELL_PX + 1)
    if valid is None or valid.all():
        cells[rows, columns] = True
        return
    if not valid.any():
        return
    # First row and column of each cell within the chunk; the first cell may begin before it.
    down = np.maximum(np.arange(rows.start, rows.stop) * CELL_PX - y, 0)
    across = np.maximum(np.arange(columns.start, columns.stop) * CELL_PX - x, 0)
    bytes_ = np.maximum.reduceat(valid.view(np.uint8), down, axis=0)
    cells[rows, columns] |= np.maximum.reduceat(bytes_, across, axis=1).astype(np.bool_)


def unpack_valid(packed: bytes, *, width: int, height: int) -> NDArray[np.bool_]:
    """Unpack the cells (rows, columns) of ``MosaicFacts.valid``."""
    shape = -(-height // CELL_PX), -(-width // CELL_PX)
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=shape[0] * shape[1])
    return bits.reshape(shape).astype(np.bool_)


def find_valid_windows(
    valid: NDArray[np.bool_], windows: NDArray[np.integer[Any]]
) -> NDArray[np.bool_]:
    """Check which windows (N, 4) touch a cell with a valid pixel: bool (N,).

    No window with a valid pixel is missed. But a window may touch such a cell only with invalid pixels.
    """
    sums = np.zeros((valid.shape[0] + 1, valid.shape[1] + 1), np.int32)
    np.cumsum(valid, axis=0, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    x, y, w, h = np.asarray(windows, np.int64).reshape(-1, 4).T
    left, upper = x // CELL_PX, y // CELL_PX
    right, lower = (x + w - 1) // CELL_PX + 1, (y + h - 1) // CELL_PX + 1
    count = sums[lower, right] - sums[upper, right] - sums[lower, left] + sums[upper, left]
    return np.asarray(count > 0)
