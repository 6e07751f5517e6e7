"""Splits of labelled tiles into folds that share no ground, no flight or no photograph."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_assets.numerics.earth import SPHERE_M_PER_DEGREE, place_on_ellipsoid
from dino_assets.probes.probe_settings import SplitBy


@dataclass(frozen=True, eq=False)
class TileGround:
    """The drop and photograph of N tiles, and where they are on the ground.

    ``centers`` (N, 2) are longitude and latitude in degrees, and ``sides_m`` (N,) the sides in metres. Both are
    NaN for a tile without a place.
    """

    drops: Sequence[str]
    image_ids: Sequence[str]
    centers: NDArray[np.float64]
    sides_m: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.drops)

    @property
    def are_placed(self) -> NDArray[np.bool_]:
        """Whether each tile's place on the ground is known (N,)."""
        return np.asarray(np.isfinite(self.centers).all(axis=1))


def name_groups(tiles: TileGround, by: SplitBy, *, block_m: float) -> list[str]:
    """Name the group of each tile, which is held out as a whole.

    A ground block is a cell of a fixed grid of ``block_m`` metres. Tiles without a place are grouped by
    photograph.
    """
    if by == "flight":
        return [f"flight {drop}" for drop in tiles.drops]
    names = [f"photograph {image_id}" for image_id in tiles.image_ids]
    if by == "ground":
        for row in np.flatnonzero(tiles.are_placed):
            names[row] = _name_block(tiles.centers[row], block_m)
    return names


def _name_block(center: NDArray[np.float64], block_m: float) -> str:
    longitude, latitude = center.tolist()
    line = math.floor(latitude * SPHERE_M_PER_DEGREE / block_m)
    # The width of a degree is that of the line's middle, so that all tiles of a line use one grid.
    middle = math.radians((line + 0.5) * block_m / SPHERE_M_PER_DEGREE)
    m_per_degree = SPHERE_M_PER_DEGREE * max(math.cos(middle), 0.0)
    return f"block {line} {math.floor(longitude * m_per_degree / block_m)}"


def number_groups(names: Sequence[str]) -> NDArray[np.int64]:
    """Number groups from 0 in the order of their names; return the number of each tile's group (N,)."""
    return np.unique(np.array(names, object), return_inverse=True)[1].astype(np.int64)


def split_folds(
    groups: NDArray[np.int64], classes: NDArray[np.int64], *, folds: int, seed: int
) -> NDArray[np.int64]:
    """Assign each group to a fold from 0, such that the folds have similar shares of the classes.

    There are fewer folds if there are fewer groups, or if no class has so many labels. All tiles get 0 if they
    cannot be split.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    largest = int(np.bincount(classes).max(initial=0))
    count = min(folds, len(np.unique(groups)), largest)
    numbers = np.zeros(len(groups), np.int64)
    if count < 2:
        return numbers
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # a class has fewer labels than there are folds: then some lack it
        for fold, (_, rows) in enumerate(splitter.split(groups, classes, groups)):
            numbers[rows] = fold
    return numbers


def find_leaks(tiles: TileGround, is_out: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the tiles that show ground of a tile that is held out; return whether each does (N,).

    Two tiles may show the same ground if their centres are nearer than half the sum of their diagonals. So
    tiles at the border of a block are found, too, and so are those of another flight. Tiles of one photograph
    are found if one of them has no place.
    """
    from scipy.spatial import cKDTree

    are_placed, leaks = tiles.are_placed, np.zeros(len(tiles), bool)
    images = np.unique(np.array(tiles.image_ids, object), return_inverse=True)[1]
    out_images, vague = np.unique(images[is_out]), np.unique(images[~are_placed])
    leaks |= np.isin(images, np.intersect1d(out_images, vague))
    out, rest = np.flatnonzero(is_out & are_placed), np.flatnonzero(~is_out & are_placed)
    if len(out) and len(rest):
        points = place_on_ellipsoid(tiles.centers)
        halves = np.nan_to_num(tiles.sides_m) * math.sqrt(0.5)
        tree = cKDTree(points[out])
        near = tree.query_ball_point(points[rest], halves[rest] + halves[out].max())
        for row, places in zip(rest.tolist(), near, strict=True):
            others = out[places]
            distances = np.linalg.norm(points[others] - points[row], axis=1)
            leaks[row] |= bool((distances < halves[row] + halves[others]).any())
    return leaks & ~is_out
