"""What labels are worth, by strategy and budget, on real vectors with known classes.

``python -m dino_assets_tests.bench.label_value aerial-1400.npz [SEEDS]`` prints two Markdown tables: one
round of some budgets, and five rounds of 20. A ridge probe is trained on the chosen labels; macro accuracy
is that of the half of the pictures outside the pool. The long tail has a pool of uneven classes. ``colours``
are deliberately weak vectors of the same pictures. The digits are scikit-learn's.

Differences are macro points over random selection with the same pool, with their 95 % interval.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple, get_args

import numpy as np
from sklearn.datasets import load_digits

from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.selections.choosing import select
from dino_assets.selections.strategies.names import StrategyName

BUDGETS = (21, 50, 100)
TAIL = (1, 0.6, 0.4, 0.3, 0.2, 0.1, 0.06)
STRATEGIES: tuple[StrategyName, ...] = get_args(StrategyName)
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
    selection = select(vectors, budget=budget, strategy=strategy, rng=rng, chosen=list(chosen))
    outer_count = sum(reason.word in ("first", "farthest") for reason in selection.reasons)
    return selection.indices.tolist(), outer_count / budget


class Case(NamedTuple):
    """Vectors with classes, and how a pool is drawn from them."""

    name: str
    vectors: np.ndarray
    classes: np.ndarray
    is_tail: bool


def read_cases(file: str) -> Iterator[Case]:
    """The aerial pictures, twice with good and twice with weak vectors, and the digits."""
    arrays = np.load(file)
    classes = arrays["classes"].astype(int)
    for name, is_tail in (("balanced", False), ("long tail", True)):
        yield Case(name, _unit(arrays["vectors"]), classes, is_tail)
        yield Case(f"colours, {name}", _unit(arrays["colours"]), classes, is_tail)
    digits = load_digits()
    yield Case("digits", _unit(digits.data), digits.target.astype(int), is_tail=False)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return scale_to_unit(vectors.astype(np.float32))


def measure(case: Case, strategy: StrategyName, budget: int, seeds: int) -> np.ndarray:
    """The macro accuracy of one round, for every seed."""
    accuracies = []
    for seed in range(seeds):
        pool, test = split(case.classes, is_tail=case.is_tail, seed=seed)
        rows, _ = choose(case.vectors[pool], strategy, budget, seed)
        accuracies.append(probe(case.vectors, case.classes, pool[rows], test)[0])
    return np.asarray(accuracies)


def compare(accuracies: np.ndarray, random: np.ndarray) -> tuple[float, float]:
    """The mean difference in points, and half of its 95 % interval."""
    points = 100 * (accuracies - random)
    return float(points.mean()), float(1.96 * points.std(ddof=1) / np.sqrt(len(points)))


def show_one_round(cases: Sequence[Case], seeds: int) -> None:
    """Print what one round is worth."""
    budgets = " | ".join(f"{budget} labels" for budget in BUDGETS)
    print(f"| pool | strategy | {budgets} |\n|---|---|{'---|' * len(BUDGETS)}")
    for case in cases:
        random = {budget: measure(case, "random", budget, seeds) for budget in BUDGETS}
        print(
            f"| {case.name} | random | {' | '.join(f'{r.mean():.3f}' for r in random.values())} |"
        )
        for strategy in STRATEGIES[1:]:
            cells = []
            for budget in BUDGETS:
                gain, margin = compare(measure(case, strategy, budget, seeds), random[budget])
                cells.append(f"{gain:+.1f} ± {margin:.1f}")
            print(f"| {case.name} | {strategy} | {' | '.join(cells)} |")


def show_rounds(cases: Sequence[Case], seeds: int) -> None:
    """Print the accuracy after each of several small rounds."""
    print(f"\n| pool | strategy | after 1 … {ROUNDS} rounds of {ROUND_BUDGET} |\n|---|---|---|")
    for case in cases:
        for strategy in STRATEGIES:
            accuracies = np.zeros(ROUNDS)
            for seed in range(seeds):
                pool, test = split(case.classes, is_tail=case.is_tail, seed=seed)
                chosen: list[int] = []
                for number in range(ROUNDS):
                    chosen += choose(case.vectors[pool], strategy, ROUND_BUDGET, seed, chosen)[0]
                    accuracy = probe(case.vectors, case.classes, pool[chosen], test)[0]
                    accuracies[number] += accuracy / seeds
            values = " ".join(f"{value:.3f}" for value in accuracies)
            print(f"| {case.name} | {strategy} | {values} |")


if __name__ == "__main__":
    all_cases = list(read_cases(sys.argv[1]))
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    show_one_round(all_cases, repeats)
    show_rounds(all_cases, repeats)
