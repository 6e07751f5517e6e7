"""Learning curves of strategies."""

from typing import get_args

import numpy as np
import pytest

from dino_assets.errors import TooFewLabelsError
from dino_assets.probes.curve import REPLAYED, Interval, measure_interval, replay_strategies
from dino_assets.probes.curve_words import describe_gain, describe_gains
from dino_assets.probes.ridge import predict_by_ridge
from dino_assets.selections.strategies.names import RoundStrategyName
from dino_assets_tests.probes.labelled_sets import draw_labelled, read_aerial


def test_replayed__every_strategy():
    assert set(get_args(RoundStrategyName)) == set(REPLAYED)


def test_measure_interval__students_interval_of_a_mean():
    interval = measure_interval(np.array([1.0, 2.0, 3.0]))
    assert interval.value == 2
    assert interval.high - 2 == pytest.approx(2 - interval.low)
    assert interval.high - 2 == pytest.approx(4.302653 / np.sqrt(3))


def test_replay_strategies__each_strategy_at_each_budget_on_the_same_ground():
    lines: list[str] = []
    replay = replay_strategies(
        draw_labelled(120), predict_by_ridge, budgets=(10, 20, 500), seeds=2, say=lines.append
    )
    assert replay.budgets == (10, 20)  # the pool has fewer than 500 tiles
    assert set(replay.accuracies) == set(REPLAYED)
    assert len(replay.list_points()) == 2 * len(REPLAYED)
    assert replay.measure_gain("random") == Interval(0, 0, 0)
    assert len(lines) == 2


def test_replay_strategies__equal_seeds_give_equal_curves():
    def measure() -> list[object]:
        settings = {"strategies": ("herding", "hybrid"), "budgets": (10, 20), "seeds": 2}
        return [*replay_strategies(draw_labelled(120), predict_by_ridge, **settings).list_points()]

    assert measure() == measure()


def test_replay_strategies__probe_never_sees_held_out_blocks():
    labelled = draw_labelled(120)
    row_of = {vector.tobytes(): row for row, vector in enumerate(labelled.vectors)}

    def predict(vectors: np.ndarray, classes: np.ndarray, others: np.ndarray) -> np.ndarray:
        trained, held = ([row_of[each.tobytes()] for each in part] for part in (vectors, others))
        assert not set(labelled.blocks[trained]) & set(labelled.blocks[held])
        return predict_by_ridge(vectors, classes, others)

    replay_strategies(labelled, predict, budgets=(10, 20), seeds=3)


def test_replay_strategies__too_few_labels_are_refused():
    with pytest.raises(TooFewLabelsError):
        replay_strategies(draw_labelled(40), predict_by_ridge)


def test_describe_gains__useless_vectors_beat_random_in_few_draws():
    """By chance, an interval of 95 % is above 0 in 2.5 % of draws."""
    claims = 0
    for seed in range(20):
        labelled = draw_labelled(100, seed=seed, noise=100.0)
        replay = replay_strategies(
            labelled, predict_by_ridge, strategies=("herding",), budgets=(10, 20, 35), seeds=8
        )
        claims += replay.measure_gain("herding").is_above_zero
    assert claims <= 3


def test_replay_strategies__herding_beats_random_on_aerial_pictures():
    replay = replay_strategies(
        read_aerial(), predict_by_ridge, strategies=("herding",), budgets=(21, 35, 50), seeds=8
    )
    assert replay.measure_gain("herding").is_above_zero
    points = [point for point in replay.list_points() if point.strategy == "herding"]
    assert [point.budget for point in points] == [21, 35, 50]
    assert all(point.gain_low > 0 for point in points)


def test_replay_strategies__distance_is_harmful_on_weak_vectors_and_the_text_says_so():
    replay = replay_strategies(
        read_aerial("colours"), predict_by_ridge, strategies=("fps",), budgets=(21, 50, 100)
    )
    assert not replay.measure_gain("fps").is_above_zero
    (sentence,) = describe_gains(replay)
    assert "fps" in sentence
    assert "beat random" not in sentence.replace("does not beat random", "")


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (Interval(0.05, 0.01, 0.09), "herding beat random"),
        (Interval(0.01, -0.01, 0.03), "herding does not beat random"),
        (Interval(-0.05, -0.09, -0.01), "herding is worse than random"),
    ],
)
def test_describe_gain__interval_around_0_is_no_gain(gain: Interval, words: str):
    assert describe_gain("herding", gain).startswith(words)
