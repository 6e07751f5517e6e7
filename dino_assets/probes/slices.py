"""Slices: groups of labelled tiles, such as those of one camera or hour, in which a probe is worse than elsewhere."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_LABELS = 5  # a smaller slice is not tested
ALPHA = 0.05  # chance that any slice at all is called worse although none is
_Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations


@dataclass(frozen=True)
class Slice:
    """Labelled tiles with one value of one attribute, and how many of them a probe predicted right.

    ``share`` is of all labelled tiles. ``low`` and ``high`` are Wilson's 95 % interval of the accuracy. ``p`` is the
    chance of as many errors if the slice were like all tiles, corrected for the number of slices by Holm's method.
    """

    attribute: str
    value: str
    labels: int
    share: float
    accuracy: float
    low: float
    high: float
    p: float
    is_worse: bool


def rank_slices(
    is_right: NDArray[np.bool_],
    attributes: Mapping[str, Sequence[str | None]],
    *,
    blocks: NDArray[np.int64] | None = None,
    alpha: float = ALPHA,
) -> list[Slice]:
    """Rank the slices of labelled tiles (N,), the least explicable by chance first.

    Each attribute has one value per tile, or None where it is unknown. An attribute that has the same value
    everywhere makes no slice. Tiles of one block of ground are often right or wrong together. With ``blocks``, each
    label therefore counts as a fraction of one (``measure_design_effect``), in intervals and in ``p``.
    """
    groups = [
        (name, value, rows)
        for name, values in attributes.items()
        for value, rows in _group_rows(values)
        if MIN_LABELS <= len(rows) < len(is_right)
    ]
    effects = [
        1.0 if blocks is None else measure_design_effect(_subtract_means(is_right, rows), blocks)
        for _, _, rows in groups
    ]
    rate = float((~is_right).mean())
    chances = [
        compute_chance(int((~is_right[rows]).sum()), len(rows), rate, effect)
        for (_, _, rows), effect in zip(groups, effects, strict=True)
    ]
    corrected = correct_for_many(chances)
    order = sorted(range(len(groups)), key=lambda at: (chances[at], groups[at][:2]))
    return [
        _describe(groups[at], is_right, corrected[at], effect=effects[at], alpha=alpha)
        for at in order
    ]


def _subtract_means(is_right: NDArray[np.bool_], rows: list[int]) -> NDArray[np.float64]:
    """Subtract the accuracy of a slice from its rows, and that of the rest from the rest.

    Otherwise a slice that is worse would itself make labels of its blocks resemble each other.
    """
    values, is_inside = is_right.astype(np.float64), np.zeros(len(is_right), bool)
    is_inside[rows] = True
    for part in (is_inside, ~is_inside):
        values[part] -= values[part].mean()
    return values


def measure_design_effect(values: NDArray[np.float64], blocks: NDArray[np.int64]) -> float:
    """Measure how many labels carry the information of one, because labels of a block resemble each other.

    It is 1 + (m - 1) · r: m is the mean number of labels per label's block, and r the correlation within blocks,
    from an analysis of variance; at least 1.
    """
    _, block_of, sizes = np.unique(blocks, return_inverse=True, return_counts=True)
    count, n_blocks = len(values), len(sizes)
    if n_blocks < 2 or n_blocks == count:
        return 1.0
    means = np.bincount(block_of, values) / sizes
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (n_blocks - 1)
    within = float(((values - means[block_of]) ** 2).sum()) / (count - n_blocks)
    per_label = float((sizes**2).sum()) / count
    typical = (count - per_label) / (n_blocks - 1)
    total = between + (typical - 1) * within
    correlation = (between - within) / total if total > 0 else 0.0
    return max(1.0, 1 + (per_label - 1) * correlation)


def measure_wilson(right: float, count: float) -> tuple[float, float]:
    """Measure Wilson's 95 % interval of a share; the counts may be fractions."""
    share, squared = right / count, _Z**2
    middle = (share + squared / (2 * count)) / (1 + squared / count)
    half = _Z * math.sqrt(share * (1 - share) / count + squared / (4 * count**2))
    half /= 1 + squared / count
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def compute_chance(wrong: int, count: int, rate: float, effect: float = 1.0) -> float:
    """Compute the chance of at least ``wrong`` errors among ``count`` labels, if ``rate`` is the usual share of errors.

    It is a one-sided binomial test. Both counts are divided by the design ``effect``: errors that gather in blocks
    prove less.
    """
    from scipy.special import betainc

    if not wrong:
        return 1.0
    return float(betainc(wrong / effect, (count - wrong) / effect + 1, rate))


def correct_for_many(chances: Sequence[float]) -> list[float]:
    """Correct chances for their number by Holm's method, so that any false alarm has the chance asked for."""
    corrected, highest = [0.0] * len(chances), 0.0
    for rank, at in enumerate(sorted(range(len(chances)), key=lambda at: chances[at])):
        highest = max(highest, min(1.0, chances[at] * (len(chances) - rank)))
        corrected[at] = highest
    return corrected


def _group_rows(values: Sequence[str | None]) -> list[tuple[str, list[int]]]:
    rows_of: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        if value is not None:
            rows_of.setdefault(value, []).append(row)
    return sorted(rows_of.items())


def _describe(
    group: tuple[str, str, list[int]],
    is_right: NDArray[np.bool_],
    chance: float,
    *,
    effect: float,
    alpha: float,
) -> Slice:
    name, value, rows = group
    right, count = int(is_right[rows].sum()), len(rows)
    low, high = measure_wilson(right / effect, count / effect)
    return Slice(
        *(name, value, count, count / len(is_right), right / count, low, high, chance),
        is_worse=chance <= alpha,
    )
