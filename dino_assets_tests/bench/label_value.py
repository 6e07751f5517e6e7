"""What labels are worth, by strategy and budget, on real vectors with known classes.

``python -m dino_assets_tests.bench.label_value aerial-1400.npz [SEEDS]`` prints two Markdown tables: one
round of some budgets, and five rounds of 20. A ridge probe is trained on the chosen labels; macro accuracy
is that of the half of the pictures outside the pool. The long tail has a pool of uneven classes.

``cluster`` is what ``hybrid`` was by default up to 100 tiles: one cluster per tile, central rows only.
"""

import sys
from collections.abc import Sequence

import numpy as np

from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.selections.choosing import select
from dino_assets.selections.strategies.names import StrategyName

BUDGETS = (20, 50, 100, 150)
TAIL = (1, 0.6, 0.4, 0.3, 0.2, 0.1, 0.06)
STRATEGIES: tuple[StrategyName, ...] = ("random", "cluster", "hybrid")
RIDGE = 0.1
ROUNDS, ROUND_BUDGET = 5, 20


def split(classes: np.ndarray, *, is_tail: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a pool and of a test half."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(classes))
    pool, test = np.array_split(order, 2)
    if is_tail:
        shares = dict(zip(rng.permutation(len(TAIL)), TAIL, strict=True))
        of_class = {label: pool[classes[pool] == label] for label in shares}
        pool = np.concatenate(
            [rows[: max(1, round(len(rows) * shares[label]))] for label, rows in of_class.items()]
        )
    return pool, test


def probe(
    vectors: np.ndarray, classes: np.ndarray, chosen: np.ndarray, test: np.ndarray
) -> tuple[float, int]:
    """Macro accuracy of a ridge probe, and how many classes it was shown."""
    rows, targets = vectors[chosen], np.eye(classes.max() + 1)[classes[chosen]]
    mean, offset = rows.mean(axis=0), targets.mean(axis=0)
    rows = rows - mean
    inner = rows @ rows.T + RIDGE * np.eye(len(rows))
    weights = rows.T @ np.linalg.solve(inner, targets - offset)
    guesses = ((vectors[test] - mean) @ weights + offset).argmax(axis=1)
    hits = guesses == classes[test]
    accuracy = np.mean([hits[classes[test] == label].mean() for label in np.unique(classes)])
    return float(accuracy), len(np.unique(classes[chosen]))


def choose(
    vectors: np.ndarray, strategy: StrategyName, budget: int, seed: int, chosen: Sequence[int] = ()
) -> tuple[list[int], float]:
    """Rows of the pool, and the share of them that are not central."""
    rng = np.random.default_rng(seed)
    picked = select(vectors, budget=budget, strategy=strategy, rng=rng, chosen=list(chosen))
    outer = sum(reason.word in ("first", "farthest") for reason in picked.reasons)
    return picked.indices.tolist(), outer / budget


def main(file: str, seeds: int) -> None:
    """Print the tables."""
    stored = np.load(file)
    vectors = scale_to_unit(stored["vectors"].astype(np.float32))
    classes = stored["classes"].astype(int)
    print("| pool | budget | strategy | macro accuracy ± s.e. | classes | far picks |")
    print("|---|---|---|---|---|---|")
    for is_tail in (False, True):
        splits = [split(classes, is_tail=is_tail, seed=seed) for seed in range(seeds)]
        name = "long tail" if is_tail else "balanced"
        for budget in BUDGETS:
            for strategy in STRATEGIES:
                results = []
                for seed, (pool, test) in enumerate(splits):
                    rows, outer = choose(vectors[pool], strategy, budget, seed)
                    results.append((*probe(vectors, classes, pool[rows], test), outer))
                accuracy, seen, outer = np.mean(results, axis=0)
                error = np.std(results, axis=0)[0] / np.sqrt(seeds)
                print(
                    f"| {name} | {budget} | {strategy} | {accuracy:.3f} ± {error:.3f} | {seen:.2f} "
                    f"| {outer:.0%} |"
                )
    print(
        f"\n| pool | strategy | after 1 … {ROUNDS} rounds of {ROUND_BUDGET} | far picks of each |"
    )
    print("|---|---|---|---|")
    for is_tail in (False, True):
        splits = [split(classes, is_tail=is_tail, seed=seed) for seed in range(seeds)]
        name = "long tail" if is_tail else "balanced"
        for strategy in STRATEGIES:
            accuracies, shares = np.zeros(ROUNDS), np.zeros(ROUNDS)
            for seed, (pool, test) in enumerate(splits):
                chosen: list[int] = []
                for number in range(ROUNDS):
                    rows, outer = choose(vectors[pool], strategy, ROUND_BUDGET, seed, chosen)
                    chosen += rows
                    accuracies[number] += probe(vectors, classes, pool[chosen], test)[0] / seeds
                    shares[number] += outer / seeds
            values = " ".join(f"{value:.3f}" for value in accuracies)
            print(f"| {name} | {strategy} | {values} | {' '.join(f'{s:.0%}' for s in shares)} |")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 24)
