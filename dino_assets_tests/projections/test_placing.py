"""New points on a map that stands."""

import numpy as np
import pytest

from dino_assets.errors import ConfigError, InvalidVectorsError
from dino_assets.projections.layout import fit_projection
from dino_assets.projections.placing import Landmarks, place_points, weigh_neighbours
from dino_assets_tests.worlds.raising import raising

RNG = np.random.default_rng(3)


@pytest.fixture(scope="module", params=["cosine", "euclidean"])
def landmarks(request) -> Landmarks:
    vectors = RNG.normal(size=(200, 12)).astype(np.float32)
    return Landmarks(vectors, RNG.normal(size=(200, 2)), 8, request.param)


def test_weigh_neighbours__by_hand():
    # Reach 4: (4 − 1)/(4·1) and (4 − 2)/(4·2), squared: 9/16 and 1/16.
    assert weigh_neighbours(np.array([[1.0, 2, 4]])).tolist() == [[0.9, 0.1, 0]]
    assert weigh_neighbours(np.array([[0.0, 0, 3]])).tolist() == [[1, 0, 0]]
    assert weigh_neighbours(np.array([[2.0, 2, 2, 2]])).tolist() == [[0.25] * 4]
    assert weigh_neighbours(np.zeros((1, 3))).tolist() == [[1, 0, 0]]


def test_place_points__a_landmark_gets_its_own_place(landmarks: Landmarks):
    places = place_points(landmarks, landmarks.vectors)
    np.testing.assert_array_equal(places, landmarks.coordinates.astype(np.float32))


def test_place_points__a_place_does_not_depend_on_other_vectors(landmarks: Landmarks):
    vectors = RNG.normal(size=(50, 12)).astype(np.float32)
    places = place_points(landmarks, vectors)
    one_by_one = np.concatenate([place_points(landmarks, row[None]) for row in vectors])
    np.testing.assert_array_equal(places, one_by_one)
    np.testing.assert_array_equal(place_points(landmarks, vectors[::-1])[::-1], places)


def test_place_points__never_jumps(landmarks: Landmarks):
    start, end = RNG.normal(size=(2, 12))
    steps = np.linspace(0, 1, 4001)[:, None]
    places = place_points(landmarks, start + steps * (end - start))
    largest = np.abs(np.diff(places, axis=0)).max()
    assert largest < 0.05 * np.ptp(landmarks.coordinates)


def test_place_points__near_similar_points_on_a_fitted_map():
    centres = RNG.normal(size=(4, 16)) * 3
    kinds = np.repeat(np.arange(4), 60)
    vectors = centres[kinds] + RNG.normal(size=(240, 16))
    projection = fit_projection(vectors[::2], n_neighbors=10)
    places = place_points(Landmarks(vectors[::2], projection.coordinates, 10), vectors[1::2])
    middles = np.stack(
        [projection.coordinates[kinds[::2] == kind].mean(axis=0) for kind in range(4)]
    )
    nearest = np.linalg.norm(places[:, None] - middles, axis=2).argmin(axis=1)
    assert (nearest == kinds[1::2]).mean() > 0.97


def test_place_points__few_landmarks_and_wrong_ones():
    vectors, places = np.eye(2), np.array([[0.0, 0], [1, 1]])
    coordinates = place_points(Landmarks(vectors, places), np.array([[1.0, 1], [2, 0]]))
    assert coordinates.tolist() == [[0.5, 0.5], [0, 0]]
    assert place_points(Landmarks(vectors, places), np.empty((0, 2))).shape == (0, 2)
    with raising(ConfigError, setting="landmarks"):
        place_points(Landmarks(vectors[:1], places[:1]), vectors)
    with raising(ConfigError, setting="landmarks"):
        place_points(Landmarks(vectors, places[:1].repeat(3, axis=0)), vectors)
    with raising(InvalidVectorsError, dims=(3, 2)):
        place_points(Landmarks(vectors, places), np.eye(3))
