"""The area that quadrangles cover together."""

import numpy as np
import pytest

from dino_assets.numerics.earth import travel
from dino_assets.numerics.union_area import measure_union_m2


def make_squares(*squares: tuple[float, float, float], turn: float = 0.0) -> np.ndarray:
    """Squares of a centre in metres east and north and a side, turned by an angle."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    angle = np.radians(turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    metres = np.array([[x, y] + side * corners @ rotation for x, y, side in squares])
    return travel(8.5, 47.4, metres.reshape(-1, 2)).reshape(-1, 4, 2)


@pytest.mark.parametrize("turn", [0.0, 30.0])
@pytest.mark.parametrize(
    ("squares", "area_m2"),
    [
        ([(0, 0, 10)], 100),
        ([(0, 0, 10), (0, 0, 10)], 100),
        ([(0, 0, 10), (500, 0, 20)], 500),
        ([(0, 0, 10), (0, 0, 20)], 400),
        ([(0, 0, 10), (0, 0, 10), (0, 0, 10), (1000, 0, 10)], 200),
    ],
)
def test_measure_union__by_hand(
    squares: list[tuple[float, float, float]], area_m2: float, turn: float
):
    assert measure_union_m2(make_squares(*squares, turn=turn)) == pytest.approx(area_m2, rel=0.02)


def test_measure_union__half_overlapping():
    assert measure_union_m2(make_squares((0, 0, 10), (5, 0, 10))) == pytest.approx(150, rel=0.02)
    assert measure_union_m2(np.empty((0, 4, 2))) == 0
