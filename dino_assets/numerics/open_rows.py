"""Rows that may still be picked, where a picked row may exclude others, such as tiles of the same ground."""

from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import NDArray

# A function that returns the rows that must not be picked together with a row.
Excludes = Callable[[int], NDArray[np.int64]]

_NONE = np.empty(0, np.int64)


def exclude_nothing(row: int) -> NDArray[np.int64]:
    """Exclude no row."""
    return _NONE


class OpenRows:
    """Rows that may still be picked. A picked row closes itself and the rows that it excludes."""

    def __init__(self, are_open: NDArray[np.bool_], excludes: Excludes = exclude_nothing) -> None:
        self.are_open = are_open
        self.excludes = excludes

    @classmethod
    def all_but(
        cls, closed: NDArray[np.int64], count: int, excludes: Excludes = exclude_nothing
    ) -> Self:
        """Open all of ``count`` rows but some."""
        are_open = np.ones(count, bool)
        are_open[closed] = False
        return cls(are_open, excludes)

    @property
    def excludes_some(self) -> bool:
        """Whether a picked row may close others than itself."""
        return self.excludes is not exclude_nothing

    def pick(self, row: int) -> NDArray[np.int64]:
        """Close a picked row and the rows that it excludes; return the excluded rows."""
        excluded = self.excludes(row)
        self.are_open[row] = False
        self.are_open[excluded] = False
        return excluded

    def list(self) -> NDArray[np.int64]:
        """List the open rows, ascending."""
        return np.flatnonzero(self.are_open)

    def among(self, rows: NDArray[np.int64]) -> "OpenRows":
        """Copy the state of some ascending rows, numbered by their places among these."""
        if not self.excludes_some:
            return OpenRows(self.are_open[rows])
        return OpenRows(
            self.are_open[rows],
            lambda place: np.flatnonzero(np.isin(rows, self.excludes(int(rows[place])))),
        )
