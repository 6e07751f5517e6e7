"""Macro accuracy and calibration of probes on real vectors, at several numbers of labels.

``python -m dino_assets_tests.bench.probe_value aerial-1400.npz [SEEDS]`` prints a Markdown table: each kind of
probe with and without class weights, on a balanced pool and on one with a long tail.
"""

import sys
from collections.abc import Callable

import numpy as np

from dino_assets.probes.linear import train_linear
from dino_assets.probes.logistic import train_logistic
from dino_assets.probes.records import Probe, TrainingSet
from dino_assets.probes.scores import bin_probabilities, measure_ece

TAIL = (1, 0.6, 0.4, 0.3, 0.2, 0.1, 0.06)
LABELS = {"balanced": (50, 150, 700), "long tail": (50, 150, 260)}
PROBES: dict[str, Callable[[TrainingSet], Probe]] = {
    "logistic, balanced (default)": train_logistic,
    "logistic, unweighted": lambda rows: train_logistic(rows, class_weights="none"),
    "linear, balanced": lambda rows: train_linear(rows, class_weights="balanced"),
    "linear, unweighted (documents)": train_linear,
}


def split_pool(
    classes: np.ndarray, *, has_tail: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into a pool and a test of halves; with a tail, thin the pool's classes."""
    order = rng.permutation(len(classes))
    pool, test = order[: len(order) // 2], order[len(order) // 2 :]
    if has_tail:
        shares = rng.permutation(TAIL)
        parts = [pool[classes[pool] == number] for number in range(len(TAIL))]
        thinned = [part[: max(1, int(len(part) * share))] for part, share in zip(parts, shares, strict=True)]  # fmt: skip
        pool = rng.permutation(np.concatenate(thinned))
    return pool, test


def measure(train: Callable[[TrainingSet], Probe], rows: TrainingSet, test: TrainingSet) -> tuple[float, float]:  # fmt: skip
    likely = train(rows).predict(test.vectors)
    rights = likely.argmax(axis=1) == test.classes
    macro = np.mean([rights[test.classes == number].mean() for number in range(len(TAIL))])
    return float(macro), measure_ece(bin_probabilities(likely.max(axis=1), rights))


def main(path: str, seeds: int = 12) -> None:
    with np.load(path) as file:
        vectors, classes = file["vectors"].astype(np.float32), file["classes"].astype(np.int64)
    names = tuple(str(number) for number in range(len(TAIL)))
    every = TrainingSet(vectors, classes, names)
    heads = [f"{pool} {count}" for pool, counts in LABELS.items() for count in counts]
    print(f"| probe | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    for name, train in PROBES.items():
        cells = []
        for pool_name, counts in LABELS.items():
            for count in counts:
                results = []
                for seed in range(seeds):
                    rng = np.random.default_rng(seed)
                    pool, test = split_pool(classes, has_tail=pool_name != "balanced", rng=rng)
                    results.append(measure(train, every.take(pool[:count]), every.take(test)))
                macro, ece = np.mean(results, axis=0)
                cells.append(f"{macro:.3f} ({ece:.2f})".replace("0.", "."))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
