"""Shares of a budget: which rows a class gets, in which order, and what explores with the rest."""

from collections import Counter
from typing import get_args

import numpy as np
import pytest

from dino_assets.errors import ConfigError
from dino_assets.numerics.farthest import walk_farthest
from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.numerics.open_rows import Quota
from dino_assets.selections.choosing import Selection, select
from dino_assets.selections.explaining import explain_selection
from dino_assets.selections.strategies.names import EXPLORE, StrategyName
from dino_assets.selections.strategies.shares import ClassShares, score_by_examples
from dino_assets_tests.worlds.raising import raising

STRATEGIES: tuple[StrategyName, ...] = get_args(StrategyName)
CORNERS = {"east": np.array([[1.0, 0]]), "north": np.array([[0, 2.0]])}


def at_angles(*degrees: float) -> np.ndarray:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def pick(
    vectors: np.ndarray, budget: int, counts: dict[str, int], examples=CORNERS, **more
) -> Selection:
    rng = np.random.default_rng(more.pop("seed", 0))
    scores = score_by_examples(vectors, {name: examples[name] for name in counts})
    more = {"strategy": "fps", **more}
    return select(vectors, budget=budget, rng=rng, shares=ClassShares(counts, scores), **more)


def list_shares(selection: Selection) -> list[str]:
    return [reason.share.name for reason in selection.reasons if reason.share]


def draw_classes(seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Unit vectors of four classes, their labels, and three examples of the first two."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(4, 24))
    labels = rng.choice(4, 200, p=[0.1, 0.1, 0.4, 0.4])
    noise = 0.5 * rng.normal(size=(206, 24))
    vectors = centres[[*labels, 0, 0, 0, 1, 1, 1]] + noise
    examples = {"smoke": vectors[200:203], "fog": vectors[203:]}
    return scale_to_unit(vectors[:200].astype(np.float32)), labels, examples


def test_select__shares_by_hand():
    vectors = at_angles(0, 10, 25, 70, 80, 90)
    selection = pick(vectors, 5, {"east": 2, "north": 2})
    # The classes take turns, each its nearest rows; then the farthest row from all four.
    assert selection.indices.tolist() == [0, 5, 1, 4, 2]
    assert list_shares(selection) == ["east", "north", "east", "north", EXPLORE]
    assert [reason.word for reason in selection.reasons] == ["similar"] * 4 + ["farthest"]
    cosines = [reason.share.score for reason in selection.reasons[:4]]
    assert cosines == pytest.approx(np.cos(np.deg2rad([0, 0, 10, 10])))
    assert selection.reasons[4].share.score is None


def test_select__a_prototype_is_the_mean_of_unit_vectors():
    vectors = at_angles(0, 45, 90)
    long_and_short = {"both": np.array([[100.0, 0], [0, 0.1]])}
    selection = pick(vectors, 1, {"both": 1}, examples=long_and_short)
    assert selection.indices.tolist() == [1]


def test_select__a_row_belongs_to_the_class_with_the_nearest_prototype():
    vectors = at_angles(0, 10, 20, 70, 80, 90)
    selection = pick(vectors, 6, {"east": 5, "north": 1})
    assert sorted(selection.indices[:4].tolist()) == [0, 1, 2, 5]
    assert Counter(list_shares(selection)) == {"east": 3, "north": 1, EXPLORE: 2}
    assert not selection.shortfall


def test_select__a_class_with_a_share_of_0_takes_its_rows_away():
    vectors = at_angles(0, 10, 20, 70, 80, 90)
    selection = pick(vectors, 4, {"east": 4, "north": 0})
    assert Counter(list_shares(selection)) == {"east": 3, EXPLORE: 1}


def test_select__larger_shares_have_more_turns():
    vectors = np.concatenate([at_angles(*range(12)), at_angles(*range(78, 90))])
    shares = list_shares(pick(vectors, 12, {"east": 9, "north": 3}))
    for rank in range(1, 13):
        assert abs(shares[:rank].count("east") - 0.75 * rank) <= 1


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("seed", range(3))
def test_select__shares_with_every_strategy(strategy: StrategyName, seed: int):
    vectors, labels, examples = draw_classes(seed)
    chosen = [0, 7, 90]
    counts = {"smoke": 5, "fog": 4}
    options = {"strategy": strategy, "chosen": chosen, "n_clusters": 6, "seed": seed}
    selection = pick(vectors, 30, counts, examples, **options)
    assert Counter(list_shares(selection)) == {"smoke": 5, "fog": 4, EXPLORE: 21}
    assert len(set(selection.indices.tolist()) - set(chosen)) == 30
    of_class = dict(zip(selection.indices.tolist(), list_shares(selection), strict=True))
    for name, label in (("smoke", 0), ("fog", 1)):
        rows = [row for row, share in of_class.items() if share == name]
        assert np.mean(labels[rows] == label) >= 0.75  # a tenth of the pool is of the class
        scores = [r.share.score for r in selection.reasons if r.share.name == name]
        assert scores == sorted(scores, reverse=True)
    again = pick(vectors, 30, counts, examples, **options)
    assert again.indices.tolist() == selection.indices.tolist()


def test_select__exploration_starts_from_the_shares():
    vectors, _, examples = draw_classes(0)
    selection = pick(vectors, 20, {"smoke": 6, "fog": 4}, examples, chosen=[3])
    first, rest = selection.indices[:10], selection.indices[10:]
    walk = walk_farthest(vectors, 10, chosen=np.union1d(first, [3]))
    assert rest.tolist() == walk.indices.tolist()


@pytest.mark.parametrize("strategy", ["random", "fps", "medoids", "herding"])
def test_select__more_exploration_begins_with_the_same_rows(strategy: StrategyName):
    vectors, _, examples = draw_classes(1)
    few, many = (
        pick(vectors, budget, {"smoke": 5, "fog": 5}, examples, strategy=strategy).indices.tolist()
        for budget in (15, 40)
    )
    assert many[:15] == few


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_select__rows_that_exclude_others_are_in_no_two_shares(strategy: StrategyName):
    vectors, _, examples = draw_classes(2)
    groups = np.arange(200) % 40
    selection = pick(
        vectors,
        40,
        {"smoke": 6, "fog": 6},
        examples,
        strategy=strategy,
        closed=[5],
        excludes=lambda row: np.flatnonzero(groups == groups[row]),
    )
    assert 5 not in selection.indices
    assert sorted(groups[selection.indices].tolist()) == list(range(40))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("counts", [None, {"smoke": 12, "fog": 3}])
def test_select__no_group_exceeds_its_quota(strategy: StrategyName, counts: dict | None):
    vectors, _, examples = draw_classes(3)
    groups = np.sort(np.arange(200) % 7)
    quota = Quota(groups, np.full(7, 4))
    options = {"strategy": strategy, "n_clusters": 5, "quotas": [quota], "chosen": [0, 199]}
    if counts:
        selection = pick(vectors, 40, counts, examples, **options)
    else:
        rng = np.random.default_rng(0)
        selection = select(vectors, budget=40, rng=rng, **options)
    assert np.bincount(groups[selection.indices]).tolist() == [4] * 7
    assert "whose limit is reached" in selection.shortfall
    assert "same ground" not in selection.shortfall


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_select__a_quota_that_is_never_reached_changes_nothing(strategy: StrategyName):
    vectors, _, _ = draw_classes(4)
    plain, limited = (
        select(
            vectors,
            budget=20,
            strategy=strategy,
            n_clusters=5,
            rng=np.random.default_rng(0),
            quotas=quotas,
        )
        for quotas in ((), [Quota(np.arange(200) % 3, np.full(3, 20))])
    )
    assert limited.indices.tolist() == plain.indices.tolist()


def test_explain_selection__names_the_class_and_its_cosine():
    vectors = at_angles(0, 10, 20, 70, 80, 90)
    selection = pick(vectors, 3, {"east": 2})
    first, second, last = (each.why for each in explain_selection(vectors, selection))
    assert first.startswith("Similar to the examples of east, cosine 1.000; it stands for")
    assert "cosine 0.985; distance 0.174 to the nearest tile chosen before it" in second
    assert last.startswith("Least similar to everything chosen before it")


def test_score_by_examples__examples_that_cancel_each_other():
    with raising(ConfigError, setting="examples", value="both"):
        score_by_examples(at_angles(0), {"both": np.array([[1.0, 0], [-1, 0]])})


@pytest.mark.parametrize("counts", [(50, *[1] * 50), (20, *[2] * 10), (10, 3, 3, 3), (4, 3)])
def test_select__each_class_is_within_one_tile_of_its_share_at_each_rank(counts: tuple[int, ...]):
    total = sum(counts)
    scores = np.zeros((total, len(counts)))
    scores[np.arange(total), np.repeat(np.arange(len(counts)), counts)] = 1
    names = [f"class {number}" for number in range(len(counts))]
    shares = ClassShares(dict(zip(names, counts, strict=True)), scores)
    vectors = np.random.default_rng(0).normal(size=(total, 3)).astype(np.float32)
    selection = select(vectors, budget=total, rng=np.random.default_rng(0), shares=shares)
    taken = np.array([[name == share for name in names] for share in list_shares(selection)])
    fair = np.arange(1, total + 1)[:, None] * np.array(counts) / total
    assert np.abs(np.cumsum(taken, axis=0) - fair).max() < 1
