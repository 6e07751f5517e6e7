"""Vectors that are read as float32 block by block, for instance from a memory map of float16."""

from collections.abc import Iterator, Sequence

import numpy as np

from dino_assets.numerics.neighbours import blocks, scale_to_unit

BLOCK_ROWS = 512  # 1.5 MiB at 768 dimensions


class JoinedArrays:
    """Arrays (n, D) one after the other, read as if they were one array; nothing is copied before it is read."""

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        """Join one or more arrays of the same width and number type."""
        self.arrays = [each for each in arrays if len(each)] or list(arrays[:1])
        self._ends = np.cumsum([len(each) for each in self.arrays])
        self.shape = (int(self._ends[-1]), self.arrays[0].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        """Read rows; those inside one of the arrays are not copied."""
        if isinstance(which, slice):
            start, stop, step = which.indices(len(self))
            if start >= stop:
                return self.arrays[0][:0]
            first, last = np.searchsorted(self._ends, (start, stop - 1), side="right")
            if first == last and step == 1:
                before = self._ends[first] - len(self.arrays[first])
                return np.asarray(self.arrays[first][start - before : stop - before])
            which = np.arange(start, stop, step)
        rows = np.asarray(which)
        numbers = np.searchsorted(self._ends, rows, side="right")
        read = np.empty((len(rows), self.shape[1]), self.arrays[0].dtype)
        for number in np.unique(numbers).tolist():
            array, is_here = self.arrays[number], numbers == number
            read[is_here] = array[rows[is_here] - (self._ends[number] - len(array))]
        return read


class Rows:
    """Vectors (N, D) of float16 or float32, converted where they are read; no second copy is in memory.

    With ``unit`` every row that is read is scaled to length 1.
    """

    def __init__(self, vectors: np.ndarray | JoinedArrays, *, unit: bool = False) -> None:
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
