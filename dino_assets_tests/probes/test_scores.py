"""Scores, intervals, and the pictures of them."""

import io

import numpy as np
import pytest
from PIL import Image

from dino_assets.probes.pictures import draw_calibration, draw_confusion
from dino_assets.probes.scores import ProbeScores, estimate_share, score_predictions

LIKELY = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.2, 0.8, 0], [0.3, 0.7, 0], [0, 0.2, 0.8]])


def score(**changes: object) -> ProbeScores:
    given = {"classes": np.array([0, 1, 1, 1, 2]), "groups": np.arange(5)} | changes
    return score_predictions(LIKELY, given["classes"], ("a", "b", "c"), given["groups"])


def test_score_predictions__by_hand():
    scores = score()
    assert scores.accuracy.value == pytest.approx(0.8)
    assert scores.macro.value == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert scores.largest_share == pytest.approx(0.6)
    assert scores.confusion.tolist() == [[1, 0, 0], [1, 2, 0], [0, 0, 1]]
    first = scores.classes[0]
    assert (first.labels, first.predicted, first.precision, first.recall.value) == (1, 2, 0.5, 1)
    # .9 right, .6 wrong, .8 and .8 right, .7 right
    assert scores.ece == pytest.approx((0.1 + 0.6 + 0.2 + 0.2 + 0.3) / 5)


def test_score_predictions__a_class_that_was_never_predicted_has_no_precision():
    scores = score(classes=np.array([0, 0, 1, 1, 1]))
    assert scores.classes[2].recall.value == 0
    assert scores.macro.value == pytest.approx((1 + 2 / 3) / 2)
    never = score_predictions(LIKELY[:2], np.array([0, 1]), ("a", "b", "c"), np.arange(2))
    assert [each.precision for each in never.classes] == [0.5, None, None]


def test_score_predictions__interval_is_wider_if_labels_of_a_group_resemble_each_other():
    rng = np.random.default_rng(0)
    rights = np.repeat(rng.random(40) < 0.7, 10)
    likely = np.where(rights[:, None], [0.9, 0.1], [0.1, 0.9])
    classes = np.zeros(400, int)
    alone = score_predictions(likely, classes, ("a", "b"), np.arange(400)).accuracy
    grouped = score_predictions(likely, classes, ("a", "b"), np.repeat(np.arange(40), 10)).accuracy
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)
    one = score_predictions(likely, classes, ("a", "b"), np.zeros(400, int)).accuracy
    assert one.low < one.value < one.high


def test_score_predictions__intervals_cover_the_truth():
    """Of 200 draws of 40 groups whose accuracy varies, at least 88 % of the 95 % intervals hold the truth."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        shares = rng.beta(7, 3, 40)
        rights = rng.random((40, 5)) < shares[:, None]
        likely = np.where(rights.reshape(-1, 1), [0.9, 0.1], [0.1, 0.9])
        scores = score_predictions(
            likely, np.zeros(200, int), ("a", "b"), np.repeat(np.arange(40), 5)
        )
        covered += scores.accuracy.low <= 0.7 <= scores.accuracy.high
    assert covered >= 176


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(0, 0, 0, 1), (0, 10, 0, 0.2775), (10, 10, 0.7225, 1), (8, 10, 0.4902, 0.9433)],
)
def test_estimate_share__wilson(count, total, low, high):
    estimate = estimate_share(count, total)
    assert (estimate.low, estimate.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))  # fmt: skip


def test_pictures__open_and_are_reproducible():
    words = {"title": "Probe", "notes": ["note"], "caveat": "The model has random weights"}
    for draw in (draw_confusion, draw_calibration):
        first, again = draw(score(), **words), draw(score(), **words)
        assert first == again
        with Image.open(io.BytesIO(first)) as picture:
            assert min(picture.size) > 300


def test_draw_confusion__many_classes_and_long_names_fit():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 60, 500)
    names = tuple(f"{n} a class with a long name, 火災の煙" for n in range(60))
    scores = score_predictions(rng.dirichlet(np.ones(60), 500), classes, names, np.arange(500))
    with Image.open(io.BytesIO(draw_confusion(scores, title="t", notes=[], caveat=""))) as picture:
        assert max(picture.size) < 2500
