"""Selection by k-means clusters with a quota for each cluster."""

import math
from dataclasses import dataclass

import numpy as np

from dino_assets.numerics.farthest import walk_farthest
from dino_assets.numerics.kmeans import fit_kmeans
from dino_assets.selections.strategies.strategy import Picks, Pool, Reason


def share_budget(budget: int, sizes: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Divide the budget into quotas (K,) in proportion to the clusters' ``sizes``, by largest remainder.

    Tiles that were ``taken`` before count as part of a cluster's share. Every cluster gets its first tile
    before any cluster gets a second one, the largest cluster first. If a cluster already has more than its
    share, the other shares become smaller in proportion. No quota exceeds the tiles left in a cluster. All
    numbers are integers, so ties are exact; the lowest index wins.
    """
    sizes, least = sizes.astype(np.int64), taken.astype(np.int64)
    budget = min(budget, int((sizes - taken).sum()))
    total = budget + int(taken.sum())
    uncovered = np.flatnonzero((taken == 0) & (sizes > 0))
    least[uncovered[np.argsort(-sizes[uncovered], kind="stable")][:budget]] = 1
    shares = np.ones(len(sizes), bool)
    while (is_above := shares & (total * sizes < least * sizes[shares].sum())).any():
        shares &= ~is_above
        total -= int(least[is_above].sum())
    given, among = least.copy(), max(int(sizes[shares].sum()), 1)
    given[shares], remainders = np.divmod(total * sizes[shares], among)
    left = total - int(given[shares].sum())
    given[np.flatnonzero(shares)[np.argsort(-remainders, kind="stable")[:left]]] += 1
    return np.asarray(given - taken)


def limit_clusters(tiles: int, fps_ratio: float) -> int:
    """Limit the number of clusters for a number of tiles, including tiles chosen before.

    The limit is one cluster per tile. If a quota of two has one central and one farthest row, it is three
    clusters for four tiles. Otherwise every quota would be one, and every row a central one.
    """
    is_mixed = math.floor(2 * fps_ratio) == 1
    return max(1, 3 * tiles // 4) if is_mixed else tiles


@dataclass(frozen=True)
class ClusterStrategy:
    """K-means over the pool with a quota per cluster; a share of each quota are farthest points.

    The rest of a quota, rounded up, are the cluster's most central rows. They come first, and the farthest
    points start from them. The picks of all clusters alternate: the first pick of every cluster comes
    before the second pick of any.

    Quotas are for all rounds together, and tiles chosen before count as central ones. In later rounds most
    quotas are one; without this rule they would always be central rows.
    """

    n_clusters: int
    fps_ratio: float

    def pick(self, pool: Pool, budget: int, rng: np.random.Generator) -> Picks:
        """Divide the budget among clusters and pick tiles in each."""
        # With more clusters than tiles, small clusters would get none. With a cluster per tile the digits
        # probe scores .84 instead of .70 at 20 labels, and .92 instead of .89 at 50.
        most = limit_clusters(budget + len(pool.chosen), self.fps_ratio)
        clusters = fit_kmeans(pool.vectors, min(self.n_clusters, most), rng=rng)
        count = len(clusters.centres)
        sizes = np.bincount(clusters.labels, minlength=count)
        taken = np.bincount(clusters.labels[pool.chosen], minlength=count)
        quotas = share_budget(budget, sizes, taken)
        # Rows by cluster, the most central first; equal distances keep the order of the pool.
        order = np.lexsort((clusters.squared, clusters.labels))
        turns = []
        for cluster, rows in enumerate(np.split(order, np.cumsum(sizes)[:-1])):
            quota, before = int(quotas[cluster]), int(taken[cluster])
            farthest = self._share_quota(quota, before)
            picked = _pick_inside(
                pool, cluster, rows, clusters.squared, quota=quota, farthest=farthest
            )
            turns += [(turn, -sizes[cluster], cluster, *pick) for turn, pick in enumerate(picked)]
        turns.sort(key=lambda turn: turn[:3])
        return Picks([turn[3] for turn in turns], [turn[4] for turn in turns], count)

    def _share_quota(self, quota: int, before: int) -> int:
        """Compute how many of a quota are farthest points, if ``before`` earlier picks count as central."""
        total = quota + before
        central = total - math.floor(self.fps_ratio * total + 1e-9)  # 0.29 · 100 is below 29
        return quota - min(quota, max(0, central - before))


def _pick_inside(
    pool: Pool,
    cluster: int,
    rows: np.ndarray,
    squared: np.ndarray,
    *,
    quota: int,
    farthest: int,
) -> list[tuple[int, Reason]]:
    """Pick from a cluster's ``rows``, which are sorted by distance to its centre."""
    central = rows[np.isin(rows, pool.open_rows, assume_unique=True)][: quota - farthest]
    picks = [(int(r), Reason("central", cluster, math.sqrt(squared[r]))) for r in central]
    if not farthest:
        return picks
    rows = np.sort(rows)  # so that ties in the walk go to the lowest row of the pool
    before = np.flatnonzero(np.isin(rows, np.r_[pool.chosen, central]))
    walked, distances = walk_farthest(pool.vectors[rows], farthest, chosen=before)
    for step, (row, distance) in enumerate(zip(rows[walked], distances.tolist(), strict=True)):
        is_first = step == 0 and not len(before)
        picks.append((int(row), Reason("first" if is_first else "farthest", cluster, distance)))
    return picks
