"""Held-out ground, and predictions for tiles whose ground a probe did not see."""

from dataclasses import replace

import numpy as np
import pytest

from dino_assets.errors import TooFewLabelsError
from dino_assets.probes.replaying import (
    MIN_LABELS,
    MIN_POOL,
    LabelledVectors,
    find_replayable,
    make_splits,
    measure_macro_accuracy,
    predict_unseen,
    split_blocks,
)
from dino_assets.probes.ridge import predict_by_ridge
from dino_assets_tests.probes.labelled_sets import draw_labelled


def test_find_replayable__rare_class_and_class_of_one_block_are_left_out():
    classes = np.repeat([0, 1, 2, 3], [40, 40, 4, 20])
    blocks = np.arange(104) % 8
    blocks[84:] = 0
    assert find_replayable(classes, blocks).tolist() == list(range(80))


@pytest.mark.parametrize(
    ("count", "classes", "blocks"), [(MIN_LABELS - 1, 2, 10), (100, 1, 10), (100, 2, 4)]
)
def test_find_replayable__refuses_too_few(count: int, classes: int, blocks: int):
    rows = np.arange(count)
    with pytest.raises(TooFewLabelsError) as caught:
        find_replayable(rows % classes, rows // classes % blocks)
    assert (caught.value.labels, caught.value.expected) == (count, MIN_LABELS)


@pytest.mark.parametrize("seed", range(20))
def test_split_blocks__no_block_is_on_both_sides(seed: int):
    labelled = draw_labelled(200, blocks=9)
    pool, held = split_blocks(labelled, np.random.default_rng(seed))
    assert not set(labelled.blocks[pool]) & set(labelled.blocks[held])
    assert sorted([*pool, *held]) == list(range(200))
    assert 0.25 <= len(held) / 200 <= 0.4


def test_split_blocks__block_with_most_rows_stays_in_the_pool():
    drawn = draw_labelled(100)
    blocks = np.where(np.arange(100) < 70, 0, np.arange(100))
    labelled = LabelledVectors(drawn.vectors, drawn.classes, blocks)
    for seed in range(10):
        pool, held = split_blocks(labelled, np.random.default_rng(seed))
        assert 0 in blocks[pool]
        assert len(held) == 30


def find_neighbour_rows(is_held: np.ndarray) -> np.ndarray:
    """Rows beside a held-out row show some of its ground."""
    return ~is_held & (np.roll(is_held, 1) | np.roll(is_held, -1))


def test_split_blocks__rows_that_show_held_out_ground_are_on_neither_side():
    drawn = draw_labelled(200)
    blocks = np.arange(200) // 10
    labelled = LabelledVectors(drawn.vectors, drawn.classes, blocks, find_neighbour_rows)
    pool, held = split_blocks(labelled, np.random.default_rng(0))
    distances = np.abs(pool[:, None] - held[None])
    assert distances.min() == 2
    assert len(pool) + len(held) < 200


def test_take__leaks_are_found_among_the_taken_rows():
    drawn = draw_labelled(20)
    labelled = LabelledVectors(drawn.vectors, drawn.classes, np.arange(20), find_neighbour_rows)
    taken = labelled.take(np.array([3, 9, 10, 15]))
    assert taken.find_leaks(np.array([False, True, False, False])).tolist() == [
        *(False, False, True, False)
    ]


def test_measure_macro_accuracy__each_class_counts_the_same():
    predicted, classes = np.array([0, 0, 0, 0, 1, 0]), np.array([0, 0, 0, 0, 1, 1])
    assert measure_macro_accuracy(predicted, classes) == 0.75


def test_predict_unseen__probe_sees_neither_block_nor_ground_of_what_it_predicts():
    drawn = draw_labelled(200)
    blocks = np.arange(200) // 5
    labelled = LabelledVectors(
        np.arange(200, dtype=np.float32)[:, None], drawn.classes, blocks, find_neighbour_rows
    )
    predicted_rows: list[int] = []

    def predict(vectors: np.ndarray, classes: np.ndarray, others: np.ndarray) -> np.ndarray:
        trained, held = vectors[:, 0].astype(int), others[:, 0].astype(int)
        assert not set(blocks[trained]) & set(blocks[held])
        assert np.abs(trained[:, None] - held[None]).min() == 2
        predicted_rows.extend(held.tolist())
        return labelled.classes[held]

    predicted = predict_unseen(labelled, predict, np.random.default_rng(0))
    assert sorted(predicted_rows) == list(range(200))
    assert (predicted == labelled.classes).all()


def test_predict_unseen__equal_seeds_give_equal_predictions():
    labelled = draw_labelled()
    first, again = (
        predict_unseen(labelled, predict_by_ridge, np.random.default_rng(3)) for _ in range(2)
    )
    assert (first == again).all()


def place_on_grid(side: int = 20) -> LabelledVectors:
    """Tiles of 1.2 m on a grid of 1 m, in blocks of 2 m: each shows ground of its neighbours."""
    x, y = np.divmod(np.arange(side * side), side)
    places = np.stack([x, y], axis=1).astype(np.float64)

    def find_overlaps(is_held: np.ndarray) -> np.ndarray:
        apart = np.abs(places[:, None] - places[None][:, is_held]).max(axis=2)
        return ~is_held & (apart < 1.2).any(axis=1)

    drawn = draw_labelled(side * side)
    blocks = x // 2 * side + y // 2
    return LabelledVectors(drawn.vectors, drawn.classes, blocks, find_overlaps, places)


@pytest.mark.parametrize("seed", range(5))
def test_split_blocks__held_out_ground_is_one_region_so_that_few_rows_leak(seed: int):
    labelled = place_on_grid()
    pool, held = split_blocks(labelled, np.random.default_rng(seed))
    scattered = replace(labelled, places=None)
    assert len(pool) + len(held) > 340
    assert len(split_blocks(scattered, np.random.default_rng(seed))[0]) < len(pool) * 0.7


def test_predict_unseen__regions_leave_more_to_learn_from():
    sizes: dict[bool, list[int]] = {True: [], False: []}
    for is_placed in sizes:
        labelled = place_on_grid()
        labelled = labelled if is_placed else replace(labelled, places=None)

        def predict(
            vectors: np.ndarray,
            classes: np.ndarray,
            others: np.ndarray,
            trained: list[int] = sizes[is_placed],
        ) -> np.ndarray:
            trained.append(len(vectors))
            return np.zeros(len(others), np.int64)

        predict_unseen(labelled, predict, np.random.default_rng(0))
    assert np.mean(sizes[True]) > 320 > np.mean(sizes[False])


def test_split_blocks__tiles_without_a_place_can_be_held_out():
    labelled = place_on_grid()
    assert labelled.places is not None
    labelled.places[:100] = np.nan
    held = [split_blocks(labelled, np.random.default_rng(seed))[1] for seed in range(5)]
    assert min(min(rows) for rows in held) < 100


def test_make_splits__ground_that_overlaps_everywhere_is_refused():
    drawn = draw_labelled(200)
    labelled = LabelledVectors(drawn.vectors, drawn.classes, drawn.blocks, lambda is_held: ~is_held)
    with pytest.raises(TooFewLabelsError) as caught:
        make_splits(labelled, seeds=2)
    assert (caught.value.labels, caught.value.expected) == (0, MIN_POOL)
    assert (predict_unseen(labelled, predict_by_ridge, np.random.default_rng(0)) == -1).all()
