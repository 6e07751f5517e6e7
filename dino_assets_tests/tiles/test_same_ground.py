"""Tiles of the same ground: by hand, and against comparing all pairs."""

from dataclasses import replace

import numpy as np
import pytest

from dino_assets.numerics.earth import travel
from dino_assets.tiles.same_ground import SameGround, Windows, show_same


def make_windows(
    *rows: tuple[str, tuple[int, int, int, int], tuple[float, float], float],
) -> Windows:
    """Windows of picture, box, metres east and north of a place, and side in metres."""
    image_ids, boxes, metres, sides_m = zip(*rows, strict=True)
    centers = travel(8.0, 47.0, np.array(metres, np.float64))
    return Windows(list(image_ids), np.array(boxes), centers, np.array(sides_m, np.float64))


NOWHERE = (np.nan, np.nan)


def test_excludes__windows_with_a_common_pixel():
    windows = make_windows(
        ("one", (0, 0, 100, 100), NOWHERE, np.nan),
        ("one", (99, 99, 100, 100), NOWHERE, np.nan),
        ("one", (100, 0, 100, 100), NOWHERE, np.nan),  # begins where the first one ends
        ("two", (0, 0, 100, 100), NOWHERE, np.nan),
    )
    same = SameGround(windows)
    assert [same.excludes(row).tolist() for row in range(4)] == [[1], [0, 2], [1], []]


def test_excludes__centers_nearer_than_half_of_the_larger_side():
    box = (0, 0, 100, 100)
    windows = make_windows(
        ("one", box, (0, 0), 10.0),
        ("two", box, (4.5, 0), 10.0),
        ("three", box, (-5.5, 0), 10.0),
        ("four", box, (18, 0), 40.0),  # a larger tile: its ground reaches 20 m
        ("five", box, (0, 0), np.nan),  # of unknown size
        ("six", box, NOWHERE, np.nan),
    )
    same = SameGround(windows)
    assert [same.excludes(row).tolist() for row in range(6)] == [
        [1, 3], [0, 3], [], [0, 1], [], [],
    ]  # fmt: skip


def test_excludes__windows_of_one_picture_are_compared_in_pixels_only():
    """Near the top of an oblique photograph, windows without a common pixel have near centers."""
    windows = make_windows(
        ("one", (0, 0, 100, 100), (0, 0), 50.0), ("one", (100, 0, 100, 100), (9, 0), 50.0)
    )
    assert SameGround(windows).excludes(0).tolist() == []
    others = make_windows(("one", (200, 0, 100, 100), (9, 0), 50.0))
    assert SameGround(windows).find(others).tolist() == []


def test_find__windows_of_others():
    windows = make_windows(
        ("one", (0, 0, 10, 10), (0, 0), 10.0),
        ("two", (0, 0, 10, 10), (30, 0), 10.0),
        ("three", (0, 0, 10, 10), (60, 0), 10.0),
    )
    others = make_windows(
        ("one", (5, 5, 20, 20), NOWHERE, np.nan), ("seven", (0, 0, 9, 9), (63, 0), np.nan)
    )
    assert SameGround(windows).find(others).tolist() == [0, 2]
    assert SameGround(windows).find(windows).tolist() == [0, 1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_excludes__equals_all_pairs(seed: int):
    """Sides of 1 m to 1 km in one list."""
    rng = np.random.default_rng(seed)
    count = 300
    rows = [
        (
            f"picture {rng.integers(40)}",
            (*rng.integers(0, 500, 2).tolist(), *rng.integers(1, 200, 2).tolist()),
            NOWHERE if rng.random() < 0.2 else tuple(rng.uniform(-300, 300, 2).tolist()),
            np.nan if rng.random() < 0.2 else 10 ** rng.uniform(0, 3),
        )
        for _ in range(count)
    ]
    same = SameGround(make_windows(*rows))
    for number, row in enumerate(rows):
        others = [n for n, other in enumerate(rows) if n != number and shows_same(row, other)]
        assert same.excludes(number).tolist() == others
    pairs = rng.integers(0, count, (2, 500)).tolist()
    one, other = ([rows[number] for number in numbers] for numbers in pairs)
    compared = show_same(make_windows(*one), make_windows(*other))
    assert compared.tolist() == [shows_same(*pair) for pair in zip(one, other, strict=True)]


def shows_same(row: tuple, other: tuple) -> bool:
    """The definition."""
    (image, (x, y, w, h), place, side_m) = row
    (other_image, (left, top, width, height), other_place, other_side_m) = other
    if image == other_image:
        return left - w < x < left + width and top - h < y < top + height
    apart_m = np.hypot(*np.subtract(place, other_place))
    return bool(apart_m < np.maximum(side_m, other_side_m) / 2)


# --- boxes ----------------------------------------------------------------------------------

BOX = (0, 0, 100, 100)


def with_groups(windows: Windows, *groups: str | None) -> Windows:
    return replace(windows, groups=groups)


def test_excludes__boxes_of_one_group():
    nowhere = [("one", BOX, NOWHERE, np.nan), ("two", BOX, NOWHERE, np.nan)]
    windows = make_windows(*nowhere, *nowhere, ("three", BOX, NOWHERE, np.nan))
    same = SameGround(with_groups(windows, "a", "a", "b", "a", "c"))
    assert [same.excludes(row).tolist() for row in range(5)] == [[1, 3], [0, 3], [], [0, 1], []]


def test_excludes__boxes_that_overlap_in_a_picture_show_an_object_each():
    """A fire in its smoke: a label for one is no label for the other. A tile of a grid shows both."""
    windows = make_windows(*[("one", BOX, NOWHERE, np.nan)] * 3)
    same = SameGround(with_groups(windows, "smoke", "fire", None))
    assert [same.excludes(row).tolist() for row in range(3)] == [[2], [2], [0, 1]]


def test_excludes__boxes_of_near_places():
    windows = make_windows(("one", BOX, (0, 0), 10.0), ("two", BOX, (4, 0), 10.0))
    assert SameGround(with_groups(windows, "a", "b")).excludes(0).tolist() == [1]


def test_find__a_box_of_an_earlier_round():
    windows = make_windows(
        ("one", BOX, NOWHERE, np.nan), ("one", BOX, NOWHERE, np.nan), ("two", BOX, NOWHERE, np.nan)
    )
    same = SameGround(with_groups(windows, "a", "b", "a"))
    others = make_windows(("one", BOX, NOWHERE, np.nan))
    assert same.find(with_groups(others, "a")).tolist() == [0, 2]
    assert same.find(others).tolist() == [0, 1]


def test_show_same__boxes():
    box = ("one", BOX, NOWHERE, np.nan)
    ones = with_groups(make_windows(box, box, box, ("two", *box[1:])), "a", "a", None, "a")
    others = with_groups(make_windows(box, box, box, box), "a", "b", "b", "a")
    assert show_same(ones, others).tolist() == [True, False, True, True]


def test_find__a_box_whose_edges_another_run_of_the_detector_moved():
    windows = make_windows(
        ("one", (2, 1, 100, 99), NOWHERE, np.nan),
        ("one", (50, 0, 100, 100), NOWHERE, np.nan),  # overlaps by a third: another object
        ("two", (0, 0, 100, 100), NOWHERE, np.nan),  # the first one in a later picture
    )
    same = SameGround(with_groups(windows, "a", "b", "a"))
    others = make_windows(("one", BOX, NOWHERE, np.nan))
    assert same.find(with_groups(others, "gone")).tolist() == [0, 2]
    assert same.find(with_groups(make_windows(("two", BOX, NOWHERE, np.nan)), "gone")).tolist() == [
        0,
        2,
    ]
