"""Exchange of picked rows for others, as long as that raises how well all rows are covered.

A greedy choice cannot take back its first picks, which were the best when nothing else was picked. This search goes over
the picks again and again, and exchanges each for the row that raises the coverage most, until no exchange does.
Like FastPAM, it knows for every row the pick that covers it best and the second best, so it reads only the rows whose
best pick leaves.
"""

from collections.abc import Sequence

import numpy as np

from dino_assets.numerics.open_rows import OpenRows

MOST_ROUNDS = 20  # over all picks; most searches end after five
_LEAST_GAIN = 1e-6  # of the mean coverage; smaller ones are rounding


def improve_by_swaps(
    similar: np.ndarray, covered: np.ndarray, picked: Sequence[int], open_rows: OpenRows
) -> list[int]:
    """Exchange picks for other candidates; return as many places of candidates, in no order.

    ``similar`` (C, P) are the similarities of the candidates to the rows that count, and ``covered`` (P,) is how well
    rows chosen before cover these. ``picked`` are places of candidates. ``open_rows`` are the candidates' state
    before any of them was picked.
    """
    if not picked:
        return []
    search = _Search(similar, covered, list(picked), open_rows)
    for _ in range(MOST_ROUNDS):
        if not sum(search.try_swap(number) for number in range(len(picked))):
            break
    return search.picks


class _Allowed:
    """Which candidates may be picked in place of a pick, beside all other picks."""

    def __init__(self, picks: list[int], open_rows: OpenRows) -> None:
        self.open_rows = open_rows
        self.picks = picks
        count = len(open_rows.are_open)
        self.excluded = np.zeros((len(picks), count), bool)
        for number, place in enumerate(picks):
            self._exclude(number, place)
        self.times = self.excluded.sum(axis=0)
        self.used = [
            np.bincount(quota.groups[picks], minlength=len(quota.left))
            for quota in open_rows.quotas
        ]

    def _exclude(self, number: int, place: int) -> None:
        self.excluded[number] = False
        self.excluded[number, self.open_rows.excludes(place)] = True
        self.excluded[number, place] = True

    def mark(self, number: int) -> np.ndarray:
        """Mark the candidates (C,) that may be picked in place of the pick ``number``."""
        allowed = self.open_rows.are_open & (self.times == self.excluded[number])
        for quota, used in zip(self.open_rows.quotas, self.used, strict=True):
            others = used - (np.arange(len(used)) == quota.groups[self.picks[number]])
            allowed &= (others < quota.left)[quota.groups]
        allowed[self.picks[number]] = False
        return np.asarray(allowed)

    def suits_others(self, number: int, place: int) -> bool:
        """Check that a candidate excludes none of the other picks."""
        excluded = set(self.open_rows.excludes(place).tolist())
        return not any(pick in excluded for other, pick in enumerate(self.picks) if other != number)

    def swap(self, number: int, place: int) -> None:
        """Pick a candidate in place of the pick ``number``."""
        for quota, used in zip(self.open_rows.quotas, self.used, strict=True):
            used[quota.groups[self.picks[number]]] -= 1
            used[quota.groups[place]] += 1
        self.times = self.times - self.excluded[number]
        self.picks[number] = place
        self._exclude(number, place)
        self.times = self.times + self.excluded[number]


class _Search:
    """The picks. For each row that counts: its best pick, and how well the best and the second best cover it.

    If a row that was chosen before this search covers it best, the best pick is -1.
    """

    def __init__(
        self, similar: np.ndarray, covered: np.ndarray, picks: list[int], open_rows: OpenRows
    ) -> None:
        self.similar, self.covered = similar, covered
        self.allowed = _Allowed(picks, open_rows)
        count = similar.shape[1]
        self.best, self.second = np.empty(count, np.float32), np.empty(count, np.float32)
        self.owner = np.empty(count, np.int64)
        self._rank(np.arange(count))
        # What each candidate would add if it were one pick more.
        self.gains = self._sum_gains(np.arange(count))

    @property
    def picks(self) -> list[int]:
        """The places of the picked candidates."""
        return self.allowed.picks

    def _rank(self, rows: np.ndarray) -> None:
        """Find the best pick of some counted rows, and the coverage by the best and the second best."""
        similar = np.vstack(
            [self.covered[rows], self.similar[np.ix_(np.asarray(self.picks), rows)]]
        )
        order = similar.argmax(axis=0)
        columns = np.arange(len(rows))
        self.best[rows], self.owner[rows] = similar[order, columns], order - 1
        similar[order, columns] = -np.inf
        self.second[rows] = similar.max(axis=0)

    def _sum_gains(self, rows: np.ndarray) -> np.ndarray:
        more = np.maximum(self.similar[:, rows] - self.best[rows], 0)
        return np.asarray(more.sum(axis=1, dtype=np.float64))

    def try_swap(self, number: int) -> bool:
        """Exchange the pick ``number`` for the candidate that raises the coverage most, if one does."""
        own = np.flatnonzero(self.owner == number)
        best, second = self.best[own], self.second[own]
        similar = self.similar[:, own]
        # Its own rows fall back to their second best pick, or to the candidate if that covers them better.
        change = np.maximum(similar, second).sum(axis=1, dtype=np.float64)
        change -= np.maximum(similar, best).sum(axis=1, dtype=np.float64)
        gains = np.where(self.allowed.mark(number), self.gains + change, -np.inf)
        least = _LEAST_GAIN * self.similar.shape[1]
        while gains[place := int(gains.argmax())] > least:
            if self.allowed.suits_others(number, place):
                self._swap(number, place)
                return True
            gains[place] = -np.inf
        return False

    def _swap(self, number: int, place: int) -> None:
        leaving = self.similar[self.picks[number]]
        is_changed = (leaving >= self.second) | (self.similar[place] > self.second)
        changed = np.flatnonzero(is_changed)
        self.gains -= self._sum_gains(changed)
        self.allowed.swap(number, place)
        self._rank(changed)
        self.gains += self._sum_gains(changed)
