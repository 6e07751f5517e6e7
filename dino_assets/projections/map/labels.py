"""Placement of labels beside rings without overlaps."""

import numpy as np
from numpy.typing import NDArray

# Sides of the ring on which a label may be: right, left, above, below, then the corners.
_SIDES = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1))


def place_labels(
    anchors: NDArray[np.float64],
    sizes: NDArray[np.float64],
    *,
    rings: NDArray[np.float64],
    radius: float,
    gap: float,
    width: float,
    height: float,
) -> list[tuple[float, float] | None]:
    """Place labels of ``sizes`` (K, 2) beside their anchors (K, 2), in order of importance.

    Return the middle of each label, or None if there is no room. A label overlaps neither a ring around one
    of ``rings`` (R, 2) nor an earlier label, and it is completely inside the picture.
    """
    middles: list[tuple[float, float] | None] = []
    boxes = np.empty((0, 4))  # left, top, right, bottom
    for anchor, size in zip(anchors, sizes, strict=True):
        box = _find_room(anchor, size / 2, rings, boxes, radius, gap, (width, height))
        if box is None:
            middles.append(None)
            continue
        boxes = np.vstack([boxes, box])
        middles.append((float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2))
    return middles


def _find_room(
    anchor: NDArray[np.float64],
    half: NDArray[np.float64],
    rings: NDArray[np.float64],
    boxes: NDArray[np.float64],
    radius: float,
    gap: float,
    room: tuple[float, float],
) -> NDArray[np.float64] | None:
    for side in np.array(_SIDES, np.float64):
        reach = radius + gap if abs(side).sum() == 1 else (radius + gap) * 0.75
        middle = anchor + side * (half + reach)
        low, high = middle - half, middle + half
        if low.min() < 0 or (high > room).any():
            continue
        nearest = np.clip(rings, low, high)  # the point of the box nearest to each ring
        if (np.hypot(*(rings - nearest).T) < radius).any():
            continue
        is_over = (boxes[:, :2] < high).all(axis=1) & (boxes[:, 2:] > low).all(axis=1)
        if not is_over.any():
            return np.concatenate([low, high])
    return None
