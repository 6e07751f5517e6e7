"""Selection of tiles to label from a pool of vectors: budget, strategy, and a reason for every pick.

Distances are Euclidean. Scale rows to unit length first if only directions matter.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dino_assets.numerics.open_rows import Excludes, exclude_nothing
from dino_assets.selections.strategies.cluster import ClusterStrategy
from dino_assets.selections.strategies.covering import CoveringStrategy, HerdingFarthestStrategy
from dino_assets.selections.strategies.farthest import FarthestStrategy
from dino_assets.selections.strategies.names import StrategyName
from dino_assets.selections.strategies.random import RandomStrategy
from dino_assets.selections.strategies.strategy import Picks, Reason, Strategy, make_pool
from dino_assets.settings.choices import check_range, check_word


@dataclass(frozen=True, eq=False)
class Selection:
    """Picked rows of the pool in pick order (B,) int64, a reason for each, and the settings used.

    ``n_clusters`` is the number of clusters after clamping to the budget and the pool; 0 without clusters.
    ``shortfall`` is a sentence that says why fewer rows than ``budget`` were picked, else empty.
    """

    indices: np.ndarray
    reasons: tuple[Reason, ...]
    strategy: StrategyName
    budget: int
    n_clusters: int
    fps_ratio: float
    excluded: int
    shortfall: str


def select(
    vectors: ArrayLike,
    *,
    budget: int,
    strategy: StrategyName = "hybrid",
    n_clusters: int = 100,
    fps_ratio: float = 0.5,
    rng: np.random.Generator,
    chosen: ArrayLike = (),
    closed: ArrayLike = (),
    excludes: Excludes = exclude_nothing,
) -> Selection:
    """Pick ``budget`` rows of a pool (N, D) that are not among the ``chosen`` rows.

    ``chosen`` rows count as covered. ``closed`` rows are not picked, and no row that a picked one ``excludes``.
    The same generator state gives the same selection. ``random``, ``fps``, ``medoids`` and ``herding`` have
    the prefix property: a larger budget begins with the picks of a smaller one.

    Raises:
        ConfigError: the strategy is unknown, the budget is negative, there are no clusters, ``fps_ratio``
            is outside 0 … 1, or the pool does not have a chosen row.
        InvalidVectorsError: the vectors are not finite (N, D).
    """
    strategies: dict[str, Strategy] = {
        "random": RandomStrategy(),
        "cluster": ClusterStrategy(n_clusters, fps_ratio=0),
        "fps": FarthestStrategy(),
        "hybrid": ClusterStrategy(n_clusters, fps_ratio),
        "medoids": CoveringStrategy("distance"),
        "herding": CoveringStrategy("gaussian"),
        "herding+fps": HerdingFarthestStrategy(),
    }
    check_word("strategy", strategy, tuple(strategies))
    check_range("budget", budget, least=0)
    check_range("n_clusters", n_clusters, least=1)
    check_range("fps_ratio", fps_ratio, least=0, most=1, meaning="a share of each quota")
    pool = make_pool(vectors, chosen, closed=closed, excludes=excludes)
    count = min(budget, len(pool.open_rows))
    picks = strategies[strategy].pick(pool, count, rng) if count else Picks([], [])
    picked = len(picks.indices)
    shortfall = ""
    if picked < budget:
        shortfall = (
            f"{budget} were asked for and {picked} picked: the pool has {len(pool.vectors)} tiles, "
            f"{len(pool.chosen)} of them chosen before"
        )
        if picked + len(pool.chosen) < len(pool.vectors):
            shortfall += "; every other tile shows the same ground as one of the chosen tiles"
    return Selection(
        np.asarray(picks.indices, np.int64),
        tuple(picks.reasons),
        strategy,
        budget,
        picks.n_clusters,
        fps_ratio,
        len(pool.chosen),
        shortfall,
    )
