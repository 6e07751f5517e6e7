"""Selection of tiles to label from a pool of vectors: budget, strategy, and a reason for every pick.

Distances are Euclidean. Scale rows to unit length first if only directions matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dino_assets.errors import ConfigError
from dino_assets.numerics.open_rows import Excludes, Quota, exclude_nothing
from dino_assets.selections.strategies.cluster import ClusterStrategy
from dino_assets.selections.strategies.covering import CoveringStrategy, HerdingFarthestStrategy
from dino_assets.selections.strategies.farthest import FarthestStrategy
from dino_assets.selections.strategies.names import RoundStrategyName
from dino_assets.selections.strategies.random import RandomStrategy
from dino_assets.selections.strategies.shares import ClassShares, SharesStrategy
from dino_assets.selections.strategies.strategy import Picks, Pool, Reason, Strategy, make_pool
from dino_assets.selections.strategies.uncertain import UncertaintyStrategy
from dino_assets.settings.choices import check_range, check_word


@dataclass(frozen=True, eq=False)
class Selection:
    """Picked rows of the pool in pick order (B,) int64, a reason for each, and the settings used.

    ``n_clusters`` is the number of clusters after clamping to the budget and the pool; 0 without clusters.
    ``shortfall`` is a sentence that says why fewer rows than ``budget`` were picked, else empty.
    """

    indices: np.ndarray
    reasons: tuple[Reason, ...]
    strategy: RoundStrategyName
    budget: int
    n_clusters: int
    fps_ratio: float
    excluded: int
    shortfall: str


def select(
    vectors: ArrayLike,
    *,
    budget: int,
    strategy: RoundStrategyName = "hybrid",
    n_clusters: int = 100,
    fps_ratio: float = 0.5,
    rng: np.random.Generator,
    chosen: ArrayLike = (),
    closed: ArrayLike = (),
    excludes: Excludes = exclude_nothing,
    quotas: Sequence[Quota] = (),
    shares: ClassShares | None = None,
    uncertainties: np.ndarray | None = None,
) -> Selection:
    """Pick ``budget`` rows of a pool (N, D) that are not among the ``chosen`` rows.

    ``chosen`` rows count as covered. ``closed`` rows are not picked, nor are rows that a picked row
    ``excludes``. Each of the ``quotas`` limits the picks of groups of rows. With ``shares``, rows of some
    classes come first, and ``strategy`` picks the rest. ``uncertainty`` needs ``uncertainties`` (N,), a number
    of at least 0 per row. The same generator state gives the same selection. ``random``, ``fps``,
    ``medoids`` and ``herding`` have the prefix property: a larger budget begins with the picks of a smaller
    one.

    Raises:
        ConfigError: the strategy is unknown, the budget is negative, there are no clusters, ``fps_ratio``
            is outside 0 … 1, the pool does not have a chosen row, or there is not one
            uncertainty per row, or none at all for the strategy that needs them.
        InvalidVectorsError: the vectors are not finite (N, D).
    """
    strategies: dict[str, Strategy] = {
        "random": RandomStrategy(),
        "cluster": ClusterStrategy(n_clusters, fps_ratio=0),
        "fps": FarthestStrategy(),
        "hybrid": ClusterStrategy(n_clusters, fps_ratio),
        "medoids": CoveringStrategy("distance"),
        "herding": CoveringStrategy("gaussian"),
        "herding+swaps": CoveringStrategy("gaussian", with_swaps=True),
        "herding+fps": HerdingFarthestStrategy(),
        "uncertainty": UncertaintyStrategy(() if uncertainties is None else uncertainties),
    }
    check_word("strategy", strategy, tuple(strategies))
    if strategy == "uncertainty" and uncertainties is None:
        raise ConfigError(
            "the strategy 'uncertainty' needs a number per row, and there are none. A round of the store reads them "
            "from its probe; for your own vectors and numbers, use `dino_assets.UncertaintySelector`",
            setting="strategy",
            value=strategy,
        )
    check_range("budget", budget, least=0)
    check_range("n_clusters", n_clusters, least=1)
    check_range("fps_ratio", fps_ratio, least=0, most=1, meaning="a share of each quota")
    pool = make_pool(vectors, chosen, closed=closed, excludes=excludes, quotas=quotas)
    count = min(budget, len(pool.open_rows))
    picker = strategies[strategy]
    if shares is not None:
        picker = SharesStrategy(shares, picker)
    picks = picker.pick(pool, count, rng) if count else Picks([], [])
    return Selection(
        np.asarray(picks.indices, np.int64),
        tuple(picks.reasons),
        strategy,
        budget,
        picks.n_clusters,
        fps_ratio,
        len(pool.chosen),
        _explain_few(pool, len(picks.indices), budget),
    )


def _explain_few(pool: Pool, picked: int, budget: int) -> str:
    """Say why fewer rows than the budget were picked; return an empty text if there are as many."""
    if picked >= budget:
        return ""
    few = (
        f"{budget} were asked for and {picked} picked: the pool has {len(pool.vectors)} tiles, "
        f"{len(pool.chosen)} of them chosen before"
    )
    if picked + len(pool.chosen) == len(pool.vectors):
        return few
    reasons = []
    if pool.excludes is not exclude_nothing or not pool.quotas:
        reasons.append("shows the same ground as one of the chosen tiles")
    if pool.quotas:
        reasons.append("belongs to a drop, camera or class whose limit is reached")
    return f"{few}; every other tile {' or '.join(reasons)}"
