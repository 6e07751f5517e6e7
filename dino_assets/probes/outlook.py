"""Outlook: what the next labels would buy in accuracy, and what they would cost in time.

Accuracy is extrapolated by a power law that saturates: a(n) = top - loss · (n / N)^-power.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_assets.probes.replaying import (
    LabelledVectors,
    Predictor,
    make_splits,
    measure_macro_accuracy,
)

NEXT = 100
SEEDS = 40
STEPS = 8  # sizes of the curve that is extrapolated
WIDEST = 0.1  # of a band; a wider one says nothing that helps to decide
MIN_TIMED = 20  # answers
LONGEST_S = 300.0  # a longer answer is a break
_POWERS = np.geomspace(0.1, 2.0, 25)
_RESAMPLES = 400
# A fit is repeated on so few seeds. All seeds share the same labelled tiles, so their mean is much less certain
# than the spread of a mean of 40 suggests. By Nadeau and Bengio, with 30 % held out, 40 seeds are worth 2.2.
_SEEDS_WORTH = 2
# The next labels are one draw, luckier or unluckier than the mean. Its spread is about a third of that of the last
# step of the curve between seeds, which also has the spread of small held-out ground. Measured on aerial pictures
# and confirmed on digits: see docs/decisions/058.
_DRAW_SHARE = 1 / 3


@dataclass(frozen=True)
class Outlook:
    """The gain in macro accuracy of the next labels with its 90 % band, and the accuracy with all labels now."""

    labels: int
    now: float
    gain: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the band is narrow enough to decide by: at most ``WIDEST`` wide."""
        return self.high - self.low <= WIDEST


@dataclass(frozen=True)
class Cost:
    """The hours that the next labels take, with a 95 % band, from the ``answers`` whose time was measured."""

    answers: int
    hours: float
    low: float
    high: float


def extrapolate(labelled: LabelledVectors, predict: Predictor, *, seeds: int = SEEDS) -> Outlook:
    """Extrapolate what ``NEXT`` further labels would add if they were chosen at random.

    Raises:
        TooFewLabelsError: there are too few tiles, classes or blocks.
    """
    labelled, splits = make_splits(labelled, seeds=seeds)
    most = min(len(pool) for pool, _ in splits)
    sizes = np.unique(np.geomspace(max(20, most / 8), most, STEPS).round().astype(np.int64))
    accuracies = np.empty((seeds, len(sizes)))
    for seed, (pool, held_rows) in enumerate(splits):
        order, held = np.random.default_rng(seed).permutation(pool), labelled.take(held_rows)
        for column, size in enumerate(sizes.tolist()):
            seen = labelled.take(order[:size])
            predicted = predict(seen.vectors, seen.classes, held.vectors)
            accuracies[seed, column] = measure_macro_accuracy(predicted, held.classes)
    return fit_outlook(sizes, accuracies, labels=len(labelled))


def fit_outlook(
    sizes: NDArray[np.int64], accuracies: NDArray[np.float64], *, labels: int
) -> Outlook:
    """Fit the power law to accuracies (seeds, sizes), and compute the gain of ``NEXT`` labels after ``labels``."""
    rng = np.random.default_rng(0)
    now, gain = _fit(sizes, accuracies.mean(axis=0, keepdims=True), labels)
    some = rng.integers(0, len(accuracies), (_RESAMPLES, _SEEDS_WORTH))
    _, gains = _fit(sizes, accuracies[some].mean(axis=1), labels)
    last_step = accuracies[:, -1] - accuracies[:, -2]
    gains += rng.normal(scale=_DRAW_SHARE * last_step.std(ddof=1), size=_RESAMPLES)
    low, high = np.quantile(gains, [0.05, 0.95])
    return Outlook(labels, float(now[0]), float(gain[0]), float(low), float(high))


def _fit(
    sizes: NDArray[np.int64], curves: NDArray[np.float64], labels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit each curve (R, sizes) by least squares, and return its accuracy at ``labels`` and its gain after that.

    Of the law's three numbers, the power is searched on a grid. The two others follow in closed form.
    """
    weights = np.sqrt(sizes) / np.sqrt(sizes).sum()  # accuracy varies less with more labels
    best = np.full(len(curves), math.inf)
    now, gain = np.zeros(len(curves)), np.zeros(len(curves))
    for power in _POWERS:
        falling = (sizes / labels) ** -power
        middle, level = float(weights @ falling), curves @ weights
        apart = falling - middle
        loss = -((curves - level[:, None]) * apart) @ weights / float(weights @ apart**2)
        loss = np.maximum(loss, 0.0)
        top = level + loss * middle
        # Accuracy cannot pass 1. There, only the loss is fitted.
        at_most = (1 - curves) @ (weights * falling) / float(weights @ falling**2)
        loss, top = np.where(top > 1, at_most, loss), np.minimum(top, 1.0)
        error = (curves - top[:, None] + loss[:, None] * falling) ** 2 @ weights
        is_better = error < best
        best = np.where(is_better, error, best)
        now = np.where(is_better, top - loss, now)
        gain = np.where(is_better, loss * (1 - ((labels + NEXT) / labels) ** -power), gain)
    return now, gain


def estimate_cost(seconds: Sequence[float | None]) -> Cost | None:
    """Estimate the hours of ``NEXT`` labels from the seconds that earlier ones took; None if too few were timed.

    Answers without a time are ignored, and so are those above ``LONGEST_S``: somebody took a break.
    """
    timed = np.array([each for each in seconds if each is not None and 0 < each <= LONGEST_S])
    if len(timed) < MIN_TIMED:
        return None
    rng = np.random.default_rng(0)
    means = timed[rng.integers(0, len(timed), (_RESAMPLES, len(timed)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975]) * NEXT / 3600
    return Cost(len(timed), float(timed.mean()) * NEXT / 3600, float(low), float(high))
