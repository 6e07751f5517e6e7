"""What the next labels buy and cost."""

import numpy as np
import pytest

from dino_assets.probes.curve_words import describe_cost, describe_outlook
from dino_assets.probes.outlook import (
    LONGEST_S,
    MIN_TIMED,
    NEXT,
    Outlook,
    estimate_cost,
    extrapolate,
    fit_outlook,
)
from dino_assets.probes.replaying import LabelledVectors, measure_macro_accuracy
from dino_assets.probes.ridge import predict_by_ridge
from dino_assets_tests.probes.labelled_sets import draw_labelled, read_aerial, read_digits

SIZES = np.array([20, 40, 80, 120, 160, 200])


def test_fit_outlook__power_law_is_continued():
    law = 0.9 - 0.3 * (SIZES / 300) ** -0.5
    outlook = fit_outlook(SIZES, np.stack([law] * 10), labels=300)
    assert outlook.now == pytest.approx(0.6, abs=0.005)
    assert outlook.gain == pytest.approx(0.3 * (1 - (4 / 3) ** -0.5), abs=0.004)
    # Ten equal curves: all three are one number, computed in three ways.
    assert outlook.low == pytest.approx(outlook.gain)
    assert outlook.high == pytest.approx(outlook.gain)
    assert outlook.is_clear


def test_fit_outlook__flat_curve_promises_nothing():
    outlook = fit_outlook(SIZES, np.full((10, len(SIZES)), 0.7), labels=300)
    assert outlook.gain == pytest.approx(0, abs=1e-9)


def test_fit_outlook__accuracy_does_not_pass_1():
    rising = np.linspace(0.5, 0.99, len(SIZES))
    outlook = fit_outlook(SIZES, np.stack([rising] * 10), labels=300)
    assert outlook.now + outlook.gain <= 1


def test_fit_outlook__noisy_curves_cannot_tell():
    noisy = np.random.default_rng(0).uniform(0.2, 0.9, (10, len(SIZES)))
    outlook = fit_outlook(SIZES, noisy, labels=300)
    assert not outlook.is_clear
    assert "cannot tell" in describe_outlook(outlook)


def test_describe_outlook__clear_band_names_points():
    assert "+1.2 points" in describe_outlook(Outlook(300, 0.8, 0.012, 0.001, 0.03))


def test_extrapolate__equal_labels_give_equal_outlooks():
    labelled = draw_labelled(100)
    assert extrapolate(labelled, predict_by_ridge, seeds=6) == extrapolate(
        labelled, predict_by_ridge, seeds=6
    )


@pytest.mark.slow
@pytest.mark.parametrize("labels", [100, 200])
@pytest.mark.parametrize("name", ["vectors", "colours", "digits"])
def test_extrapolate__band_covers_what_held_back_labels_buy(name: str, labels: int):
    """9 of 10 are promised; of 20 draws, 15 or fewer would happen in 4 % of cases."""
    everything = read_digits() if name == "digits" else read_aerial(name)
    covered = 0
    for seed in range(20):
        order = np.random.default_rng(500 + seed).permutation(len(everything))
        now, later, test = np.split(order, [labels, labels + NEXT])
        labelled = everything.take(now)
        outlook = extrapolate(
            LabelledVectors(labelled.vectors, labelled.classes, np.arange(labels)),
            predict_by_ridge,
            seeds=24,
        )
        before, after = (
            measure(everything, rows, test) for rows in (now, np.concatenate([now, later]))
        )
        covered += outlook.low <= after - before <= outlook.high
    print(f"{name}, {labels} labels: {covered} of 20 covered")
    assert covered >= 16


def measure(everything: LabelledVectors, rows: np.ndarray, test: np.ndarray) -> float:
    vectors, classes = everything.vectors, everything.classes
    predicted = predict_by_ridge(vectors[rows], classes[rows], vectors[test])
    return measure_macro_accuracy(predicted, classes[test])


def test_estimate_cost__hours_of_the_next_labels():
    cost = estimate_cost([9.0, 11.0] * 50)
    assert cost is not None
    assert cost.answers == 100
    assert cost.hours == pytest.approx(10 * NEXT / 3600)
    assert cost.low < cost.hours < cost.high
    assert "measured answers" in describe_cost(cost)


def test_estimate_cost__breaks_and_unmeasured_answers_do_not_count():
    cost = estimate_cost([*[10.0] * MIN_TIMED, None, 0.0, LONGEST_S + 1])
    assert cost is not None
    assert (cost.answers, cost.hours) == (MIN_TIMED, pytest.approx(10 * NEXT / 3600))


def test_estimate_cost__too_few_measured_answers_cannot_tell():
    assert estimate_cost([10.0] * (MIN_TIMED - 1)) is None
    assert "unknown" in describe_cost(None)
