"""Splits: groups, folds, and tiles that would leak ground from a test into the training."""

from dataclasses import replace

import numpy as np
import pytest

from dino_assets.errors import TooFewLabelsError
from dino_assets.numerics.earth import measure_distance_m, travel
from dino_assets.probes.probe_settings import ProbeSettings
from dino_assets.probes.records import Probe, TrainingSet
from dino_assets.probes.splits import (
    TileGround,
    find_leaks,
    name_groups,
    split_folds,
)
from dino_assets.probes.validation import cross_validate, plan_folds, train_probe
from dino_assets_tests.probes.grounds import draw_overlapping_tiles, place_tiles

NOWHERE = np.full((1, 2), np.nan)


def test_name_groups__flight_photograph_and_ground():
    tiles = place_tiles(np.array([[0, 0], [1, 1], [500, 0]]), drops=["a", "b", "b"])
    assert name_groups(tiles, "flight", block_m=50) == ["flight a", "flight b", "flight b"]
    assert len(set(name_groups(tiles, "image", block_m=50))) == 3
    assert len(set(name_groups(tiles, "ground", block_m=50))) == 2


@pytest.mark.parametrize("latitude", [-77.9, -0.0001, 0.0, 48.1, 77.9])
def test_name_groups__a_block_is_as_large_as_asked(latitude):
    rng = np.random.default_rng(0)
    centers = travel(179.99, latitude, rng.uniform(0, 400, (2000, 2)))
    tiles = TileGround(["a"] * 2000, ["i"] * 2000, centers, np.ones(2000))
    names = np.array(name_groups(tiles, "ground", block_m=50))
    # 400 m are 8 to 9 blocks, and more at the antimeridian, where a block is cut.
    assert 64 <= len(set(names)) <= 110
    for name in set(names):
        of_block = centers[names == name]
        diagonals = [measure_distance_m(*(each[::-1] for each in pair)) for pair in [(of_block.min(0), of_block.max(0))]]  # fmt: skip
        assert max(diagonals) < 50 * 2**0.5 * 1.02


def test_name_groups__a_tile_without_a_place_is_held_out_with_its_photograph():
    tiles = TileGround(["a"] * 3, ["p", "p", "q"], np.full((3, 2), np.nan), np.full(3, np.nan))
    names = name_groups(tiles, "ground", block_m=50)
    assert names[0] == names[1] != names[2]


def test_split_folds__groups_stay_whole_and_classes_are_spread():
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 40, 400)
    classes = (groups % 4 == 0).astype(np.int64)
    folds = split_folds(groups, classes, folds=5, seed=3)
    assert sorted(set(folds.tolist())) == [0, 1, 2, 3, 4]
    assert all(len(set(folds[groups == group].tolist())) == 1 for group in set(groups.tolist()))
    shares = [classes[folds == fold].mean() for fold in range(5)]
    assert max(shares) - min(shares) < 0.15
    again = split_folds(groups, classes, folds=5, seed=3)
    np.testing.assert_array_equal(folds, again)
    assert (split_folds(groups, classes, folds=5, seed=4) != folds).any()


@pytest.mark.parametrize(
    ("groups", "classes", "count"),
    [([0, 0, 0], [0, 1, 0], 1), ([0, 1], [0, 1], 1), ([0, 1, 2], [0, 0, 1], 2), ([], [], 1)],
)
def test_split_folds__as_many_folds_as_the_labels_allow(groups, classes, count):
    folds = split_folds(np.array(groups, int), np.array(classes, int), folds=5, seed=0)
    assert len(set(folds.tolist()) | {0}) == count


def test_find_leaks__tiles_of_held_out_ground_whichever_block_or_flight():
    # 20 m wide: diagonals of 28 m. The second is 15 m away, the third 27 m, the fourth 40 m.
    tiles = place_tiles(np.array([[0, 0], [15, 0], [0, 27], [40, 0]]), drops=["a", "b", "a", "a"])
    leaks = find_leaks(tiles, np.array([True, False, False, False]))
    assert leaks.tolist() == [False, True, True, False]


def test_find_leaks__without_a_place_a_photograph_counts_as_one_ground():
    centers = np.concatenate([NOWHERE, NOWHERE, travel(11.5, 48.1, np.zeros((1, 2))), NOWHERE])
    sides = np.array([np.nan, np.nan, 20, np.nan])
    tiles = TileGround(["a"] * 4, ["p", "p", "p", "q"], centers, sides)
    leaks = find_leaks(tiles, np.array([True, False, False, False]))
    assert leaks.tolist() == [False, True, True, False]


@pytest.mark.parametrize("split", ["ground", "flight", "image"])
def test_plan_folds__no_ground_is_on_both_sides(split):
    rng = np.random.default_rng(2)
    metres = rng.uniform(0, 600, (300, 2))
    tiles = place_tiles(metres, drops=[f"flight-{int(x // 200)}" for x, _ in metres])
    labelled = TrainingSet(np.zeros((300, 2), np.float32), rng.integers(0, 3, 300), tuple("abc"))
    plan = plan_folds(labelled, tiles, ProbeSettings(split=split))
    names = np.array(plan.group_names)
    assert plan.left_out > 0
    for fold, is_trained_on in enumerate(plan.are_trained_on):
        is_out = plan.folds == fold
        assert not set(names[is_out]) & set(names[is_trained_on])
        gaps = np.abs(metres[is_out][:, None] - metres[is_trained_on][None]).max(axis=2)
        assert gaps.min() >= 20  # windows of 20 m, whichever way they are turned


def test_plan_folds__labels_of_one_place_cannot_be_held_out():
    labelled = TrainingSet(
        np.zeros((20, 2), np.float32), np.arange(20, dtype=np.int64) % 2, ("a", "b")
    )
    with pytest.raises(TooFewLabelsError) as caught:
        plan_folds(labelled, place_tiles(np.zeros((20, 2))), ProbeSettings(split="image"))
    assert caught.value.labels == 20


@pytest.mark.parametrize(("count", "classes"), [(9, 2), (30, 1), (0, 0)])
def test_plan_folds__too_few_labels_or_classes(count, classes):
    labelled = TrainingSet(
        np.zeros((count, 2), np.float32),
        np.arange(count, dtype=np.int64) % max(classes, 1),
        ("a", "b")[:classes],
    )
    with pytest.raises(TooFewLabelsError):
        plan_folds(labelled, place_tiles(np.arange(2 * count).reshape(-1, 2) * 99), ProbeSettings())


def test_cross_validate__a_random_split_hides_the_leak_and_blocks_are_right_about_new_ground():
    """Tiles overlap by three quarters: a probe that has seen a tile's neighbours knows the ground by heart."""
    settings, results = ProbeSettings(), []
    for seed in range(4):
        here = draw_overlapping_tiles(seed)
        elsewhere = [draw_overlapping_tiles(50 + 3 * seed + n).labelled for n in range(3)]
        chosen = np.sort(np.random.default_rng(seed).permutation(len(here.labelled))[:700])
        labelled, tiles = here.labelled.take(chosen), take_tiles(here.tiles, chosen)
        plan = plan_folds(labelled, tiles, settings)
        by_block = measure_right(cross_validate(labelled, plan, settings, train=train), labelled)
        at_random = replace(
            plan,
            folds=(folds := np.random.default_rng(seed).integers(0, 5, 700)),
            are_trained_on=folds[None] != np.arange(5)[:, None],
        )
        by_tile = measure_right(
            cross_validate(labelled, at_random, settings, train=train), labelled
        )
        probe = train(labelled, plan.groups)
        new = np.mean([measure_right(probe.predict(each.vectors), each) for each in elsewhere])
        results.append((by_tile, by_block, new))
    by_tile, by_block, new = np.mean(results, axis=0)
    assert by_tile > by_block + 0.15
    assert by_tile > new + 0.15
    assert abs(by_block - new) < 0.05


def train(rows: TrainingSet, groups: np.ndarray) -> Probe:
    return train_probe(rows, groups, ProbeSettings(), strength=10.0)


def take_tiles(tiles: TileGround, rows: np.ndarray) -> TileGround:
    images = [tiles.image_ids[row] for row in rows]
    return TileGround(["a"] * len(rows), images, tiles.centers[rows], tiles.sides_m[rows])


def measure_right(probabilities: np.ndarray, labelled: TrainingSet) -> float:
    return float((probabilities.argmax(axis=1) == labelled.classes).mean())
