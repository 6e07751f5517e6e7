"""Signs of weak features, measured on vectors that are good, weak, untrained, or noise.

``python -m dino_assets_tests.bench.weak_features aerial-1400.npz [SEEDS]`` prints a Markdown table: how often
neighbours agree between two halves of the dimensions, above chance, and hubness. The ranges are over seeds and
over pools of 100 to 2,000 rows. Accuracy is of the 5 nearest neighbours, leave-one-out.
"""

import sys
from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_digits

from dino_assets.numerics.neighbours import find_neighbours, scale_to_unit
from dino_assets.selections.features import FeatureSigns, measure_signs

SIZES = (100, 200, 700, 2000)


def read_sets(file: str, seed: int) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    rng = np.random.default_rng(seed)
    arrays = np.load(file)
    classes = arrays["classes"].astype(int)
    vectors = arrays["vectors"].astype(np.float32)
    yield "aerial, trained", vectors, classes
    sizes = dict(zip(rng.permutation(7), (1, 0.6, 0.4, 0.3, 0.2, 0.1, 0.06), strict=True))
    rows = np.concatenate(
        [rng.permutation(np.flatnonzero(classes == c))[: int(200 * s)] for c, s in sizes.items()]
    )
    yield "aerial, trained, long tail", vectors[rows], classes[rows]
    yield "aerial, one class", vectors[classes == seed % 7], None
    yield "aerial, colours", arrays["colours"].astype(np.float32), classes
    digits = load_digits()
    yield "digits", digits.data.astype(np.float32), digits.target
    yield "digits, one class", digits.data[digits.target == seed % 10].astype(np.float32), None
    # An untrained network: two random layers over real pictures.
    hidden = np.maximum(digits.data @ rng.normal(size=(64, 256)), 0)
    yield "digits, random network", (hidden @ rng.normal(size=(256, 384))), digits.target
    yield "digits, random network, offset", hidden @ rng.normal(size=(256, 384)) + 3e3, None
    for dims in (8, 64, 384, 1024):
        yield f"noise, {dims} dims", rng.normal(size=(2000, dims)).astype(np.float32), None
    yield "noise, 384 dims, offset", 10 + rng.normal(size=(2000, 384)).astype(np.float32), None
    uneven = rng.normal(size=(2000, 384)) * np.arange(1, 385) ** -0.5
    yield "noise, 384 uneven dims", uneven.astype(np.float32), None
    yield (
        "noise, 384 correlated dims",
        (uneven @ np.linalg.qr(rng.normal(size=(384, 384)))[0]),
        None,
    )


def measure_accuracy(vectors: np.ndarray, classes: np.ndarray) -> float:
    near = classes[find_neighbours(vectors, 5).indices]
    votes = np.stack([(near == c).sum(axis=1) for c in range(classes.max() + 1)], axis=1)
    return float((votes.argmax(axis=1) == classes).mean())


def spell(values: list[float]) -> str:
    least, most = (f"{value:.2f}".replace("0.", ".") for value in (min(values), max(values)))
    return least if least == most else f"{least} to {most}"


def main(file: str, seeds: str = "5") -> None:
    signs: dict[str, list[FeatureSigns]] = {}
    accuracy: dict[str, float] = {}
    for seed in range(int(seeds)):
        for name, vectors, classes in read_sets(file, seed):
            vectors = scale_to_unit(np.asarray(vectors, np.float32))
            if classes is not None and name not in accuracy:
                accuracy[name] = measure_accuracy(vectors, classes)
            for size in SIZES:
                if size <= 1.5 * len(vectors):
                    rng = np.random.default_rng(seed)
                    rows = rng.permutation(len(vectors))[:size]
                    measured = measure_signs(vectors[rows], rng=rng)
                    assert measured is not None
                    signs.setdefault(name, []).append(measured)
    print("| vectors | accuracy | agreement above chance | hubness | weak |\n|---|---|---|---|---|")
    for name, each in signs.items():
        above = spell([sign.above_chance for sign in each])
        hubs = spell([sign.hubness for sign in each])
        right = f"{accuracy[name]:.2f}"[1:] if name in accuracy else ""
        weak = f"{sum(sign.are_weak for sign in each)} of {len(each)}"
        print(f"| {name} | {right} | {above} | {hubs} | {weak} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
