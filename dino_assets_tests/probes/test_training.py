"""Logistic and linear probes: what they learn, equal bytes, and real aerial vectors."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from dino_assets.probes.linear import BATCH, LEARNING_RATE, train_linear
from dino_assets.probes.logistic import STRENGTHS, choose_strength, train_logistic
from dino_assets.probes.records import Probe, TrainingSet, fit_preparation, prepare
from dino_assets.probes.uncertainty import draw_groups, measure_uncertainty
from dino_assets_tests.conftest import REPOSITORY

AERIAL = Path(os.path.realpath(REPOSITORY)).parent / "shared" / "features" / "aerial-1400.npz"


def draw_set(seed: int = 0, *, sizes: tuple[int, ...] = (30, 30, 30), dims: int = 8) -> TrainingSet:
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(0, 3, (len(sizes), dims))
    classes = np.repeat(np.arange(len(sizes)), sizes)
    vectors = centers[classes] + rng.normal(0, 1, (len(classes), dims))
    return TrainingSet(vectors.astype(np.float32), classes, tuple("abcdef"[: len(sizes)]))


def measure_recalls(probe: Probe, labelled: TrainingSet) -> np.ndarray:
    is_right = probe.predict(labelled.vectors).argmax(axis=1) == labelled.classes
    return np.array(
        [is_right[labelled.classes == c].mean() for c in set(labelled.classes.tolist())]
    )


@pytest.mark.parametrize("train", [train_logistic, partial(train_linear, epochs=200)])
def test_train__separates_what_can_be_separated(train):
    probe = train(draw_set())
    assert measure_recalls(probe, draw_set(1)).min() > 0.8
    probabilities = probe.predict(draw_set(1).vectors)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("train", [train_logistic, train_linear])
def test_train__equal_inputs_give_equal_bytes(train):
    one, other = train(draw_set(), seed=1), train(draw_set(), seed=1)
    for name in ("weights", "bias", "center"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    torch.manual_seed(7)
    assert train(draw_set(), seed=1).weights.tobytes() == one.weights.tobytes()


@pytest.mark.parametrize("train", [train_logistic, train_linear])
@pytest.mark.parametrize("present", [[0], [0, 2], [0, 1, 2]])
def test_train__a_class_without_a_label_is_not_predicted(train, present):
    every = draw_set()
    labelled = every.take(np.flatnonzero(np.isin(every.classes, present)))
    probabilities = train(labelled).predict(every.vectors)
    absent = [each for each in range(3) if each not in present]
    assert probabilities.shape == (90, 3)
    assert probabilities[:, absent].max(initial=0) < 1e-6
    assert set(probabilities.argmax(axis=1).tolist()) <= set(present)


def test_train_logistic__two_classes_are_those_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    labelled = draw_set(sizes=(20, 50))
    probe = train_logistic(labelled, strength=3.0)
    ready = fit_preparation(labelled.vectors)
    rows = prepare(labelled.vectors, ready.center, ready.scale)
    model = LogisticRegression(C=3.0, class_weight="balanced").fit(rows, labelled.classes)
    np.testing.assert_allclose(
        probe.predict(labelled.vectors), model.predict_proba(rows), atol=2e-3
    )


def test_train_linear__is_the_layer_that_torch_trains():
    """The same loop as in the documents, from the same start and in the same order, gives the same weights."""
    labelled = draw_set()
    probe = train_linear(labelled, epochs=2, seed=5)
    ready = fit_preparation(labelled.vectors)
    rows = prepare(labelled.vectors, ready.center, probe.scale).astype(np.float32)
    rng = np.random.default_rng(5)
    orders = [rng.permutation(90) for _ in range(2)]
    begin = rng.uniform(-(8**-0.5), 8**-0.5, (3, 9)).astype(np.float32)
    layer = torch.nn.Linear(8, 3)
    layer.load_state_dict({"weight": torch.tensor(begin[:, 1:]), "bias": torch.tensor(begin[:, 0])})
    optimizer = torch.optim.Adam(layer.parameters(), lr=LEARNING_RATE)
    for order in orders:
        for first in range(0, 90, BATCH):
            batch = order[first : first + BATCH]
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(
                layer(torch.tensor(rows[batch])), torch.tensor(labelled.classes[batch])
            )
            loss.backward()
            optimizer.step()
    np.testing.assert_allclose(probe.weights, layer.weight.detach().numpy(), atol=1e-6)
    assert (LEARNING_RATE, BATCH) == (1e-3, 32)


def test_class_weights__a_rare_class_counts_as_much_as_a_frequent_one():
    rng = np.random.default_rng(0)
    classes = np.repeat([0, 1], [190, 10])
    vectors = (
        rng.normal(0, 1, (200, 4)) + np.array([3, 0, 0, 0]) + classes[:, None] * [0, 1.2, 0, 0]
    )
    labelled = TrainingSet(vectors.astype(np.float32), classes, ("often", "rare"))
    balanced = measure_recalls(train_logistic(labelled, strength=1.0), labelled)
    plain = measure_recalls(train_logistic(labelled, strength=1.0, class_weights="none"), labelled)
    assert balanced[1] > plain[1] + 0.3


def test_predict__does_not_depend_on_the_length_or_the_number_of_vectors():
    probe = train_logistic(draw_set(), strength=1.0)
    vectors = draw_set(2).vectors
    whole = probe.predict(vectors)
    np.testing.assert_array_equal(probe.predict(vectors[:7]), whole[:7])
    np.testing.assert_allclose(probe.predict(vectors * 8), whole, atol=1e-6)


def test_fit_preparation__vectors_of_one_direction_are_spread():
    """Random weights give vectors with cosines of .999; the probe sees the differences."""
    rng = np.random.default_rng(0)
    labelled = draw_set()
    narrow = 1000 * rng.normal(0, 1, 8) + labelled.vectors
    probe = train_logistic(TrainingSet(narrow.astype(np.float32), labelled.classes, tuple("abc")))
    assert measure_recalls(probe, TrainingSet(narrow.astype(np.float32), labelled.classes, tuple("abc"))).min() > 0.8  # fmt: skip
    same = np.ones((4, 8), np.float32)
    assert fit_preparation(same).scale > 0


def test_choose_strength__strong_penalty_for_noise_weak_one_for_signal():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 2, 60)
    noise = TrainingSet(rng.normal(0, 1, (60, 40)).astype(np.float32), classes, ("a", "b"))
    assert choose_strength(noise, np.arange(60)) == STRENGTHS[0]
    assert choose_strength(draw_set(sizes=(60, 60)), np.arange(120)) > STRENGTHS[0]
    assert choose_strength(noise, np.zeros(60, int)) in STRENGTHS  # nothing can be held out


@pytest.mark.skipif(not AERIAL.exists(), reason="the shared features are not here")
def test_train__aerial_pictures():
    """Real vectors: both probes beat the 5 nearest neighbours of all others (.82) with half the labels."""
    with np.load(AERIAL) as file:
        vectors, classes = file["vectors"].astype(np.float32), file["classes"].astype(np.int64)
    order = np.random.default_rng(0).permutation(len(classes))
    names = tuple(str(each) for each in range(7))
    half, rest = (TrainingSet(vectors[rows], classes[rows], names) for rows in (order[:700], order[700:]))  # fmt: skip
    logistic = measure_recalls(train_logistic(half), rest).mean()
    assert logistic > 0.86
    assert measure_recalls(train_linear(half), rest).mean() > 0.84


def test_measure_uncertainty__by_hand():
    likely = np.array([[1, 0], [0.5, 0.5], [0.75, 0.25]], np.float32)
    others = [likely, np.array([[1, 0], [0.5, 0.5], [0.25, 0.75]], np.float32)]
    uncertainty = measure_uncertainty(likely, others)
    np.testing.assert_allclose(uncertainty.entropy, [0, 1, 0.8113], atol=1e-4)
    np.testing.assert_allclose(uncertainty.margin, [1, 0, 0.5], atol=1e-6)
    np.testing.assert_allclose(uncertainty.disagreement, [0, 0, 0.25], atol=1e-6)


def test_draw_groups__whole_groups_with_repetition():
    groups = np.array([3, 3, 5, 7, 7, 7])
    rows = draw_groups(groups, rng=np.random.default_rng(0))
    counts = np.bincount(rows, minlength=6)
    for group in (3, 5, 7):
        assert len(set(counts[groups == group].tolist())) == 1
    assert counts[[0, 2, 3]].sum() == 3
