"""Detection, without labels, of vectors whose distances mean nothing: two halves of the dimensions are compared.

In useful vectors, the nearest tiles by one half are also near by the other half. In noise, both halves agree
only as often as two random lists.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.numerics.neighbours import find_neighbours, scale_to_unit

NEIGHBOURS = 10
LEAST_ROWS = (
    100  # in a smaller pool, two random lists of ten agree in a tenth or more of their entries
)
MOST_ROWS = 2048  # a sample of larger pools: 1.9 s of one core at 1,024 dimensions
# Agreement above chance, as a share of what is possible. Noise has at most 0.07, and useful vectors have at least
# 0.29 (decision 055).
WEAK_AGREEMENT = 0.15

_SAME = 1e-6  # unit vectors of float32 that differ by less are equal but for rounding


@dataclass(frozen=True)
class FeatureSigns:
    """Figures of a sample of ``rows``: how often both halves name the same neighbours, chance, hubness.

    ``agreement`` is the share of the ten nearest rows by one half of the dimensions that are among the ten
    nearest by the other half. ``hubness`` is a skewness: that of the number of rows to which a row is among
    the ten nearest. It is near 0 if this number is similar for all rows, and large if a few rows are near
    everything. It does not decide, because noise may have a lower hubness than useful vectors.
    """

    agreement: float
    chance: float
    hubness: float
    rows: int

    @property
    def above_chance(self) -> float:
        """The agreement above chance, as a share of what is possible: 0 for noise, 1 for equal halves."""
        return (self.agreement - self.chance) / (1 - self.chance)

    @property
    def are_weak(self) -> bool:
        """Whether neighbours are no better than chance."""
        return self.above_chance < WEAK_AGREEMENT


def measure_signs(
    vectors: NDArray[np.float32], *, rng: np.random.Generator, most_rows: int = MOST_ROWS
) -> FeatureSigns | None:
    """Measure signs of weak features of unit vectors (N, D); None if there are too few rows or dimensions.

    ``rng`` draws the sample of a large pool, and the halves of the dimensions.
    """
    if len(vectors) < LEAST_ROWS or vectors.shape[1] < 2:
        return None
    rows = np.arange(len(vectors))
    if len(rows) > most_rows:
        rows = np.sort(rng.choice(rows, most_rows, replace=False))
    sample = scale_to_unit(vectors[rows])
    # What all rows share has no part in which rows are near, but it adds rounding and hubs.
    sample -= sample.mean(axis=0)
    if np.abs(sample).max() < _SAME:
        # All rows are one point. Their order alone would decide which are near, in both halves alike.
        chance = round(NEIGHBOURS / (len(sample) - 1), 4)
        return FeatureSigns(chance, chance, 0.0, len(sample))
    halves = np.array_split(rng.permutation(sample.shape[1]), 2)
    one, other = (_find(sample[:, np.sort(half)]) for half in halves)
    both = [np.isin(a, b).mean() for a, b in zip(one, other, strict=True)]
    return FeatureSigns(
        agreement=round(float(np.mean(both)), 4),
        chance=round(NEIGHBOURS / (len(sample) - 1), 4),
        hubness=round(_measure_skew(np.bincount(_find(sample).ravel(), minlength=len(sample))), 2),
        rows=len(sample),
    )


def _find(sample: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.asarray(find_neighbours(sample, NEIGHBOURS, metric="euclidean").indices)


def _measure_skew(counts: NDArray[np.int64]) -> float:
    deviations = counts - counts.mean()
    spread = float(deviations.std())
    return float((deviations**3).mean()) / spread**3 if spread else 0.0


def describe_signs(signs: FeatureSigns | None) -> dict[str, Any]:
    """Return the signs as facts, with a sentence if the features are weak."""
    if signs is None:
        return {}
    facts: dict[str, Any] = {"features": asdict(signs)}
    if signs.are_weak:
        facts["weak_features"] = (
            f"distances are no better than chance: the two halves of a vector's numbers disagree on which "
            f"tiles are nearest. They agree in {signs.agreement:.1%} of cases; by chance it would be "
            f"{signs.chance:.1%}. "
            "No strategy can be better than random here; use a model that suits the pictures"
        )
    return facts
