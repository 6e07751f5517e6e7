"""Learning curves: what labels would have been worth, had each strategy chosen them.

A strategy is replayed inside the labelled tiles, as if their classes were unknown. A quick probe learns from the
tiles that it picks, and is scored on ground that was held out.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_assets.probes.logistic import train_logistic
from dino_assets.probes.records import TrainingSet
from dino_assets.probes.replaying import (
    LabelledVectors,
    Predictor,
    make_splits,
    measure_macro_accuracy,
)
from dino_assets.probes.uncertainty import measure_uncertainty
from dino_assets.selections.choosing import select
from dino_assets.selections.strategies.names import RoundStrategyName

REPLAYED: tuple[RoundStrategyName, ...] = (
    *("random", "cluster", "fps", "hybrid", "medoids"),
    *("herding", "herding+swaps", "herding+fps", "uncertainty"),
)
# Budgets of which a prefix is the choice of a smaller budget: one choice serves all budgets.
_PREFIXED = frozenset({"random", "fps", "medoids", "herding"})
BUDGETS = (10, 20, 35, 50, 100, 200)
SEEDS = 12


@dataclass(frozen=True)
class CurvePoint:
    """A row of ``learning_curve``: a strategy's macro accuracy at one budget, with 95 % intervals over seeds.

    ``gain`` is the difference from random selection on the same ground, in macro accuracy.
    """

    strategy: str
    budget: int
    mean: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    seeds: int


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def is_above_zero(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low > 0

    @property
    def is_below_zero(self) -> bool:
        """Whether the whole interval is below 0."""
        return self.high < 0


@dataclass(frozen=True, eq=False)
class Replay:
    """Macro accuracies (seeds, budgets) of each strategy; at one seed, all strategies see the same ground."""

    budgets: tuple[int, ...]
    accuracies: dict[str, NDArray[np.float64]]

    def measure_gain(self, strategy: str) -> Interval:
        """Measure the gain over random selection as a mean over the budgets, paired by seeds."""
        difference = self.accuracies[strategy] - self.accuracies["random"]
        return measure_interval(difference.mean(axis=1))

    def list_points(self) -> list[CurvePoint]:
        """List the points of all curves, by strategy and budget."""
        points = []
        for strategy, accuracies in self.accuracies.items():
            gains = accuracies - self.accuracies["random"]
            for column, budget in enumerate(self.budgets):
                at, gain = (
                    measure_interval(accuracies[:, column]),
                    measure_interval(gains[:, column]),
                )
                points.append(
                    CurvePoint(
                        *(strategy, budget, at.value, at.low, at.high),
                        *(gain.value, gain.low, gain.high, len(accuracies)),
                    )
                )
        return points


def replay_strategies(
    labelled: LabelledVectors,
    predict: Predictor,
    *,
    strategies: Sequence[RoundStrategyName] = REPLAYED,
    budgets: Sequence[int] = BUDGETS,
    seeds: int = SEEDS,
    say: Callable[[str], None] = lambda line: None,
) -> Replay:
    """Replay random selection and the strategies at growing budgets, on held-out ground of each seed.

    Budgets that are not below the size of the smallest pool are left out: there, all strategies pick the same.

    Raises:
        TooFewLabelsError: there are too few tiles, classes or blocks.
    """
    labelled, splits = make_splits(labelled, seeds=seeds)
    least = min(len(pool) for pool, _ in splits)
    used = tuple(budget for budget in sorted(budgets) if budget < least)
    names: list[RoundStrategyName] = ["random", *(name for name in strategies if name != "random")]
    accuracies: dict[str, NDArray[np.float64]] = {
        name: np.empty((seeds, len(used))) for name in names
    }
    for seed, (pool_rows, held_rows) in enumerate(splits):
        pool, held = labelled.take(pool_rows), labelled.take(held_rows)
        for name in names:
            choice = (
                _choose_uncertain(pool, used, seed)
                if name == "uncertainty"
                else _choose(pool.vectors, name, used, seed)
            )
            for column, rows in enumerate(choice):
                predicted = predict(pool.vectors[rows], pool.classes[rows], held.vectors)
                accuracies[name][seed, column] = measure_macro_accuracy(predicted, held.classes)
        say(f"seed {seed + 1} of {seeds}: {len(names)} strategies replayed")
    return Replay(used, accuracies)


def _choose(
    vectors: NDArray[np.float32], strategy: RoundStrategyName, budgets: Sequence[int], seed: int
) -> list[NDArray[np.int64]]:
    """Choose rows for each budget; one choice serves all budgets if the strategy allows that."""
    asked = (budgets[-1],) if strategy in _PREFIXED else budgets
    chosen = [
        select(vectors, budget=each, strategy=strategy, rng=np.random.default_rng(seed)).indices
        for each in asked
    ]
    return [chosen[0][:each] for each in budgets] if strategy in _PREFIXED else chosen


def _choose_uncertain(
    pool: LabelledVectors, budgets: Sequence[int], seed: int
) -> Iterator[NDArray[np.int64]]:
    """Choose rows for each budget as rounds do: herding first, then by a probe that learned the rows so far."""
    rng = np.random.default_rng(seed)
    chosen = select(pool.vectors, budget=budgets[0], strategy="herding", rng=rng).indices
    yield chosen
    for budget in budgets[1:]:
        more = select(
            pool.vectors,
            budget=budget - len(chosen),
            strategy="uncertainty",
            rng=rng,
            chosen=chosen,
            uncertainties=_measure_entropy(pool, chosen),
        )
        chosen = np.concatenate([chosen, more.indices])
        yield chosen


def _measure_entropy(pool: LabelledVectors, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    """Measure how uncertain a probe of the chosen rows is about each row; all equal if they have one class."""
    names, classes = np.unique(pool.classes[chosen], return_inverse=True)
    if len(names) < 2:
        return np.ones(len(pool), np.float32)
    training = TrainingSet(pool.vectors[chosen], classes, tuple(map(str, names)))
    probe = train_logistic(training, groups=pool.blocks[chosen])
    return measure_uncertainty(probe.predict(pool.vectors), ()).entropy


def measure_interval(values: NDArray[np.float64]) -> Interval:
    """Measure the mean of values (seeds,) and its 95 % interval by Student's t."""
    from scipy.stats import t as student

    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)
