"""Quick probe by ridge regression."""

import numpy as np

from dino_assets.probes.ridge import predict_by_ridge
from dino_assets_tests.probes.labelled_sets import draw_labelled

EAST, NORTH = [1.0, 0.0], [0.0, 1.0]


def test_predict_by_ridge__nearer_direction_wins():
    vectors = np.array([EAST, EAST, NORTH], np.float32)
    others = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)
    assert predict_by_ridge(vectors, np.array([7, 7, 3]), others).tolist() == [7, 3]


def test_predict_by_ridge__one_class_is_predicted_everywhere():
    vectors = np.array([EAST, NORTH], np.float32)
    assert predict_by_ridge(vectors, np.array([4, 4]), vectors).tolist() == [4, 4]


def test_predict_by_ridge__few_and_many_rows_are_solved_alike():
    few = draw_labelled(14, seed=1)  # fewer rows than dimensions, solved by their products
    many = [np.concatenate([part] * 4) for part in (few.vectors, few.classes)]
    others = draw_labelled(200, seed=1).vectors
    # Each row four times is a penalty of a quarter.
    once = predict_by_ridge(few.vectors, few.classes, others, strength=0.1)
    assert (once == predict_by_ridge(*many, others, strength=0.4)).all()
