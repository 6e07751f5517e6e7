"""Labels beside rings: none covers another, a ring or an edge."""

import numpy as np
import pytest

from dino_assets.projections.map.labels import place_labels

OPTIONS = {"radius": 5, "gap": 1, "width": 100, "height": 80}


def place(anchors, size=(10, 8), **room):
    points = np.array(anchors, np.float64).reshape(-1, 2)
    sizes = np.tile(np.array(size, np.float64), (len(points), 1))
    return place_labels(points, sizes, **({"rings": points} | OPTIONS | room))


def test_place_labels__by_hand():
    assert place([[50, 40]]) == [(61, 40)]  # right: 5 of the ring, 1 between, 5 of its own
    assert place([[90, 40]]) == [(79, 40)]  # an edge is right
    assert place([[50, 40], [66, 40]]) == [(39, 40), (77, 40)]  # a ring is right
    assert place([[50, 40]], size=(200, 8)) == [None]
    assert place([]) == []


def test_place_labels__the_first_ones_first():
    # Six rings in one spot: each side has room for one, and the corners between are taken then.
    middles = place([[50, 40]] * 6)
    assert middles == [(61, 40), (39, 40), (50, 30), (50, 50), None, None]


@pytest.mark.parametrize("seed", range(5))
def test_place_labels__nothing_is_covered(seed):
    rng = np.random.default_rng(seed)
    rings = rng.uniform(0, [300, 200], (150, 2))
    sizes = rng.uniform([4, 6], [20, 12], (120, 2))  # not all rings have labels
    middles = place_labels(rings[:120], sizes, rings=rings, radius=5, gap=1, width=300, height=200)
    boxes = [(np.array(m), size / 2) for m, size in zip(middles, sizes, strict=True) if m]
    assert 40 < len(boxes) < 120
    for number, (middle, half) in enumerate(boxes):
        assert (middle - half).min() >= 0
        assert (middle + half <= [300, 200]).all()
        distances = np.maximum(np.abs(rings - middle) - half, 0)
        assert np.hypot(*distances.T).min() >= 5
        for other_middle, other_half in boxes[:number]:
            assert (np.abs(middle - other_middle) >= half + other_half - 1e-9).any()
