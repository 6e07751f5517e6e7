"""Slices of labelled tiles in which a probe is worse."""

import numpy as np
import pytest

from dino_assets.probes.slices import (
    MIN_LABELS,
    compute_chance,
    correct_for_many,
    measure_design_effect,
    measure_wilson,
    rank_slices,
)

BLOCKS, LABELS = 100, 1000
Attributes = dict[str, list[str | None]]


def draw_flights(
    seed: int, *, is_planted: bool, is_correlated: bool
) -> tuple[np.ndarray, Attributes, np.ndarray]:
    """1,000 labels on 100 blocks, 90 % right; a planted slice has 3 blocks (3 %) with half right.

    If errors are correlated, blocks have error rates of their own.
    """
    rng = np.random.default_rng(seed)
    block = np.sort(rng.integers(0, BLOCKS, LABELS))
    rates = rng.beta(4.5, 0.5, BLOCKS) if is_correlated else np.full(BLOCKS, 0.9)
    of_block = {"drop": 6, "hour": 8, "camera": 3, "gsd": 5}
    numbers = {name: rng.integers(0, most, BLOCKS) for name, most in of_block.items()}
    if is_planted:
        bad = rng.permutation(BLOCKS)[:3]
        numbers["hour"][bad], rates[bad] = 99, 0.5
    attributes: Attributes = {
        name: [str(each[at]) for at in block] for name, each in numbers.items()
    }
    attributes["cluster"] = [str(each) for each in rng.integers(0, 20, LABELS)]
    return rng.random(LABELS) < rates[block], attributes, block


@pytest.mark.parametrize("is_correlated", [False, True])
def test_rank_slices__planted_slice_is_among_the_top_three(is_correlated: bool):
    hits = 0
    for seed in range(50):
        is_right, attributes, blocks = draw_flights(
            seed, is_planted=True, is_correlated=is_correlated
        )
        top = rank_slices(is_right, attributes, blocks=blocks)[:3]
        hits += ("hour", "99") in [(each.attribute, each.value) for each in top]
    assert hits >= 45


def count_false_alarms(draws: int, *, is_correlated: bool, uses_blocks: bool) -> int:
    alarms = 0
    for seed in range(draws):
        is_right, attributes, blocks = draw_flights(
            seed, is_planted=False, is_correlated=is_correlated
        )
        ranked = rank_slices(is_right, attributes, blocks=blocks if uses_blocks else None)
        alarms += any(each.is_worse for each in ranked)
    return alarms


@pytest.mark.parametrize("is_correlated", [False, True])
def test_rank_slices__false_alarms_are_rare(is_correlated: bool):
    assert count_false_alarms(100, is_correlated=is_correlated, uses_blocks=True) <= 5


def test_rank_slices__without_blocks_shared_errors_raise_false_alarms():
    assert count_false_alarms(50, is_correlated=True, uses_blocks=False) >= 10


def test_rank_slices__figures_of_a_slice():
    is_right = np.array([False] * 8 + [True] * 92)
    values: list[str | None] = ["dusk"] * 10 + ["noon"] * 80 + [None] * 10
    worst, other = rank_slices(is_right, {"hour": values})
    assert (worst.attribute, worst.value, worst.labels, worst.share) == ("hour", "dusk", 10, 0.1)
    assert worst.accuracy == pytest.approx(0.2)
    assert (worst.low, worst.high) == pytest.approx((0.0567, 0.5098), abs=1e-4)
    assert worst.is_worse
    assert (other.value, other.is_worse) == ("noon", False)


def test_rank_slices__tiny_slices_and_constant_attributes_make_none():
    is_right = np.array([False] * MIN_LABELS + [True] * 20)
    tiny: list[str | None] = ["rare"] * (MIN_LABELS - 1) + [None] * 21
    assert rank_slices(is_right, {"drop": ["one"] * 25, "camera": tiny}) == []


def test_rank_slices__order_of_tiles_does_not_matter():
    is_right, attributes, blocks = draw_flights(1, is_planted=True, is_correlated=True)
    order = np.random.default_rng(0).permutation(LABELS)
    turned: Attributes = {name: [each[at] for at in order] for name, each in attributes.items()}
    ranked = rank_slices(is_right, attributes, blocks=blocks)
    again = rank_slices(is_right[order], turned, blocks=blocks[order])
    assert [(each.attribute, each.value) for each in ranked] == [
        (each.attribute, each.value) for each in again
    ]
    assert [each.p for each in ranked] == pytest.approx([each.p for each in again])


def test_measure_design_effect__equal_answers_in_a_block_count_once():
    blocks = np.repeat(np.arange(20), 10)
    by_block, mixed = np.arange(200) // 10 % 2 - 0.5, np.arange(200) % 2 - 0.5
    assert measure_design_effect(by_block, blocks) == pytest.approx(10)
    assert measure_design_effect(mixed, blocks) == 1
    assert measure_design_effect(mixed, np.arange(200)) == 1
    assert measure_design_effect(np.zeros(200), blocks) == 1


def test_rank_slices__whole_drop_that_is_worse_does_not_hide_itself():
    blocks = np.repeat(np.arange(40), 10)
    drops: list[str | None] = ["good" if block < 20 else "bad" for block in blocks]
    rates = np.where(blocks < 20, 0.95, 0.6)
    is_right = np.random.default_rng(0).random(400) < rates
    worst = rank_slices(is_right, {"drop": drops}, blocks=blocks)[0]
    assert (worst.value, worst.is_worse) == ("bad", True)


def test_measure_wilson__known_values():
    assert measure_wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert measure_wilson(10, 10) == pytest.approx((0.7225, 1), abs=1e-4)


def test_compute_chance__tail_of_a_binomial():
    assert compute_chance(0, 5, 0.1) == 1
    assert compute_chance(1, 2, 0.5) == pytest.approx(0.75)
    assert compute_chance(2, 2, 0.1) == pytest.approx(0.01)
    assert compute_chance(20, 20, 0.1, effect=10) == pytest.approx(0.01)


def test_correct_for_many__holms_method():
    assert correct_for_many([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert correct_for_many([0.9, 0.8]) == [1.0, 1.0]
