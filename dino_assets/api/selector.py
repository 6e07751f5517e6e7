"""``DiverseImageSelector`` and ``UncertaintySelector``: selection of pictures to label, as indices."""

import warnings
from typing import Any, Literal, get_args

import numpy as np

from dino_assets.api.arrays import as_array
from dino_assets.numerics.neighbours import check_vectors, find_neighbours, scale_to_unit
from dino_assets.selections.choosing import select
from dino_assets.selections.strategies.names import StrategyName
from dino_assets.selections.strategies.strategy import make_pool
from dino_assets.selections.strategies.uncertain import UncertaintyStrategy, check_uncertainties
from dino_assets.settings.choices import check_range, check_word

Method = Literal["greedy", "topn"]


class FewerThanAskedWarning(UserWarning):
    """Fewer pictures exist than were requested; all are chosen.

    >>> import warnings
    >>> import numpy as np
    >>> from dino_assets import DiverseImageSelector, FewerThanAskedWarning
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     chosen = DiverseImageSelector().select(np.eye(3, dtype=np.float32), 10)
    >>> len(chosen), caught[0].category is FewerThanAskedWarning
    (3, True)
    """


class DiverseImageSelector:
    """Selection of diverse pictures by a strategy: ``random``, ``cluster``, ``fps`` or ``hybrid``.

    ``cluster`` picks the most central pictures of each cluster. ``fps`` (farthest-point sampling) picks, each
    time, the picture farthest from all picked ones. ``hybrid`` does both in each cluster. Embeddings are
    scaled to length 1 first, as in the asset ``selections``. For your own strategy, subclass and override
    ``select``.

    >>> import numpy as np
    >>> from dino_assets import DiverseImageSelector
    >>> embeddings = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    >>> len(DiverseImageSelector().select(embeddings, 10))
    10
    """

    def __init__(self, strategy: StrategyName = "hybrid", random_state: int = 42) -> None:
        check_word("strategy", strategy, get_args(StrategyName))
        check_range("random_state", random_state, least=0)
        self.strategy = strategy
        self.random_state = random_state

    def select(
        self,
        embeddings: Any,
        n_samples: int,
        n_clusters: int = 100,
        fps_ratio: float = 0.5,
    ) -> np.ndarray:
        """Choose ``n_samples`` rows of embeddings (N, D); return their indices (n,) in order of choice.

        Equal embeddings and ``random_state`` give equal indices in every call. If there are fewer rows than
        ``n_samples``, all are chosen with a ``FewerThanAskedWarning``. ``n_clusters`` is lowered if
        ``n_samples`` is too small for so many clusters. For ``hybrid``, ``fps_ratio`` is the share of each
        cluster's choices that are farthest points.

        Raises:
            ConfigError: a number is outside its range.
            InvalidVectorsError: the embeddings are not a matrix (N, D) of finite numbers.
        """
        selection = select(
            _scale(embeddings),
            budget=n_samples,
            strategy=self.strategy,
            n_clusters=n_clusters,
            fps_ratio=fps_ratio,
            rng=np.random.default_rng(self.random_state),
        )
        _warn_of_few(len(selection.indices), n_samples)
        return selection.indices

    def compute_diversity(self, embeddings: Any) -> np.ndarray:
        """Compute each row's distance to its nearest other row; return (N,) float64, from 0 to 2.

        The rows of embeddings (N, D) are scaled to length 1 first. A copy of another row gets 0. A row that
        is orthogonal to all others gets √2. A single row gets 0.
        """
        points = _scale(embeddings)
        if len(points) < 2:
            return np.zeros(len(points))
        nearest = find_neighbours(points, 1, metric="euclidean")
        return nearest.distances[:, 0].astype(np.float64)


class UncertaintySelector(DiverseImageSelector):
    """Selection of pictures that a model is uncertain about and that differ from each other.

    >>> import numpy as np
    >>> from dino_assets import UncertaintySelector
    >>> embeddings = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    >>> len(UncertaintySelector().select(embeddings, np.linspace(0, 1, 50), 5))
    5
    """

    def __init__(
        self,
        strategy: StrategyName = "hybrid",
        random_state: int = 42,
        *,
        method: Method = "greedy",
    ) -> None:
        super().__init__(strategy, random_state)
        check_word("method", method, get_args(Method))
        self.method = method

    def select(  # type: ignore[override]  # the public signature has uncertainties
        self, embeddings: Any, uncertainties: Any, n_samples: int
    ) -> np.ndarray:
        """Choose ``n_samples`` rows of embeddings (N, D) by uncertainties (N,); return indices, best first.

        ``greedy`` chooses one row after the other. Each time it takes the largest product of uncertainty and
        distance to the rows chosen before. ``topn`` chooses all rows at once, by the largest products of
        uncertainty and ``compute_diversity``. So ``topn`` may choose two similar rows, and exact copies get
        the score 0.

        Raises:
            ConfigError: there is not one uncertainty per row, one is negative or infinite, or ``n_samples``
                is negative.
            InvalidVectorsError: the embeddings are not a matrix (N, D) of finite numbers.
        """
        points = _scale(embeddings)
        check_range("n_samples", n_samples, least=0)
        weights = check_uncertainties(as_array(uncertainties), len(points))
        count = min(n_samples, len(points))
        _warn_of_few(count, n_samples)
        if self.method == "topn":
            scores = self.compute_diversity(points) * weights
            return np.argsort(-scores, kind="stable")[:count]
        strategy, rng = UncertaintyStrategy(weights), np.random.default_rng(self.random_state)
        return np.asarray(strategy.pick(make_pool(points, ()), count, rng).indices, np.int64)


def _scale(embeddings: Any) -> np.ndarray:
    return scale_to_unit(check_vectors(as_array(embeddings)))


def _warn_of_few(count: int, asked: int) -> None:
    if count < asked:
        warnings.warn(
            f"{asked} samples were requested, but there are only {count} rows; all are chosen",
            FewerThanAskedWarning,
            stacklevel=3,
        )
