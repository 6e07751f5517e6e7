"""Uncertainty of predictions: entropy, margin, and disagreement of several probes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Uncertainty of N predictions, each number from 0 to 1.

    ``entropy``: 0 if one class is certain, 1 if all classes are equally likely. ``margin``: the probability of
    the likeliest class minus that of the second; small is uncertain. ``disagreement``: the part of the
    probability about which probes trained on other draws of the labels differ.
    """

    entropy: NDArray[np.float32]
    margin: NDArray[np.float32]
    disagreement: NDArray[np.float32]


def measure_uncertainty(
    probabilities: NDArray[np.float32], others: Sequence[NDArray[np.float32]]
) -> Uncertainty:
    """Measure the uncertainty of probabilities (N, C); ``others`` are those of an ensemble of probes.

    The disagreement is the mean distance (total variation) of the ensemble's probabilities from their mean.
    """
    likely = probabilities.astype(np.float64)
    logs = np.log(np.maximum(likely, 1e-12))
    entropy = -(likely * logs).sum(axis=1) / np.log(max(likely.shape[1], 2))
    top = np.sort(likely, axis=1)
    margin = top[:, -1] - top[:, -2] if likely.shape[1] > 1 else top[:, -1]
    disagreement = np.zeros(len(likely))
    if others:
        mean = sum(each.astype(np.float64) for each in others) / len(others)
        for each in others:
            disagreement += np.abs(each - mean).sum(axis=1) / 2 / len(others)
    numbers = [np.clip(each, 0, 1).astype(np.float32) for each in (entropy, margin, disagreement)]
    return Uncertainty(*numbers)


def draw_groups(groups: NDArray[np.int64], *, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw as many groups as there are, with repetition, and return the rows of all of them, ascending."""
    numbers = np.unique(groups)
    times = np.bincount(
        np.searchsorted(numbers, rng.choice(numbers, len(numbers))), minlength=len(numbers)
    )
    return np.repeat(np.arange(len(groups)), times[np.searchsorted(numbers, groups)])
