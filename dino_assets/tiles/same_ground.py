"""Tiles that show the same ground: windows that overlap in a picture, and places near each other.

A drone photographs every piece of ground several times, and tiles of one picture overlap, too. A label for one
of such tiles is a label for all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dino_assets.numerics.earth import place_on_ellipsoid
from dino_assets.tiles.rows import TileRow

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of tiles: their pictures, boxes (N, 4) with x, y, w, h in px, and their ground.

    ``centers`` (N, 2) are longitude and latitude in degrees, and ``sides_m`` (N,) the metres of ground along the
    larger side. Both are NaN where they are unknown.
    """

    image_ids: Sequence[str]
    boxes: NDArray[np.int64]
    centers: NDArray[np.float64]
    sides_m: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.image_ids)


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
    return Windows([tile.image_id for tile in tiles], boxes, numbers[:, 4:6], sides_m)


def show_same(windows: Windows, others: Windows) -> NDArray[np.bool_]:
    """Compare windows one by one with as many others: do they show the same ground, as ``SameGround`` says?"""
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
    return np.asarray(np.where(is_one_picture, ~is_apart, is_near), bool)


@dataclass(frozen=True, eq=False)
class _Octave:
    """Tiles whose sides differ by less than a factor of two, with a search tree of their places."""

    rows: NDArray[np.int64]
    tree: "cKDTree"
    largest_m: float


class SameGround:
    """A search among windows for those that show the same ground.

    Two windows of one picture show the same ground if they have a pixel in common. Windows of two pictures do
    if both places are known, and their centers are nearer than half of the larger side.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._places = place_on_ellipsoid(windows.centers)
        images, numbers = np.unique(np.asarray(windows.image_ids, object), return_inverse=True)
        order = np.argsort(numbers, kind="stable")
        rows = np.split(order, np.cumsum(np.bincount(numbers, minlength=len(images)))[:-1])
        self._by_image = dict(zip(images.tolist(), rows, strict=False))  # no images, one empty part
        self._octaves = self._grow_trees()

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
        """Find the other windows that show the same ground as one of them, ascending."""
        same = self._find_overlapping(self._windows, row)
        if self._windows.sides_m[row] > 0:
            same = np.union1d(same, self._find_near(self._windows, row, self._places[row]))
        return np.asarray(same[same != row])

    def find(self, others: Windows) -> NDArray[np.int64]:
        """Find the windows that show the same ground as one of some others, ascending.

        If only the side of another window is unknown, the sides of these windows are compared.
        """
        is_same = np.zeros(len(self._windows), bool)
        for row, place in enumerate(place_on_ellipsoid(others.centers)):
            is_same[self._find_overlapping(others, row)] = True
            is_same[self._find_near(others, row, place)] = True
        return np.flatnonzero(is_same)

    def _find_overlapping(self, of: Windows, row: int) -> NDArray[np.int64]:
        rows = self._by_image.get(of.image_ids[row], _NO_ROWS)
        x, y, w, h = self._windows.boxes[rows].T
        left, top, width, height = of.boxes[row].tolist()
        is_beside = (x >= left + width) | (left >= x + w)
        is_below = (y >= top + height) | (top >= y + h)
        return np.asarray(rows[~(is_beside | is_below)])

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
