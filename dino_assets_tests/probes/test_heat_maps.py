"""Cells of the ground: the overlap rule, photographs per cell, thresholds."""

import numpy as np
import pytest

from dino_assets.errors import ConfigError
from dino_assets.probes import heat_maps
from dino_assets.probes.heat_maps import (
    GroundTiles,
    HeatGrid,
    choose_cell_m,
    choose_threshold,
    choose_utm,
    find_middle,
    mark_near,
    measure_rarity,
    weigh_views,
)


def square(left: float, low: float, side: float = 4) -> list[tuple[float, float]]:
    return [(left, low + side), (left + side, low + side), (left + side, low), (left, low)]


def make_tiles(*squares: list, images: list[int] | None = None) -> GroundTiles:
    numbers = np.arange(len(squares)) if images is None else np.array(images)
    return GroundTiles(np.array(squares, float), numbers, np.ones(len(squares)))


def gather(tiles: GroundTiles, scores: np.ndarray, *, cell_m: float) -> HeatGrid:
    """Gather the scores of one class."""
    (grid,) = heat_maps.gather(tiles, scores[None], cell_m=cell_m)
    return grid


def test_gather__one_tile_fills_its_cells():
    grid = gather(make_tiles(square(100, 200)), np.array([0.7]), cell_m=2)
    assert (grid.west, grid.north, grid.cell_m) == (100, 204, 2)
    assert grid.scores == pytest.approx(np.full((2, 2), 0.7))
    assert grid.photographs.tolist() == [[1, 1], [1, 1]]


def test_gather__north_is_up():
    grid = gather(make_tiles(square(0, 0), square(0, 4)), np.array([0.1, 0.9]), cell_m=4)
    assert grid.scores[:, 0] == pytest.approx([0.9, 0.1])
    assert grid.hottest == (2, 6)


def test_gather__ground_that_no_tile_shows_has_no_score():
    grid = gather(make_tiles(square(0, 0), square(8, 0)), np.array([0.1, 0.9]), cell_m=4)
    assert np.isnan(grid.scores[0, 1])
    assert grid.photographs.tolist() == [[1, 0, 1]]


def test_gather__tiles_of_one_photograph_count_as_one():
    tiles = make_tiles(square(0, 0), square(0, 0), square(0, 0), images=[1, 2, 1])
    assert gather(tiles, np.zeros(3), cell_m=4).photographs.tolist() == [[2]]


def test_gather__a_tile_seen_from_the_side_counts_less():
    tiles = GroundTiles(
        np.array([square(0, 0), square(0, 0)], float), np.arange(2), np.array([3.0, 1.0])
    )
    assert gather(tiles, np.array([1.0, 0.0]), cell_m=4).scores[0, 0] == pytest.approx(0.75)


def test_gather__a_tile_counts_most_in_its_middle():
    tiles = make_tiles(square(0, 0), square(2, 0))
    scores = gather(tiles, np.array([1.0, 0.0]), cell_m=1).scores[1]
    assert scores[:2] == pytest.approx([1, 1])
    assert scores[4:] == pytest.approx([0, 0])
    assert scores[2] > scores[3]


def test_gather__a_turned_tile():
    corners = [(0, 4), (4, 0), (0, -4), (-4, 0)]
    grid = gather(make_tiles(corners), np.array([1.0]), cell_m=1)
    assert np.isfinite(grid.scores).sum() == pytest.approx(32, abs=8)
    assert np.isnan(grid.scores[0, 0])


def test_gather__cells_of_a_huge_ground_are_larger(monkeypatch):
    monkeypatch.setattr(heat_maps, "MOST_CELLS", 100)
    grid = gather(make_tiles(square(0, 0), square(400, 400)), np.ones(2), cell_m=1)
    assert grid.scores.size <= 100
    assert grid.cell_m > 1


NARROW = [(3.0, 3.1), (13.0, 3.1), (13.0, 3.2), (3.0, 3.2)]


@pytest.mark.parametrize("shape", [NARROW, [(8.0, 3.0)] * 4, square(7.6, 3.0, side=0.5)])
def test_gather__a_tile_that_shows_no_middle_counts_where_it_is(shape):
    # The middles of cells are at 2, 6, 10 metres; the tiles' at about 8.
    grid = gather(make_tiles(square(0, 0), shape), np.array([0.1, 0.9]), cell_m=4)
    east, north = grid.hottest
    assert abs(east - 8) <= 2
    assert abs(north - 3) <= 2
    assert grid.photographs.sum() == 2


def test_gather__no_tile_of_a_small_flight_is_lost_in_large_cells(monkeypatch):
    monkeypatch.setattr(heat_maps, "MOST_CELLS", 100)
    far = [square(1000 + 3 * n, 0, side=1) for n in range(4)]
    grid = gather(make_tiles(square(0, 0), *far), np.array([0.1, 0.9, 0.9, 0.9, 0.9]), cell_m=2)
    assert grid.photographs.sum() == 5


@pytest.mark.parametrize("at_once_bytes", [2**20, 1], ids=["one pass", "a pass per class"])
def test_gather__several_classes_are_those_of_one_each(monkeypatch, at_once_bytes):
    monkeypatch.setattr(heat_maps, "_AT_ONCE_BYTES", at_once_bytes)
    rng = np.random.default_rng(0)
    tiles = make_tiles(*(square(*rng.uniform(0, 20, 2)) for _ in range(30)))
    scores = rng.random((3, 30), np.float32)
    for own, grid in zip(scores, heat_maps.gather(tiles, scores, cell_m=2), strict=True):
        alone = gather(tiles, own, cell_m=2)
        np.testing.assert_array_equal(grid.scores, alone.scores)
        np.testing.assert_array_equal(grid.photographs, alone.photographs)


def test_gather__a_tile_is_laid_on_the_ground_once_for_all_classes(monkeypatch):
    laid: list[np.ndarray] = []
    cover = heat_maps._cover
    monkeypatch.setattr(heat_maps, "_cover", lambda *given: laid.append(given[0]) or cover(*given))
    grids = list(
        heat_maps.gather(make_tiles(square(0, 0), square(8, 0)), np.ones((5, 2)), cell_m=4)
    )
    assert (len(grids), len(laid)) == (5, 2)


def test_gather__no_tile():
    none = GroundTiles(np.empty((0, 4, 2)), np.empty(0, np.int64), np.empty(0))
    with pytest.raises(ConfigError) as caught:
        gather(none, np.empty(0), cell_m=1)
    assert caught.value.setting == "cell_m"


def test_weigh_views__squared_cosine():
    weights = weigh_views(np.array([0.0, 100.0, np.nan]), np.array([100.0, 100.0, np.nan]))
    assert weights == pytest.approx([1, 0.5, 1])


def test_choose_cell_m__half_a_tile():
    assert choose_cell_m(np.array([square(0, 0, 12.8)], float)) == pytest.approx(6.4)


@pytest.mark.parametrize(
    ("longitude", "latitude", "epsg"),
    [(13.8, 47.6, 32633), (-71.9, -38.7, 32719), (180, 1, 32660), (0, 86, 32661), (0, -81, 32761)],
)
def test_choose_utm(longitude, latitude, epsg):
    assert choose_utm(longitude, latitude) == epsg


def test_find_middle__across_the_antimeridian():
    points = np.array([(179.9, 1.0), (-179.9, 2.0), (-179.8, 3.0)])
    assert find_middle(points) == pytest.approx((-179.9, 2))


def test_mark_near__two_flights_of_one_card():
    """Half of the tiles are 60 km away: no tile is near the middle of all."""
    centers = np.zeros((200, 2))
    centers[100:] += 60_000
    centers += np.random.default_rng(0).normal(0, 50, centers.shape)
    assert mark_near(centers).sum() == 100
    assert mark_near(centers[:101]).tolist() == [True] * 100 + [False]
    assert mark_near(centers[99:]).tolist() == [False] + [True] * 100


def test_mark_near__a_wrong_place():
    centers = np.array([(0, 0), (10, 10), (20, 0), (50_000, 0)], float)
    assert mark_near(centers).tolist() == [True, True, True, False]


def test_measure_rarity__by_hand():
    rarity = measure_rarity(np.array([0, 90, 99, 99.9, 100]))
    assert rarity == pytest.approx([0, 0.5, 1, 1, 1], abs=1e-6)


def test_choose_threshold__by_hand():
    scores = np.array([0.9, 0.8, 0.7, 0.2, 0.1])
    threshold = choose_threshold(scores, np.array([True, True, False, True, False]))
    assert threshold is not None
    # F1: one of three above .9 gives .5, two give .8, three of four above .2 give .857.
    assert (threshold.score, threshold.f1, threshold.labels) == (0.2, 0.8571, 5)


def test_choose_threshold__equal_scores_are_not_told_apart():
    threshold = choose_threshold(np.array([0.5, 0.5, 0.1]), np.array([True, False, False]))
    assert threshold is not None
    assert threshold.score == 0.5


@pytest.mark.parametrize("is_class", [[True, True], [False, False]])
def test_choose_threshold__labels_of_one_kind(is_class):
    assert choose_threshold(np.array([0.1, 0.2]), np.array(is_class)) is None
