"""Groups of boxes that recur at one place in the pictures of one camera, such as a branch in the wind."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

# Two boxes are one if their intersection is at least this share of their union. Detectors shift the edges of
# a box that they report again by a few hundredths of its side.
SAME_BOX = 0.7
_F64 = NDArray[np.float64]


def group_boxes(boxes: _F64, keys: Sequence[Hashable]) -> NDArray[np.int64]:
    """Group boxes (N, 4: x, y, w, h) of equal keys; return for each the row of its group's first box.

    A box joins the group whose first box it covers best, if the intersection is at least ``SAME_BOX`` of the
    union. All members of a group are compared with its first box. So a chain of boxes, each
    shifted a little from the one before, does not become one group.
    """
    leaders_of: dict[Hashable, list[int]] = {}
    leaders: dict[Hashable, _F64] = {}
    group = np.arange(len(boxes), dtype=np.int64)
    for row, key in enumerate(keys):
        rows = leaders_of.setdefault(key, [])
        size = len(rows)
        held = leaders.setdefault(key, np.empty((4, 4)))
        if size:
            shares = measure_overlaps(boxes[row], held[:size])
            best = int(np.argmax(shares))
            if shares[best] >= SAME_BOX:
                group[row] = rows[best]
                continue
        if size == len(held):  # grows in steps, because a camera may have a hundred thousand boxes
            leaders[key] = held = np.concatenate([held, np.empty_like(held)])
        held[size] = boxes[row]
        rows.append(row)
    return group


def measure_overlaps(box: _F64, others: _F64) -> _F64:
    """Measure the intersection of a box (4,) with each of some others (N, 4), as a share of the union."""
    x, y, w, h = others.T
    wide = np.minimum(box[0] + box[2], x + w) - np.maximum(box[0], x)
    high = np.minimum(box[1] + box[3], y + h) - np.maximum(box[1], y)
    common = np.clip(wide, 0, None) * np.clip(high, 0, None)
    return np.asarray(common / (box[2] * box[3] + w * h - common))
