"""Groups of boxes that recur at one place."""

import numpy as np
import pytest

from dino_assets.tiles.recurring import SAME_BOX, group_boxes, measure_overlaps


def group(*rows: tuple[str, float, float, float, float]) -> list[int]:
    boxes = np.array([row[1:] for row in rows], np.float64).reshape(-1, 4)
    return group_boxes(boxes, [row[0] for row in rows]).tolist()


def test_measure_overlaps__by_hand():
    box = np.array([0, 0, 10, 10], np.float64)
    others = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [10, 0, 10, 10], [0, 0, 10, 7]], np.float64)
    assert measure_overlaps(box, others) == pytest.approx([1, 1 / 3, 0, 0.7])


def test_group_boxes__by_hand():
    assert group() == []
    assert group(
        ("cam1", 0, 0, 100, 100),
        ("cam1", 5, 5, 100, 100),  # 0.82
        ("cam1", 50, 0, 100, 100),
        ("cam2", 0, 0, 100, 100),  # another camera
        ("cam1", 0, 0, 100, 70),  # exactly the limit
        ("cam1", 0, 0, 100, 69),
        ("cam1", 52, 0, 100, 100),
    ) == [0, 0, 2, 3, 0, 5, 2]


def test_group_boxes__a_row_of_near_boxes_is_no_single_group():
    """An animal walks past: each box is near the one before, and the last one is another picture."""
    boxes = [("cam1", 10.0 * step, 0.0, 100.0, 100.0) for step in range(12)]
    groups = group(*boxes)
    assert len(set(groups)) > 3
    for row, leader in enumerate(groups):
        assert measure_overlaps(np.array(boxes[row][1:]), np.array([boxes[leader][1:]])) >= SAME_BOX


def test_group_boxes__drawn_places_are_told_apart():
    rng = np.random.default_rng(0)
    places = np.stack(np.meshgrid(np.arange(8), np.arange(5)), -1).reshape(-1, 2) * 100.0
    which = rng.integers(0, 40, 600)
    boxes = np.concatenate([places[which], np.full((600, 2), 120.0)], 1)
    boxes[:, :2] += rng.uniform(-4, 4, (600, 2))
    boxes[:, 2:] += rng.uniform(-4, 4, (600, 2))
    keys = ["north" if number % 2 else "south" for number in which]
    groups = group_boxes(boxes, keys)
    firsts = {number: int(np.flatnonzero(which == number)[0]) for number in set(which.tolist())}
    expected = [firsts[number] for number in which.tolist()]
    assert groups.tolist() == expected
