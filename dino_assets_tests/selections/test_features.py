"""Weak features: noise is always named, structure never, and the round says so."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.selections.features import FeatureSigns, describe_signs, measure_signs
from dino_assets.selections.rounds import RoundSettings
from dino_assets.selections.stage import drafting
from dino_assets.selections.stage.describing import describe_round
from dino_assets_tests.worlds.curation import CurationWorld


def measure(vectors: np.ndarray, **options: int) -> FeatureSigns:
    units = scale_to_unit(np.asarray(vectors, np.float32))
    signs = measure_signs(units, rng=np.random.default_rng(0), **options)
    assert signs is not None
    return signs


@pytest.mark.parametrize("offset", [0, 10])
@pytest.mark.parametrize("dims", [8, 64, 384, 1024])
@pytest.mark.parametrize("count", [100, 600])
def test_measure_signs__noise_is_weak(count: int, dims: int, offset: float):
    rng = np.random.default_rng(dims)
    assert measure(offset + rng.normal(size=(count, dims))).are_weak


@pytest.mark.parametrize("count", [100, 600])
def test_measure_signs__digits_are_not_weak(count: int):
    """Also those of one class, and after a random network: it keeps most of what is similar."""
    digits, rng = load_digits(), np.random.default_rng(0)
    rows = rng.permutation(len(digits.data))[:count]
    assert not measure(digits.data[rows]).are_weak
    hidden = np.maximum(digits.data[rows] @ rng.normal(size=(64, 128)), 0)
    assert not measure(1e3 + hidden @ rng.normal(size=(128, 96))).are_weak
    assert not measure(digits.data[digits.target == 3]).are_weak


def test_measure_signs__by_the_definition():
    """Two copies of the same numbers agree in all; the order of the rows decides nothing but the sample."""
    rng = np.random.default_rng(3)
    one = rng.normal(size=(150, 1))
    signs = measure(np.repeat(np.c_[one, one**2], 20, axis=1) + 5)
    assert (signs.rows, signs.chance) == (150, round(10 / 149, 4))
    assert signs.agreement > 0.95
    exact = FeatureSigns(agreement=0.55, chance=0.1, hubness=0, rows=101)
    assert exact.above_chance == pytest.approx(0.5)


def test_measure_signs__a_large_pool_is_sampled():
    vectors = np.random.default_rng(0).normal(size=(900, 12))
    signs = measure(vectors, most_rows=300)
    assert signs.rows == 300
    assert signs.are_weak


def test_measure_signs__hubs():
    """In noise far from the origin, a few rows are near everything."""
    rng = np.random.default_rng(0)
    hubs = measure(rng.normal(size=(500, 300)) * np.arange(1, 301) ** -0.5)
    assert hubs.hubness > 1.5
    assert abs(measure(rng.normal(size=(500, 3))).hubness) < 1


def test_measure_signs__vectors_that_are_all_equal_are_weak():
    """A model that ignores its input; the order of rows must not count as agreement."""
    signs = measure(np.ones((200, 64)))
    assert signs.are_weak
    assert signs.above_chance == 0


def test_measure_signs__too_few_rows_give_no_sign():
    rng = np.random.default_rng(0)
    for shape in ((99, 8), (500, 1), (0, 8)):
        assert measure_signs(rng.normal(size=shape).astype(np.float32), rng=rng) is None
    assert describe_signs(None) == {}


def test_draft_selections__says_that_features_are_weak(world: CurationWorld, monkeypatch):
    facts = world.select(RoundSettings(budget=4)).manifest.facts
    assert facts["features"].keys() == {"agreement", "chance", "hubness", "rows"}
    assert "weak_features" not in facts

    def read_noise(*arguments):
        pool = read_pool(*arguments)
        noise = np.random.default_rng(0).normal(size=pool.vectors.shape)
        return replace(pool, vectors=noise.astype(np.float32))

    read_pool = drafting.read_pool
    monkeypatch.setattr(drafting, "read_pool", read_noise)
    committed = world.select(RoundSettings(round=2, budget=4))
    assert committed.manifest.facts["weak_features"].startswith("distances are no better than")
    open_source = world.sources.__getitem__
    lines = list(describe_round(world.store, committed, model="tiny", open_source=open_source))
    assert any("distances are no better than chance" in line for line in lines)
    old_facts = world.select(RoundSettings(round=3, budget=4), code_version="7").manifest.facts
    assert "features" not in old_facts
