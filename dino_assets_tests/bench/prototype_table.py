"""Precision of prototypes from a few examples, against other rules.

``python -m dino_assets_tests.bench.prototype_table aerial-1400.npz [SEEDS]`` prints two Markdown tables: average
precision and precision at 50, the mean over all classes and draws. In the second, the first three wrong tiles of the
results are counterexamples of several weights.
"""

import sys
from collections.abc import Callable

import numpy as np

from dino_assets.probes import prototypes
from dino_assets.probes.prototypes import TileStatistics, fit_direction, measure_tiles

COUNTS = (3, 5, 10)
UNLIKE, UNLIKE_COUNT = (0.0, 0.2, 0.5, 1.0), 3
Rule = Callable[[np.ndarray, TileStatistics], np.ndarray]


def take_mean(examples: np.ndarray, statistics: TileStatistics) -> np.ndarray:
    return (examples / np.linalg.norm(examples, axis=1, keepdims=True)).mean(axis=0)


def take_centred_mean(examples: np.ndarray, statistics: TileStatistics) -> np.ndarray:
    return take_mean(examples, statistics) - statistics.mean


def whiten(share: float) -> Rule:
    def rule(examples: np.ndarray, statistics: TileStatistics) -> np.ndarray:
        prototypes.SHRINKAGE = share
        return fit_direction(examples, statistics)

    return rule


RULES: dict[str, Rule] = {
    "mean": take_mean,
    "mean minus the mean of all tiles": take_centred_mean,
    **{f"whitened, {share} of the variance added": whiten(share) for share in (0.5, 0.25, 2.0)},
}


def measure_ranking(scores: np.ndarray, is_class: np.ndarray) -> tuple[float, float]:
    """Measure the average precision and the precision at 50."""
    right = is_class[np.argsort(-scores, kind="stable")]
    places = np.flatnonzero(right)
    return float(((np.arange(len(places)) + 1) / (places + 1)).mean()), float(right[:50].mean())


def measure(
    rule: Rule, vectors: np.ndarray, classes: np.ndarray, *, count: int, seeds: int
) -> tuple[float, float]:
    """Measure a rule with ``count`` examples of each class, drawn ``seeds`` times."""
    statistics = measure_tiles(vectors)
    figures = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        for number in np.unique(classes):
            chosen = rng.choice(np.flatnonzero(classes == number), count, replace=False)
            others = np.setdiff1d(np.arange(len(classes)), chosen)
            scores = statistics.rows[others] @ rule(vectors[chosen], statistics)
            figures.append(measure_ranking(scores, classes[others] == number))
    average_precision, precision_at_50 = np.mean(figures, axis=0)
    return float(average_precision), float(precision_at_50)


def measure_unlike(
    weight: float, vectors: np.ndarray, classes: np.ndarray, *, count: int, seeds: int
) -> tuple[float, float]:
    """Measure prototypes of ``count`` examples with the first wrong tiles as counterexamples."""
    statistics = measure_tiles(vectors)
    prototypes.UNLIKE_WEIGHT = weight
    figures = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        for number in np.unique(classes):
            chosen = rng.choice(np.flatnonzero(classes == number), count, replace=False)
            others = np.setdiff1d(np.arange(len(classes)), chosen)
            scores = statistics.rows[others] @ fit_direction(vectors[chosen], statistics)
            ranked = others[np.argsort(-scores, kind="stable")]
            wrong = ranked[classes[ranked] != number][:UNLIKE_COUNT]
            others = np.setdiff1d(others, wrong)
            direction = fit_direction(vectors[chosen], statistics, unlike=vectors[wrong])
            scores = statistics.rows[others] @ direction
            figures.append(measure_ranking(scores, classes[others] == number))
    average_precision, precision_at_50 = np.mean(figures, axis=0)
    return float(average_precision), float(precision_at_50)


def main(file: str, seeds: str = "20") -> None:
    with np.load(file) as stored:
        vectors, classes = stored["vectors"].astype(np.float32), stored["classes"]
    print("| rule | " + " | ".join(f"{count} examples" for count in COUNTS) + " |")
    print("|---" * (1 + len(COUNTS)) + "|")
    for name, rule in RULES.items():
        cells = []
        for count in COUNTS:
            figures = measure(rule, vectors, classes, count=count, seeds=int(seeds))
            cells.append(" / ".join(f"{each:.3f}" for each in figures))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    prototypes.SHRINKAGE = 0.5
    print(
        f"\n| weight of {UNLIKE_COUNT} counterexamples | "
        + " | ".join(f"{count} examples" for count in COUNTS)
        + " |"
    )
    print("|---" * (1 + len(COUNTS)) + "|")
    for weight in UNLIKE:
        cells = []
        for count in COUNTS:
            figures = measure_unlike(weight, vectors, classes, count=count, seeds=int(seeds))
            cells.append(" / ".join(f"{each:.3f}" for each in figures))
        print(f"| {weight} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
