"""Scores of a probe on held-out labels: accuracy, classes, calibration, and intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Z = 1.959964  # of a 95 % interval
CALIBRATION_BINS = 10
DRAWS = 1000


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassScore:
    """The scores of one class: its labels, how often it was predicted, precision and recall.

    ``precision`` is None if it was never predicted.
    """

    class_name: str
    labels: int
    predicted: int
    precision: float | None
    recall: Estimate


@dataclass(frozen=True)
class CalibrationBin:
    """Predictions of similar probability: their number, mean probability, and share that are right."""

    low: float
    high: float
    count: int
    probability: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class ProbeScores:
    """Scores on held-out labels.

    ``macro`` is the mean recall over the classes. ``ece`` is the expected calibration error: how far the
    probability of the predicted class is from the share of right predictions, on average. ``largest_share`` is
    the accuracy of a guess that is always the largest class. ``confusion`` (C, C) counts labels by their class
    (rows) and the predicted class (columns).
    """

    labels: int
    accuracy: Estimate
    macro: Estimate
    ece: float
    largest_share: float
    classes: tuple[ClassScore, ...]
    bins: tuple[CalibrationBin, ...]
    confusion: NDArray[np.int64]


def score_predictions(
    probabilities: NDArray[np.floating],
    classes: NDArray[np.int64],
    class_names: Sequence[str],
    groups: NDArray[np.int64],
    *,
    seed: int = 0,
) -> ProbeScores:
    """Score probabilities (N, C) of held-out labels whose classes (N,) are known.

    Labels of one group (N,) resemble each other, so the intervals of accuracy and macro accuracy are drawn
    from whole groups.
    """
    predicted = probabilities.argmax(axis=1)
    count = len(class_names)
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (classes, predicted), 1)
    rights = confusion.diagonal()
    bins = bin_probabilities(probabilities.max(axis=1), predicted == classes)
    accuracy, macro = _draw_groups(classes, predicted == classes, groups, seed=seed)
    per_class = tuple(
        ClassScore(
            name,
            int(confusion[row].sum()),
            int(confusion[:, row].sum()),
            float(rights[row] / confusion[:, row].sum()) if confusion[:, row].sum() else None,
            estimate_share(int(rights[row]), int(confusion[row].sum())),
        )
        for row, name in enumerate(class_names)
    )
    return ProbeScores(
        labels=len(classes),
        accuracy=accuracy,
        macro=macro,
        ece=measure_ece(bins),
        largest_share=float(confusion.sum(axis=1).max() / len(classes)),
        classes=per_class,
        bins=bins,
        confusion=confusion,
    )


def estimate_share(count: int, total: int) -> Estimate:
    """Estimate a share with its Wilson interval; without any it may be everything from 0 to 1."""
    if not total:
        return Estimate(0.0, 0.0, 1.0)
    share, z2 = count / total, _Z * _Z / total
    middle = (share + z2 / 2) / (1 + z2)
    half = _Z * math.sqrt(share * (1 - share) / total + z2 / (4 * total)) / (1 + z2)
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half))


def bin_probabilities(
    probabilities: NDArray[np.floating], are_right: NDArray[np.bool_]
) -> tuple[CalibrationBin, ...]:
    """Sort predictions into bins of equal width by their probability; empty bins are left out."""
    places = np.minimum((probabilities * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return tuple(
        CalibrationBin(
            place / CALIBRATION_BINS,
            (place + 1) / CALIBRATION_BINS,
            int((places == place).sum()),
            float(probabilities[places == place].mean(dtype=np.float64)),
            float(are_right[places == place].mean()),
        )
        for place in np.unique(places).tolist()
    )


def measure_ece(bins: Sequence[CalibrationBin]) -> float:
    """Measure the expected calibration error: the mean distance of probability and accuracy over the bins."""
    total = sum(each.count for each in bins)
    return sum(each.count * abs(each.probability - each.accuracy) for each in bins) / max(total, 1)


def _draw_groups(
    classes: NDArray[np.int64],
    are_right: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    seed: int,
) -> tuple[Estimate, Estimate]:
    """Estimate accuracy and macro accuracy, with intervals from ``DRAWS`` draws of groups (bootstrap).

    With one group there is nothing to draw, so the interval is Wilson's.
    """
    count = int(classes.max()) + 1
    numbers = np.unique(groups, return_inverse=True)[1]
    labels = np.zeros((numbers.max() + 1, count))
    rights = np.zeros_like(labels)
    np.add.at(labels, (numbers, classes), 1)
    np.add.at(rights, (numbers, classes), are_right)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), DRAWS)
    results = []
    for measure in (_measure_accuracy, _measure_macro):
        value = float(measure(rights.sum(axis=0)[None], labels.sum(axis=0)[None])[0])
        if len(labels) < 2:
            wilson = estimate_share(round(value * len(classes)), len(classes))
            results.append(Estimate(value, wilson.low, wilson.high))
            continue
        weights = draws.astype(np.float64)
        drawn = measure(weights @ rights, weights @ labels)
        low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
        results.append(Estimate(value, min(low, value), max(high, value)))
    return results[0], results[1]


def _measure_accuracy(
    rights: NDArray[np.float64], labels: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.asarray(rights.sum(axis=1) / labels.sum(axis=1))


def _measure_macro(rights: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure the mean recall over the classes that have labels."""
    recalls = np.divide(rights, labels, out=np.zeros_like(rights), where=labels > 0)
    return np.asarray(recalls.sum(axis=1) / (labels > 0).sum(axis=1))
