"""Bounds of squared distances from float32 products, for searches that measure only what the bounds leave open."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dino_assets.numerics.neighbours import ROUNDING
from dino_assets.numerics.rows import Rows

# Numbers that need no scale: their squares and products are far from the limits of float32.
COMMON = (1e-6, 1e6)
PICKED = -1.0  # bounds of a row that is never picked again


class Projected(NamedTuple):
    """Rows for products (n, D) float32, and their squared lengths (n,)."""

    rows: np.ndarray
    squares: np.ndarray

    def take(self, places: np.ndarray | list[int]) -> "Projected":
        """Take some of the rows."""
        return Projected(self.rows[places], self.squares[places])


@dataclass(frozen=True, eq=False)
class Frame:
    """A shift and a scale of rows that make float32 products exact enough, and the bound of their error.

    Rows far from the origin and near each other are shifted: without that, all their products would be equal.
    Other rows stay as they are, which spares a copy. The scale is a power of two, which rounds nothing.
    """

    mean: np.ndarray
    shift: np.ndarray | None
    scale: float
    margin: float  # times the sum of two squared lengths: the error of a squared distance

    def project(self, rows: np.ndarray) -> np.ndarray:
        """Shift and scale rows for float32 products."""
        scaled = rows if self.scale == 1 else rows * np.float32(self.scale)
        return np.asarray(scaled if self.shift is None else scaled - self.shift, np.float32)


def make_frame(rows: Rows) -> Frame:
    """Choose shift and scale in one pass over all rows."""
    count, dims = rows.shape
    total, largest, square = np.zeros(dims), 0.0, 0.0
    for block in rows.blocks():
        total += block.sum(axis=0, dtype=np.float64)
        largest = max(largest, float(block.max()), -float(block.min()))
        square += float(np.vdot(block, block)) if largest < COMMON[1] else math.inf
    mean = total / count
    is_common = not largest or COMMON[0] < largest < COMMON[1]
    scale = 1.0 if is_common else 2.0 ** float(np.clip(-np.ceil(np.log2(largest)), -126, 126))
    is_centred = is_common and count * float(mean @ mean) <= square / 2
    shift = None if is_centred else np.asarray(scale * mean, np.float32)
    return Frame(mean, shift, scale, 2 * (dims + 9) * ROUNDING)


class Bounds(NamedTuple):
    """Bounds of the smallest squared distances of some rows to the centres compared so far.

    ``low`` and ``high`` enclose the smallest distance. ``nearest`` is a centre that may be the nearest one,
    and no other centre is nearer than ``others``.
    """

    low: np.ndarray
    high: np.ndarray
    nearest: np.ndarray
    others: np.ndarray

    @classmethod
    def unknown(cls, count: int) -> "Bounds":
        """Make bounds of rows that were not compared with any centre."""
        far = np.full(count, math.inf)
        return cls(far, far.copy(), np.zeros(count, np.int32), far.copy())

    def take(self, which: slice | np.ndarray) -> "Bounds":
        """Copy the bounds of some rows."""
        return Bounds(*(values[which].copy() for values in self))

    def put(self, which: slice | np.ndarray, other: "Bounds") -> None:
        """Replace the bounds of some rows."""
        for values, given in zip(self, other, strict=True):
            values[which] = given

    def lower(self, other: "Bounds") -> None:
        """Merge the bounds ``other`` of further centres: the lower ones remain; picked rows stay picked."""
        is_nearer = other.low < self.low
        others = np.where(
            is_nearer, np.minimum(self.low, other.others), np.minimum(self.others, other.low)
        )
        self.others[:] = others
        self.nearest[is_nearer] = other.nearest[is_nearer]
        np.minimum(self.low, other.low, out=self.low)
        np.minimum(self.high, other.high, out=self.high)

    def close(self, places: int | np.ndarray) -> None:
        """Mark rows as picked."""
        self.low[places] = self.high[places] = PICKED
