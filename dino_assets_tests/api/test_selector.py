"""Selectors of the Python API: published signatures and defaults, properties, refusals."""

import inspect
from typing import get_args

import numpy as np
import pytest
import torch

from dino_assets import DiverseImageSelector, UncertaintySelector
from dino_assets.api.selector import FewerThanAskedWarning
from dino_assets.errors import ConfigError, InvalidVectorsError
from dino_assets.selections.strategies.names import StrategyName
from dino_assets_tests.worlds.raising import raising

RNG = np.random.default_rng(5)
POOL = RNG.normal(size=(60, 8)).astype(np.float32)


def test_diverse_image_selector__published_defaults():
    parameters = inspect.signature(DiverseImageSelector).parameters
    assert {name: each.default for name, each in parameters.items()} == {
        "strategy": "hybrid",
        "random_state": 42,
    }
    assert get_args(parameters["strategy"].annotation)[:4] == ("random", "cluster", "fps", "hybrid")
    select_parameters = inspect.signature(DiverseImageSelector.select).parameters
    defaults = {
        name: each.default
        for name, each in select_parameters.items()
        if each.default is not each.empty
    }
    assert defaults == {"n_clusters": 100, "fps_ratio": 0.5}


@pytest.mark.parametrize("strategy", get_args(StrategyName))
def test_select__different_rows_for_every_input_type(strategy: str):
    rows = DiverseImageSelector(strategy).select(POOL, n_samples=10)
    assert len(set(rows.tolist())) == 10
    assert rows.dtype == np.int64
    for equal_pool in (POOL.tolist(), torch.tensor(POOL, requires_grad=True), POOL * 7):
        other_rows = DiverseImageSelector(strategy).select(
            equal_pool, 10, n_clusters=100, fps_ratio=0.5
        )
        assert other_rows.tolist() == rows.tolist()


def test_select__depends_on_random_state_only():
    selector = DiverseImageSelector("random", random_state=1)
    first = selector.select(POOL, 10).tolist()
    assert selector.select(POOL, 10).tolist() == first
    assert DiverseImageSelector("random", random_state=2).select(POOL, 10).tolist() != first


def test_select__warns_if_there_are_too_few():
    with pytest.warns(FewerThanAskedWarning):
        rows = DiverseImageSelector().select(POOL[:7], n_samples=10)
    assert sorted(rows.tolist()) == list(range(7))
    assert DiverseImageSelector().select(POOL, n_samples=0).tolist() == []


def test_select__invalid_arguments():
    with raising(ConfigError, setting="strategy", value="hybird"):
        DiverseImageSelector("hybird")
    with raising(ConfigError, setting="budget", value=-1):
        DiverseImageSelector().select(POOL, -1)
    with raising(InvalidVectorsError, row=3):
        DiverseImageSelector().select(np.where(np.arange(60)[:, None] == 3, np.nan, POOL), 5)


def test_compute_diversity__by_hand():
    diversity = DiverseImageSelector().compute_diversity([[1, 0], [5, 0], [0, 2], [-1, -1]])
    assert diversity.tolist() == pytest.approx([0, 0, 2**0.5, (2 + 2**0.5) ** 0.5], rel=1e-6)
    assert DiverseImageSelector().compute_diversity([[1, 0]]).tolist() == [0]


def naive_greedy(points: np.ndarray, uncertainties: np.ndarray, count: int) -> list[int]:
    unit = points.astype(np.float64) / np.linalg.norm(points, axis=1, keepdims=True)
    rows = [int(uncertainties.argmax())]
    while len(rows) < count:
        nearest = np.linalg.norm(unit[:, None] - unit[rows], axis=2).min(axis=1)
        scores = uncertainties * nearest
        scores[rows] = -1
        rows.append(int(scores.argmax()))
    return rows


def test_uncertainty_selector__equals_the_greedy_product():
    uncertainties = RNG.uniform(size=60)
    rows = UncertaintySelector().select(POOL, uncertainties, 12)
    assert rows.tolist() == naive_greedy(POOL, uncertainties, 12)
    # A larger selection begins with the smaller one.
    assert UncertaintySelector().select(POOL, uncertainties, 5).tolist() == rows[:5].tolist()


def test_uncertainty_selector__greedy_takes_copies_last_and_topn_takes_both_of_a_pair():
    vectors = [[1, 0, 0], [1, 0, 0.01], [0, 1, 0], [0, 0, 1], [0, 1, 0]]
    uncertainties = [0.9, 0.95, 0.3, 0.5, 0.1]
    greedy = UncertaintySelector().select(vectors, uncertainties, 5).tolist()
    assert greedy[0] == 1
    assert greedy[-1] == 4
    assert greedy.index(0) > greedy.index(3)
    topn = UncertaintySelector(method="topn").select(vectors, torch.tensor(uncertainties), 2)
    assert topn.tolist() == [3, 1]


def test_uncertainty_selector__zero_uncertainties_and_invalid_ones():
    assert UncertaintySelector().select(POOL, np.zeros(60), 3).tolist() == [0, 1, 2]
    for wrong_values in (np.zeros(59), np.full(60, np.nan), np.full(60, -1)):
        with raising(ConfigError, setting="uncertainties"):
            UncertaintySelector().select(POOL, wrong_values, 3)
    with raising(ConfigError, setting="method", value="best"):
        UncertaintySelector(method="best")


def test_select__own_strategy_as_a_subclass():
    class FirstSelector(DiverseImageSelector):
        def select(self, embeddings, n_samples, n_clusters=100, fps_ratio=0.5):
            return np.arange(n_samples)

    assert FirstSelector().select(POOL, 3).tolist() == [0, 1, 2]
    assert len(FirstSelector().compute_diversity(POOL)) == 60
