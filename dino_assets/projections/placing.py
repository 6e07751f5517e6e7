"""Placing of new points on a fixed map, without moving the existing points."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dino_assets.errors import ConfigError
from dino_assets.numerics.neighbours import Metric, find_neighbours
from dino_assets.settings.choices import check_range

MIN_NEIGHBOURS = 2  # the farthest neighbour has weight 0 and only sets the scale for the others


@dataclass(frozen=True, eq=False)
class Landmarks:
    """The points of a map: vectors (N, D), their places (N, C), and the settings of the neighbour search."""

    vectors: np.ndarray
    coordinates: np.ndarray
    n_neighbors: int = 15
    metric: Metric = "cosine"


def place_points(landmarks: Landmarks, vectors: ArrayLike) -> np.ndarray:
    """Return the places (M, C) float32 of new vectors (M, D), between their nearest landmarks.

    A place is the weighted mean of the nearest landmarks' places, with the weights of Franke and Little. They
    are infinite at a landmark, so a vector equal to a landmark gets the landmark's place. They are zero at
    the farthest neighbour, so a place never jumps when the set of neighbours changes. A place depends only
    on its own vector and the landmarks. A vector unlike all landmarks is placed between the most similar
    ones; only a new map places it away from them.

    Raises:
        ConfigError: there are fewer than two landmarks, or landmarks and places differ in number.
        InvalidVectorsError: the vectors are not finite (M, D), or have another D than the landmarks.
    """
    places = np.asarray(landmarks.coordinates, np.float64)
    count = len(places)
    check_range("landmarks", count, least=MIN_NEIGHBOURS, meaning="points that are on the map")
    if count != len(landmarks.vectors):
        raise ConfigError(
            f"{count} places for {len(landmarks.vectors)} landmarks: expected one place for each landmark",
            setting="landmarks",
            value=count,
        )
    k = min(max(landmarks.n_neighbors, MIN_NEIGHBOURS), count)
    queries = np.asarray(vectors)
    near = find_neighbours(landmarks.vectors, k, queries=queries, metric=landmarks.metric)
    distances = near.distances.astype(np.float64)
    if landmarks.metric == "cosine":
        distances = np.sqrt(2 * distances)  # length of the chord, which is smooth at 0
    weights = weigh_neighbours(distances)
    mixed = np.einsum("mk,mkc->mc", weights, places[near.indices])
    return np.asarray(mixed, np.float32)


def weigh_neighbours(distances: np.ndarray) -> np.ndarray:
    """Compute weights (M, k) that add up to 1, for neighbours at ascending distances (M, k).

    If a neighbour is at distance 0, the first one has the weight 1, and the others 0. If all neighbours are
    equally far, all weights are equal.
    """
    reach = distances[:, -1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.square((reach - distances) / (reach * distances))
    weights[(distances == reach).all(axis=1)] = 1
    weights[distances[:, 0] == 0] = 0
    weights[distances[:, 0] == 0, 0] = 1
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
