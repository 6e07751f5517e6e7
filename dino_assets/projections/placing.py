"""New points on a map that stands: each has a place of its own, and nothing on the map moves for it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dino_assets.errors import ConfigError
from dino_assets.numerics.neighbours import Metric, find_neighbours
from dino_assets.settings.choices import check_range

MIN_NEIGHBOURS = 2  # the farthest of them only says how far the others reach


@dataclass(frozen=True, eq=False)
class Landmarks:
    """What a map was made of: vectors (N, D), their places (N, C), and who counts as near."""

    vectors: np.ndarray
    coordinates: np.ndarray
    n_neighbors: int = 15
    metric: Metric = "cosine"


def place_points(landmarks: Landmarks, vectors: ArrayLike) -> np.ndarray:
    """Places (M, C) of new vectors (M, D), float32: a mean of the places of their nearest landmarks.

    Weights are those of Franke and Little: infinite at a landmark, which so gives its own place, and
    zero at the farthest of the neighbours, so that a place never jumps when one of them is exchanged
    for another. A place depends on nothing but its own vector and the landmarks. Something quite new
    comes to lie between what resembles it most: only a new map gives it room of its own.

    Raises:
        ConfigError: fewer than two landmarks, or not one place for each.
        InvalidVectorsError: vectors that are not finite (M, D), or of another D than the landmarks.
    """
    places = np.asarray(landmarks.coordinates, np.float64)
    count = len(places)
    check_range("landmarks", count, least=MIN_NEIGHBOURS, meaning="points that are on the map")
    if count != len(landmarks.vectors):
        raise ConfigError(
            f"{count} places for {len(landmarks.vectors)} landmarks: pass one for each",
            setting="landmarks",
            value=count,
        )
    k = min(max(landmarks.n_neighbors, MIN_NEIGHBOURS), count)
    given = np.asarray(vectors)
    near = find_neighbours(landmarks.vectors, k, queries=given, metric=landmarks.metric)
    distances = near.distances.astype(np.float64)
    if landmarks.metric == "cosine":
        distances = np.sqrt(2 * distances)  # the chord: as smooth at 0 as anywhere
    weights = weigh_neighbours(distances)
    mixed = np.einsum("mk,mkc->mc", weights, places[near.indices])
    return np.asarray(mixed, np.float32)


def weigh_neighbours(distances: np.ndarray) -> np.ndarray:
    """Weights (M, k) that add up to 1, of neighbours at ascending distances (M, k).

    Of several at distance 0 the first has all of it. Where all are equally far, all count alike.
    """
    reach = distances[:, -1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.square((reach - distances) / (reach * distances))
    weights[(distances == reach).all(axis=1)] = 1
    weights[distances[:, 0] == 0] = 0
    weights[distances[:, 0] == 0, 0] = 1
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
