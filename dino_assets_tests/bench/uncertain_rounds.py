"""What later rounds are worth if a probe's uncertainty chooses them.

``python -m dino_assets_tests.bench.uncertain_rounds aerial-1400.npz [SEEDS]`` prints a Markdown table. The first
20 tiles are chosen by herding, in all rows; then come four rounds of 20, each after a probe has learned all labels so
far. Macro accuracy is that of a ridge probe on the half of the pictures outside the pool, with the 95 % interval of
the difference to random rounds.
"""

import sys
from dataclasses import replace

import numpy as np

from dino_assets.probes.probe_settings import ProbeSettings
from dino_assets.probes.records import TrainingSet
from dino_assets.probes.uncertainty import measure_uncertainty
from dino_assets.probes.validation import train_ensemble, train_probe
from dino_assets.selections.choosing import select
from dino_assets.selections.strategies.names import RoundStrategyName
from dino_assets_tests.bench.label_value import Case, compare, probe, read_cases, split

ROUNDS, BUDGET = 5, 20
RULES: dict[str, RoundStrategyName] = {
    "random": "random",
    "herding": "herding",
    "fps": "fps",
    "uncertainty by entropy": "uncertainty",
    "uncertainty by margin": "uncertainty",
    "uncertainty by disagreement": "uncertainty",
}


def measure_kind(
    kind: str, vectors: np.ndarray, classes: np.ndarray, chosen: list[int]
) -> np.ndarray:
    """The uncertainty of each tile, by a probe that learned from the chosen ones."""
    settings = replace(ProbeSettings(), split="image")
    names = np.unique(classes[chosen])
    training = TrainingSet(
        vectors[chosen], np.searchsorted(names, classes[chosen]), tuple(map(str, names))
    )
    groups = np.arange(len(chosen))
    trained = train_probe(training, groups, settings)
    others = train_ensemble(training, groups, trained, settings)
    likely = trained.predict(vectors)
    uncertainty = measure_uncertainty(likely, [each.predict(vectors) for each in others])
    return 1 - uncertainty.margin if kind == "margin" else getattr(uncertainty, kind)


def measure(case: Case, rule: str, seeds: int) -> np.ndarray:
    """The macro accuracy after each round, for every seed (seeds, rounds)."""
    accuracies = np.empty((seeds, ROUNDS))
    for seed in range(seeds):
        pool, test = split(case.classes, is_tail=case.is_tail, seed=seed)
        vectors, classes = case.vectors[pool], case.classes[pool]
        chosen: list[int] = []
        for number in range(ROUNDS):
            strategy = RULES[rule] if number else "herding"
            numbers = None
            if strategy == "uncertainty":
                numbers = measure_kind(rule.split()[-1], vectors, classes, chosen)
            rng = np.random.default_rng(seed + 1000 * number)
            chosen += select(
                vectors,
                budget=BUDGET,
                strategy=strategy,
                rng=rng,
                chosen=chosen,
                uncertainties=numbers,
            ).indices.tolist()
            accuracies[seed, number] = probe(case.vectors, case.classes, pool[chosen], test)[0]
    return accuracies


def main(file: str, seeds: int) -> None:
    """Print the table."""
    heads = " | ".join(f"{BUDGET * (number + 1)} labels" for number in range(1, ROUNDS))
    print(f"| pool | later rounds | {heads} |\n|---|---|{'---|' * (ROUNDS - 1)}")
    for case in read_cases(file):
        random = measure(case, "random", seeds)
        cells = [f"{each:.3f}" for each in random.mean(axis=0)[1:]]
        print(f"| {case.name} | random | {' | '.join(cells)} |", flush=True)
        for rule in list(RULES)[1:]:
            accuracies = measure(case, rule, seeds)
            gains = [compare(accuracies[:, n], random[:, n]) for n in range(1, ROUNDS)]
            cells = [f"{gain:+.1f} ± {margin:.1f}" for gain, margin in gains]
            print(f"| {case.name} | {rule} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20)
