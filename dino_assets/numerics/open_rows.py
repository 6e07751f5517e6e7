"""Rows that may still be picked, where a picked row may exclude others: tiles of the same ground, or of a full group."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

# A function that returns the rows that must not be picked together with a row.
Excludes = Callable[[int], NDArray[np.int64]]

_NONE = np.empty(0, np.int64)


def exclude_nothing(row: int) -> NDArray[np.int64]:
    """Exclude no row."""
    return _NONE


@dataclass(frozen=True, eq=False)
class Quota:
    """How many rows of each group may be picked: the group of each row (N,), and a number per group (G,)."""

    groups: NDArray[np.int64]
    left: NDArray[np.int64]

    def list_full(self) -> NDArray[np.int64]:
        """List the rows of groups from which no more rows may be picked."""
        return np.flatnonzero(self.left[self.groups] <= 0)


class OpenRows:
    """Rows that may still be picked. A picked row closes itself and the rows that it excludes.

    If the picked row fills a group of one of the ``quotas``, all rows of this group are closed.
    """

    def __init__(
        self,
        are_open: NDArray[np.bool_],
        excludes: Excludes = exclude_nothing,
        quotas: Sequence[Quota] = (),
    ) -> None:
        self.are_open = are_open
        self.excludes = excludes
        self.quotas = tuple(Quota(quota.groups, quota.left.copy()) for quota in quotas)
        for quota in self.quotas:
            self.are_open[quota.list_full()] = False

    @classmethod
    def all_but(
        cls, closed: NDArray[np.int64], count: int, excludes: Excludes = exclude_nothing
    ) -> Self:
        """Open all of ``count`` rows except the ``closed`` ones."""
        are_open = np.ones(count, bool)
        are_open[closed] = False
        return cls(are_open, excludes)

    def copy(self) -> "OpenRows":
        """Copy the state; picks of the copy do not change it."""
        return OpenRows(self.are_open.copy(), self.excludes, self.quotas)

    @property
    def excludes_some(self) -> bool:
        """Whether a pick may close other rows than the picked one."""
        return self.excludes is not exclude_nothing or bool(self.quotas)

    def pick(self, row: int) -> NDArray[np.int64]:
        """Close a picked row and the rows that it excludes; return the excluded rows."""
        excluded = self.excludes(row)
        for quota in self.quotas:
            group = quota.groups[row]
            quota.left[group] -= 1
            if not quota.left[group]:
                excluded = np.union1d(excluded, np.flatnonzero(quota.groups == group))
        self.are_open[row] = False
        self.are_open[excluded] = False
        return excluded

    def list(self) -> NDArray[np.int64]:
        """List the open rows, ascending."""
        return np.flatnonzero(self.are_open)

    def among(self, rows: NDArray[np.int64]) -> "OpenRows":
        """Copy the state of some rows, in ascending order; the copy numbers them from 0."""
        if not self.excludes_some:
            return OpenRows(self.are_open[rows])
        quotas = [Quota(quota.groups[rows], quota.left) for quota in self.quotas]
        return OpenRows(
            self.are_open[rows],
            lambda place: np.flatnonzero(np.isin(rows, self.excludes(int(rows[place])))),
            quotas,
        )
