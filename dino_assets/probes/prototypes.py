"""Prototypes: a class learned from a few examples, as a direction in the space of the tiles' vectors.

The direction leads from the mean of all tiles to the mean of the examples. It is whitened by the covariance of
all tiles, which is shrunk towards a sphere: the fewer examples, the more. Decision 059 compares the rules.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_assets.errors import ConfigError, InvalidVectorsError
from dino_assets.numerics.neighbours import scale_to_unit

_F64 = NDArray[np.float64]
_F32 = NDArray[np.float32]

LEAST_EXAMPLES = 3
LEAST_TILES = 20
# The variance that is added to each direction, as a share of the whole variance, for one example.
SHRINKAGE = 0.5
# Weight of the mean of counterexamples: 1 would move as far from them as towards the examples.
UNLIKE_WEIGHT = 0.2
RANDOM_SETS = 200
MAX_RANDOM_EXAMPLES = 4000  # over all random sets, so that many examples cost no more time
COMPARED_TILES = 1000
SIGNIFICANCE = 0.05


@dataclass(frozen=True, eq=False)
class TileStatistics:
    """Unit vectors (M, D) of a sample of all tiles, their mean (D,), and the axes (D, D) along which they vary.

    ``variances`` (D,) are those along the axes, which are the columns of ``axes``.
    """

    rows: _F32
    mean: _F64
    variances: _F64
    axes: _F64


@dataclass(frozen=True)
class LeaveOneOut:
    """How well examples are recognised by the others.

    ``percentiles`` has one number per example: the percentage of all tiles that are less similar than it to the
    other examples. ``chance`` is the share of random sets of tiles whose members recognise one another as well.
    """

    percentiles: tuple[float, ...]
    chance: float

    @property
    def is_better_than_chance(self) -> bool:
        """Whether few random sets are as alike as the examples."""
        return self.chance <= SIGNIFICANCE


def measure_tiles(vectors: NDArray[np.floating]) -> TileStatistics:
    """Measure the mean and the covariance of a sample (M, D) of all tiles.

    Raises:
        ConfigError: there are fewer than 20 tiles.
    """
    if len(vectors) < LEAST_TILES:
        raise ConfigError(
            f"{len(vectors)} tiles are embedded, expected at least {LEAST_TILES}: a prototype compares examples "
            "with all tiles. Embed more drops",
            setting="tiles",
            value=len(vectors),
        )
    rows = scale_to_unit(np.asarray(vectors))
    mean = rows.mean(axis=0, dtype=np.float64)
    centred = rows - mean.astype(np.float32)
    variances, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(rows))
    return TileStatistics(rows, mean, np.maximum(variances, 0), axes)


def fit_direction(
    examples: NDArray[np.floating],
    statistics: TileStatistics,
    *,
    unlike: NDArray[np.floating] | None = None,
) -> _F32:
    """Compute the direction (D,) of a class from its examples (E, D) and counterexamples (K, D).

    A larger cosine of a tile's vector with the direction means that the tile is more likely of the class.

    Raises:
        ConfigError: there are fewer than 3 examples.
        InvalidVectorsError: the examples have no direction, because they equal the mean of all tiles.
    """
    check_examples(len(examples))
    mean = scale_to_unit(np.asarray(examples)).mean(axis=0, dtype=np.float64)
    aim = mean - statistics.mean
    if unlike is not None and len(unlike):
        other = scale_to_unit(np.asarray(unlike)).mean(axis=0, dtype=np.float64)
        aim = aim - UNLIKE_WEIGHT * (other - statistics.mean)
    scales = _shrink(statistics, len(examples))
    direction = statistics.axes @ ((aim @ statistics.axes) / scales)
    length = float(np.linalg.norm(direction))
    if not np.isfinite(length) or length == 0:
        raise InvalidVectorsError(
            "the examples have no direction: their mean is the mean of all tiles. Give examples that resemble "
            "one another more than they resemble other tiles"
        )
    return np.asarray(direction / length, np.float32)


def check_examples(count: int) -> None:
    """Check that there are enough examples for a prototype.

    Raises:
        ConfigError: there are fewer than 3.
    """
    if count < LEAST_EXAMPLES:
        raise ConfigError(
            f"{count} different examples were given, expected at least {LEAST_EXAMPLES}: with fewer, nothing "
            "shows how much they vary. For one example, use `dino-assets find`",
            setting="examples",
            value=count,
        )


def leave_one_out(
    examples: NDArray[np.floating], statistics: TileStatistics, *, rng: np.random.Generator
) -> LeaveOneOut:
    """Measure how well each example is recognised by the others, and how often random tiles are as alike."""
    check_examples(len(examples))
    count = len(examples)
    scales = np.sqrt(_shrink(statistics, count - 1))
    whitening, mean = (
        (statistics.axes / scales).astype(np.float32),
        statistics.mean.astype(np.float32),
    )

    def whiten(rows: NDArray[np.floating]) -> _F32:
        return np.asarray((rows - mean) @ whitening)

    tiles = statistics.rows
    if len(tiles) > COMPARED_TILES:
        tiles = tiles[np.sort(rng.permutation(len(tiles))[:COMPARED_TILES])]
    tiles = whiten(tiles)
    own = _rank_left_out(whiten(scale_to_unit(np.asarray(examples)))[None], tiles)[0]
    sets = max(round(2 / SIGNIFICANCE), min(RANDOM_SETS, MAX_RANDOM_EXAMPLES // count))
    drawn = np.stack([rng.permutation(len(tiles))[:count] for _ in range(sets)])
    random = _rank_left_out(tiles[drawn], tiles).mean(axis=1)
    as_good = int((random >= own.mean()).sum())
    return LeaveOneOut(tuple(float(each) for each in own.round(2)), (1 + as_good) / (1 + sets))


def rank_scores(scores: NDArray[np.floating], among: NDArray[np.floating]) -> _F64:
    """Compute the percentage of numbers ``among`` others that are below each score; ties count half."""
    ordered = np.sort(among)
    below = np.searchsorted(ordered, scores, side="left") + np.searchsorted(
        ordered, scores, side="right"
    )
    return np.asarray(50.0 * below / max(len(ordered), 1))


def _shrink(statistics: TileStatistics, examples: int) -> _F64:
    """Compute the variances (D,) along the axes, shrunk towards a sphere; the fewer examples, the more."""
    sphere = SHRINKAGE * float(statistics.variances.sum()) / examples
    return statistics.variances + (sphere or 1.0)


def _rank_left_out(members: _F32, tiles: _F32) -> _F64:
    """Rank each member of sets (S, E, D) among the tiles by the others of its set; return percentages (S, E)."""
    directions = members.sum(axis=1, keepdims=True) - members
    own = (members * directions).sum(axis=2).ravel()
    # One product for all sets: 200 small ones take five times as long.
    are_less = tiles @ directions.reshape(len(own), -1).T < own
    return np.asarray(100 * are_less.mean(axis=0)).reshape(members.shape[:2])
