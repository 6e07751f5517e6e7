"""Shares of a budget: tiles of classes that somebody described, and exploration with what is left."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dino_assets.errors import ConfigError
from dino_assets.numerics.neighbours import check_vectors, scale_to_unit
from dino_assets.numerics.open_rows import OpenRows
from dino_assets.numerics.search import measure_cosines
from dino_assets.selections.strategies.names import EXPLORE
from dino_assets.selections.strategies.strategy import Picks, Pool, Reason, Strategy, TakenShare


@dataclass(frozen=True, eq=False)
class ClassShares:
    """The number of tiles of each class, and the score of each row of the pool for each class, float64 (N, K).

    The columns of ``scores`` are in the order of ``counts``. A score may be anything that is larger for rows
    that suit a class better: a cosine with a prototype, or the probability of a probe.
    """

    counts: Mapping[str, int]
    scores: NDArray[np.float64]


def score_by_examples(
    vectors: NDArray[np.float32], examples: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float64]:
    """Score rows (N, D) for each class (K) by the cosine with its prototype; return (N, K).

    A prototype is the mean of the class's examples (E, D), each scaled to length 1.

    Raises:
        ConfigError: the examples of a class cancel each other, so that their mean has no direction.
    """
    return np.stack(
        [measure_cosines(vectors, _make_prototype(name, each)) for name, each in examples.items()],
        axis=1,
    )


def _make_prototype(name: str, examples: NDArray[np.float32]) -> NDArray[np.float64]:
    prototype = scale_to_unit(check_vectors(examples)).mean(axis=0, dtype=np.float64)
    if not np.linalg.norm(prototype) > 1e-6:
        raise ConfigError(
            f"the examples of {name!r} have no common direction: the mean of their vectors is 0. Give "
            f"examples that resemble each other, or make a separate class for each",
            setting="examples",
            value=name,
        )
    return np.asarray(prototype)


@dataclass(frozen=True, eq=False)
class SharesStrategy:
    """Picks of the rows with the highest scores for each class, then picks by another strategy.

    The other strategy treats the picks for classes as chosen rows. A row can only be picked for the class in
    which its score is largest; if scores are equal, for the first class. The picks of classes alternate: at
    every rank each class is within one tile of its share, unless a class lacks rows. If no row of a class is
    open, the other strategy gets the rest of the class's share.
    """

    shares: ClassShares
    explorer: Strategy

    def pick(self, pool: Pool, budget: int, rng: np.random.Generator) -> Picks:
        """Pick rows for the classes, then let the other strategy explore with the rest of the budget."""
        open_rows = pool.open()
        picks = list(self._pick_classes(open_rows))
        rows = [row for row, _ in picks]
        reasons = [reason for _, reason in picks]
        left, n_clusters = budget - len(rows), 0
        if left > 0 and open_rows.are_open.any():
            rest = replace(
                pool,
                chosen=np.union1d(pool.chosen, np.asarray(rows, np.int64)),
                open_rows=open_rows.list(),
                quotas=open_rows.quotas,
            )
            explored = self.explorer.pick(rest, min(left, len(rest.open_rows)), rng)
            rows += explored.indices
            reasons += [each._replace(share=TakenShare(EXPLORE)) for each in explored.reasons]
            n_clusters = explored.n_clusters
        return Picks(rows, reasons, n_clusters)

    def _pick_classes(self, open_rows: OpenRows) -> Iterator[tuple[int, Reason]]:
        scores, counts = self.shares.scores, self.shares.counts
        own = scores.argmax(axis=1)
        waiting: dict[str, Iterator[int]] = {}
        for column, (name, count) in enumerate(counts.items()):
            rows = np.flatnonzero(own == column)
            best_first = rows[np.argsort(-scores[rows, column], kind="stable")]
            if count:
                waiting[name] = iter(best_first.tolist())
        picked, columns, total = dict.fromkeys(waiting, 0), list(counts), sum(counts.values())
        while waiting:
            rank = sum(picked.values())
            # Earliest deadline first, of the classes that are not ahead of their share. By the nearest share
            # alone, one class of 50 tiles would come before fifty classes of one tile each.
            due = [each for each in waiting if picked[each] * total < (rank + 1) * counts[each]]
            name = min(
                due or waiting, key=lambda each: -(-(picked[each] + 1) * total // counts[each])
            )
            row = next((row for row in waiting[name] if open_rows.are_open[row]), None)
            if row is None:
                del waiting[name]
                continue
            open_rows.pick(row)
            picked[name] += 1
            if picked[name] == counts[name]:
                del waiting[name]
            score = float(scores[row, columns.index(name)])
            yield row, Reason("similar", None, None, TakenShare(name, score))
