"""Tiles that show the same ground: windows that overlap in a picture, and places near each other.

A drone photographs every piece of ground several times, and tiles of one picture overlap, too. A label for
one of these tiles is a label for all of them. A tile of a detector's box shows one object. For such tiles
the group of boxes decides, not an overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dino_assets.numerics.earth import place_on_ellipsoid
from dino_assets.tiles.recurring import SAME_BOX, measure_overlaps
from dino_assets.tiles.rows import TileRow

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of tiles: their pictures, boxes (N, 4) with x, y, w, h in px, and their ground.

    ``centers`` (N, 2) are longitude and latitude in degrees, and ``sides_m`` (N,) the metres of ground along the
    larger side. Both are NaN where they are unknown. ``groups`` (N) has the group of recurring boxes of each
    tile that is a detector's box, and None for tiles of a grid; it may be empty if there is no box.
    """

    image_ids: Sequence[str]
    boxes: NDArray[np.int64]
    centers: NDArray[np.float64]
    sides_m: NDArray[np.float64]
    groups: Sequence[str | None] = ()

    def __len__(self) -> int:
        return len(self.image_ids)

    def list_groups(self) -> NDArray[np.object_]:
        """List the group of each window (N,), None for a tile of a grid."""
        groups = np.full(len(self), None, object)
        groups[: len(self.groups)] = self.groups
        return groups


def make_windows(tiles: Sequence[TileRow]) -> Windows:
    """Make windows of rows of the table ``tiles``."""
    numbers = np.array(
        [
            (
                *(tile.x, tile.y, tile.w, tile.h),
                tile.place.center_longitude,
                tile.place.center_latitude,
                tile.place.gsd_m,
            )
            for tile in tiles
        ],
        np.float64,
    ).reshape(-1, 7)
    boxes = numbers[:, :4].astype(np.int64)
    sides_m = boxes[:, 2:].max(axis=1, initial=0) * numbers[:, 6]
    groups = [tile.box.box_group if tile.box else None for tile in tiles]
    return Windows([tile.image_id for tile in tiles], boxes, numbers[:, 4:6], sides_m, groups)


def show_same(windows: Windows, others: Windows) -> NDArray[np.bool_]:
    """Compare each window with the window at the same position in ``others``; mark pairs of the same ground."""
    x, y, w, h = windows.boxes.T
    left, top, width, height = others.boxes.T
    is_apart = (x >= left + width) | (left >= x + w) | (y >= top + height) | (top >= y + h)
    images = np.asarray(windows.image_ids, object), np.asarray(others.image_ids, object)
    is_one_picture = images[0] == images[1]
    apart_m = np.linalg.norm(
        place_on_ellipsoid(windows.centers) - place_on_ellipsoid(others.centers), axis=1
    )
    with np.errstate(invalid="ignore"):
        is_near = apart_m < np.fmax(windows.sides_m, others.sides_m) / 2
    is_near &= (windows.sides_m > 0) & (others.sides_m > 0)
    groups, others_groups = windows.list_groups(), others.list_groups()
    are_boxes = _mark_boxes(groups) & _mark_boxes(others_groups)
    is_one_group = are_boxes & (groups == others_groups)
    is_shared = np.where(is_one_picture, ~is_apart & ~are_boxes, is_near)
    return np.asarray(is_shared | is_one_group, bool)


def _mark_boxes(groups: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Mark the windows that are a detector's boxes: they have a group."""
    return np.array([group is not None for group in groups.tolist()], bool)


@dataclass(frozen=True, eq=False)
class _Octave:
    """Tiles whose sides differ by less than a factor of two, with a search tree of their places."""

    rows: NDArray[np.int64]
    tree: "cKDTree"
    largest_m: float


class SameGround:
    """A search among windows for those that show the same ground.

    Two windows of one picture show the same ground if they have a pixel in common. Windows of two pictures do
    if both places are known, and their centers are nearer than half of the larger side. Two boxes of one
    picture show the same ground only if they are of one group. Boxes of one group always do.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._places = place_on_ellipsoid(windows.centers)
        images, numbers = np.unique(np.asarray(windows.image_ids, object), return_inverse=True)
        order = np.argsort(numbers, kind="stable")
        rows = np.split(order, np.cumsum(np.bincount(numbers, minlength=len(images)))[:-1])
        self._by_image = dict(zip(images.tolist(), rows, strict=False))  # no images, one empty part
        self._octaves = self._grow_trees()
        self._groups = windows.list_groups()
        self._are_boxes = _mark_boxes(self._groups)
        by_group: dict[str, list[int]] = {}
        for row, group in enumerate(self._groups.tolist()):
            if group is not None:
                by_group.setdefault(group, []).append(row)
        self._by_group = {group: np.array(rows) for group, rows in by_group.items()}

    def _grow_trees(self) -> list[_Octave]:
        """Make a tree for each octave of sides: one huge tile does not widen the search for all others."""
        from scipy.spatial import cKDTree

        sides_m = self._windows.sides_m
        placed = np.flatnonzero((sides_m > 0) & np.isfinite(self._places).all(axis=1))
        octaves = np.floor(np.log2(sides_m[placed]))
        grown = []
        for octave in np.unique(octaves):
            rows = placed[octaves == octave]
            tree = cKDTree(self._places[rows])
            grown.append(_Octave(rows, tree, float(sides_m[rows].max())))
        return grown

    def excludes(self, row: int) -> NDArray[np.int64]:
        """Find the other windows that show the same ground as the window ``row``, ascending."""
        group = self._groups[row]
        same = self._find_overlapping(self._windows, row, group)
        if self._windows.sides_m[row] > 0:
            same = np.union1d(same, self._find_near(self._windows, row, self._places[row]))
        return np.asarray(same[same != row])

    def find(self, others: Windows) -> NDArray[np.int64]:
        """Find the windows that show the same ground as any of ``others``, ascending.

        If the metres of a window in ``others`` are unknown, only the sides of these windows are used.
        """
        is_same = np.zeros(len(self._windows), bool)
        groups = others.list_groups()
        for row, place in enumerate(place_on_ellipsoid(others.centers)):
            is_same[self._find_overlapping(others, row, groups[row])] = True
            is_same[self._find_group_of_box(others, row, groups[row])] = True
            is_same[self._find_near(others, row, place)] = True
        return np.flatnonzero(is_same)

    def _find_overlapping(self, of: Windows, row: int, group: str | None) -> NDArray[np.int64]:
        """Find windows of the same picture with a common pixel; of the boxes, only and all those of its group."""
        rows = self._by_image.get(of.image_ids[row], _NO_ROWS)
        x, y, w, h = self._windows.boxes[rows].T
        left, top, width, height = of.boxes[row].tolist()
        is_beside = (x >= left + width) | (left >= x + w)
        is_below = (y >= top + height) | (top >= y + h)
        overlapping = np.asarray(rows[~(is_beside | is_below)])
        if group is None:
            return overlapping
        of_grid = overlapping[~self._are_boxes[overlapping]]
        return np.union1d(of_grid, self._by_group.get(group, _NO_ROWS))

    def _find_group_of_box(self, of: Windows, row: int, group: str | None) -> NDArray[np.int64]:
        """Find the group of a box whose group is unknown, by the nearly equal boxes in its picture.

        Another run of a detector moves the edges of a box, and a drop's least score may change.
        """
        rows = self._by_image.get(of.image_ids[row], _NO_ROWS)
        rows = rows[self._are_boxes[rows]]
        if group is None or group in self._by_group or not len(rows):
            return _NO_ROWS
        shares = measure_overlaps(
            of.boxes[row].astype(np.float64), self._windows.boxes[rows].astype(np.float64)
        )
        alike = rows[shares == 1] if (shares == 1).any() else rows[shares >= SAME_BOX]
        members = [self._by_group[self._groups[each]] for each in alike.tolist()]
        return np.concatenate([_NO_ROWS, *members])

    def _find_near(self, of: Windows, row: int, place: NDArray[np.float64]) -> NDArray[np.int64]:
        """Find windows of other pictures whose centers are near the ``place`` of a window."""
        if not np.isfinite(place).all():
            return _NO_ROWS
        own_m = of.sides_m[row] if of.sides_m[row] > 0 else 0.0
        near = [_NO_ROWS]
        for octave in self._octaves:
            reach_m = max(own_m, octave.largest_m) / 2
            rows = octave.rows[octave.tree.query_ball_point(place, reach_m)]
            apart_m = np.linalg.norm(self._places[rows] - place, axis=1)
            near.append(rows[apart_m < np.maximum(own_m, self._windows.sides_m[rows]) / 2])
        own_picture = self._by_image.get(of.image_ids[row], _NO_ROWS)
        return np.setdiff1d(np.concatenate(near), own_picture)
