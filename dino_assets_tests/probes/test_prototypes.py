"""Prototypes: their quality on real pictures' vectors, their shrinkage, and what is no better than chance."""

import os
from dataclasses import dataclass

import numpy as np
import pytest

from dino_assets.errors import ConfigError, InvalidVectorsError
from dino_assets.probes.prototypes import (
    TileStatistics,
    fit_direction,
    leave_one_out,
    measure_tiles,
    rank_scores,
)
from dino_assets_tests.bench.prototype_table import measure
from dino_assets_tests.conftest import REPOSITORY

FEATURES = REPOSITORY / os.environ.get("DINO_BENCH_FEATURES", "../shared/features/aerial-1400.npz")
SEEDS, EXAMPLES = 20, 5


@dataclass(frozen=True)
class Clusters:
    """Vectors of ten clusters of 60 rows each, with the cluster of each row."""

    vectors: np.ndarray
    classes: np.ndarray
    statistics: TileStatistics

    def rows_of(self, number: int) -> np.ndarray:
        return self.vectors[self.classes == number]


@pytest.fixture(scope="module")
def clusters() -> Clusters:
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(10), 60)
    centres = rng.standard_normal((10, 32))
    vectors = (centres[classes] + rng.standard_normal((600, 32))).astype(np.float32)
    return Clusters(vectors, classes, measure_tiles(vectors))


def test_fit_direction__finds_the_class(clusters):
    direction = fit_direction(clusters.rows_of(3)[:5], clusters.statistics)
    assert direction.shape == (32,)
    assert np.linalg.norm(direction) == pytest.approx(1, abs=1e-6)
    best = np.argsort(-(clusters.statistics.rows @ direction))[:40]
    assert (clusters.classes[best] == 3).mean() > 0.9


def test_fit_direction__one_dimension_by_hand():
    """Along an axis with less variance, the same distance from the mean counts more."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    spread = np.stack([np.cos(angles) * 0.4, np.sin(angles) * 0.1, np.ones(40)], 1)
    statistics = measure_tiles(spread)
    example = np.array([0.2, 0.2, 1.0]) / np.linalg.norm([0.2, 0.2, 1.0])
    few = fit_direction(np.tile(example, (3, 1)), statistics)
    many = fit_direction(np.tile(example, (100, 1)), statistics)
    assert 1 < few[1] / few[0] < many[1] / many[0]


def test_fit_direction__counterexamples_turn_it_away(clusters):
    examples = clusters.rows_of(3)[:5]
    plain = fit_direction(examples, clusters.statistics)
    turned = fit_direction(examples, clusters.statistics, unlike=clusters.rows_of(7)[:3])
    other = clusters.statistics.rows[clusters.classes == 7]
    assert (other @ turned).mean() < (other @ plain).mean()
    own = clusters.statistics.rows[clusters.classes == 3]
    assert (own @ turned).mean() > (clusters.statistics.rows @ turned).mean()


def test_fit_direction__too_few_examples(clusters):
    with pytest.raises(ConfigError) as caught:
        fit_direction(clusters.vectors[:2], clusters.statistics)
    assert (caught.value.setting, caught.value.value) == ("examples", 2)


def test_measure_tiles__too_few_tiles(clusters):
    with pytest.raises(ConfigError) as caught:
        measure_tiles(clusters.vectors[:19])
    assert (caught.value.setting, caught.value.value) == ("tiles", 19)


def test_fit_direction__examples_without_a_direction():
    vectors = np.tile(np.eye(4, dtype=np.float32)[:1], (30, 1))
    with pytest.raises(InvalidVectorsError):
        fit_direction(vectors[:3], measure_tiles(vectors))


def test_leave_one_out__examples_of_one_class_are_better_than_chance(clusters):
    result = leave_one_out(
        clusters.rows_of(3)[:5], clusters.statistics, rng=np.random.default_rng(0)
    )
    assert len(result.percentiles) == 5
    assert min(result.percentiles) > 80
    assert result.is_better_than_chance


@pytest.mark.parametrize("count", [3, 5, 10])
def test_leave_one_out__random_tiles_are_seldom_better_than_chance(clusters, count):
    rng = np.random.default_rng(count)
    alarms = [
        leave_one_out(
            clusters.vectors[rng.permutation(600)[:count]],
            clusters.statistics,
            rng=np.random.default_rng(0),
        ).is_better_than_chance
        for _ in range(100)
    ]
    assert sum(alarms) <= 12


def test_leave_one_out__is_repeatable(clusters):
    one, other = (
        leave_one_out(clusters.rows_of(1)[:4], clusters.statistics, rng=np.random.default_rng(7))
        for _ in range(2)
    )
    assert one == other


def test_rank_scores__ties_count_half():
    assert rank_scores(np.array([0, 2, 5]), np.array([1, 2, 3, 4])).tolist() == [0, 37.5, 100]


@pytest.mark.skipif(not FEATURES.exists(), reason="the measured vectors are not on this machine")
def test_fit_direction__precision_on_aerial_photographs():
    """Five examples of each of seven classes, 20 draws: average precision .715, precision at 50 .877."""
    with np.load(FEATURES) as stored:
        vectors, classes = stored["vectors"].astype(np.float32), stored["classes"]
    average_precision, precision_at_50 = measure(
        fit_direction,
        vectors,
        classes,
        count=EXAMPLES,
        seeds=SEEDS,
    )
    assert average_precision >= 0.70
    assert precision_at_50 >= 0.86
