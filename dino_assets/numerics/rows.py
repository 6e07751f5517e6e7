"""Vectors that are read as float32 block by block, for instance from a memory map of float16."""

from collections.abc import Iterator

import numpy as np

from dino_assets.numerics.neighbours import blocks, scale_to_unit

BLOCK_ROWS = 512  # 1.5 MiB at 768 dimensions


class Rows:
    """Vectors (N, D) of float16 or float32, converted where they are read; no second copy is in memory.

    With ``unit`` every row that is read is scaled to length 1.
    """

    def __init__(self, vectors: np.ndarray, *, unit: bool = False) -> None:
        self.vectors, self.unit = vectors, unit

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of dimensions."""
        return self.vectors.shape[0], self.vectors.shape[1]

    def read(self, which: slice | np.ndarray) -> np.ndarray:
        """Read rows as a new or the given float32 array; the value of a row depends on that row alone."""
        rows = np.asarray(self.vectors[which])
        return scale_to_unit(rows) if self.unit else rows.astype(np.float32, copy=False)

    def blocks(self) -> Iterator[np.ndarray]:
        """Read all rows in order, in blocks that a processor's cache holds."""
        return (self.read(block) for block in blocks(len(self.vectors), BLOCK_ROWS))


def as_rows(vectors: np.ndarray | Rows) -> Rows:
    """Wrap an array, unless it is wrapped already."""
    return vectors if isinstance(vectors, Rows) else Rows(vectors)
