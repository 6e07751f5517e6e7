"""Heat maps: scores of overlapping tiles, gathered in cells of the ground.

The score of a cell is the weighted mean of the scores of all tiles that show its middle. A tile counts more if
the camera looked straight down at it (the squared cosine of the angle), and if the cell is near the tile's
middle. Decision 059 compares this rule with others.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_assets.errors import ConfigError
from dino_assets.numerics.neighbours import blocks

_F64 = NDArray[np.float64]
_F32 = NDArray[np.float32]

CELLS_PER_TILE = 2  # along the side of a tile: the usual step between tiles
# A grid of more cells gets larger ones; 4 million take 310 MB while several classes are gathered.
MOST_CELLS = 4_000_000
_AT_ONCE_BYTES = 2**27  # of sums, for the classes that are gathered in one pass
RAREST = 1e-2  # share of all tiles whose score is 1
FAR_M = 20_000.0  # tiles farther from the middle of the flight are of another one, or have a wrong place
_SAMPLED = 500  # tiles among which the largest group is found
_LEAST_SHARE = 0.05  # weight of a tile for a cell at its edge; at its middle it is 1


@dataclass(frozen=True, eq=False)
class GroundTiles:
    """Tiles on a plane: ``corners`` (N, 4, 2) in metres east and north, in order around each tile.

    ``images`` (N,) numbers the photographs. ``weights`` (N,) say how much a tile counts, see ``weigh_views``.
    """

    corners: _F64
    images: NDArray[np.int64]
    weights: _F64

    def __len__(self) -> int:
        return len(self.corners)


@dataclass(frozen=True, eq=False)
class HeatGrid:
    """Cells of the ground: ``scores`` (H, W), NaN where no tile is, and the ``photographs`` (H, W) that show each.

    ``west`` and ``north`` are the coordinates of the upper left corner in metres.
    """

    scores: _F32
    photographs: _F32
    west: float
    north: float
    cell_m: float

    @property
    def hottest(self) -> tuple[float, float]:
        """The middle of the cell with the highest score, in metres east and north."""
        row, column = np.unravel_index(int(np.nanargmax(self.scores)), self.scores.shape)
        return (
            self.west + (int(column) + 0.5) * self.cell_m,
            self.north - (int(row) + 0.5) * self.cell_m,
        )


@dataclass(frozen=True)
class GridFrame:
    """Where a grid is: its upper left corner in metres, the side of a cell, and (H, W)."""

    west: float
    north: float
    cell_m: float
    shape: tuple[int, int]


@dataclass(frozen=True)
class Threshold:
    """The score from which on a cell is hot, and how it was chosen: by ``labels``, ``percentile`` or ``probability``.

    ``f1`` is that of the held-out labels at this score, and ``labels`` their number.
    """

    score: float
    chosen_by: str
    f1: float | None = None
    labels: int = 0


def choose_utm(longitude: float, latitude: float) -> int:
    """Return the EPSG code of the UTM zone of a place; near a pole that of the polar system."""
    if latitude >= 84:
        return 32661
    if latitude <= -80:
        return 32761
    zone = min(int((longitude + 180) // 6) + 1, 60)
    return (32600 if latitude >= 0 else 32700) + zone


def find_middle(degrees: _F64) -> tuple[float, float]:
    """Find the median longitude and latitude of points (N, 2), also across the antimeridian."""
    first = degrees[0, 0]
    east = (degrees[:, 0] - first + 180) % 360 - 180
    longitude = (first + float(np.median(east)) + 180) % 360 - 180
    return float(longitude), float(np.median(degrees[:, 1]))


def weigh_views(distances_m: _F64, heights_m: _F64) -> _F64:
    """Compute the squared cosine of the angle at which a camera sees each tile (N,).

    ``distances_m`` are those of the tile's middle from the point below the camera. Tiles without a known camera,
    such as those of a mosaic, count fully.
    """
    squares = np.square(heights_m)
    with np.errstate(invalid="ignore"):
        weights = squares / (squares + np.square(distances_m))
    return np.where(np.isfinite(weights), weights, 1.0)


def choose_cell_m(corners: _F64) -> float:
    """Choose the side of a cell: half the side of a typical tile, in whole centimetres."""
    sides_m = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).mean(axis=1)
    return max(round(float(np.median(sides_m)) / CELLS_PER_TILE, 2), 0.01)


def mark_near(centers: _F64) -> NDArray[np.bool_]:
    """Mark the tiles (N,) of the largest group of middles (N, K) in metres; others are far away or misplaced.

    The middle of all tiles would not do: between two flights of one card there may be no tile at all.
    """
    sample = centers[np.linspace(0, len(centers) - 1, min(len(centers), _SAMPLED)).astype(np.int64)]
    apart_m = np.linalg.norm(sample[:, None] - sample[None], axis=2)
    are_near = apart_m <= FAR_M
    middle = np.median(sample[are_near[are_near.sum(axis=1).argmax()]], axis=0)
    return np.asarray(np.linalg.norm(centers - middle, axis=1) <= FAR_M)


def measure_rarity(percentiles: _F64) -> _F32:
    """Convert percentiles (N,) to scores from 0 to 1: a half for the top 10 % of all tiles, 1 for the top 1 %.

    Plain percentiles have a mean of a half, so that one tile by chance would outweigh many that show the class.
    """
    shares = np.maximum(1 - np.asarray(percentiles) / 100, RAREST)
    return np.asarray(np.log10(shares) / np.log10(RAREST), np.float32)


def gather(
    tiles: GroundTiles, scores: NDArray[np.floating], *, cell_m: float
) -> Iterator[HeatGrid]:
    """Gather the scores (C, N) of tiles in cells, one grid per class; cells that are too many are made larger.

    Memory depends on the ground, not on the number of tiles.

    Raises:
        ConfigError: there is no tile, or ``cell_m`` is not above 0.
    """
    if not len(tiles) or not cell_m > 0:
        raise ConfigError(
            f"{len(tiles)} tiles in cells of {cell_m} m: expected at least one tile and a side above 0",
            setting="cell_m",
            value=cell_m,
        )
    low, high = tiles.corners.min(axis=(0, 1)), tiles.corners.max(axis=(0, 1))
    while np.prod(np.ceil((high - low) / cell_m) + 1) > MOST_CELLS:
        cell_m *= 2
    # Whole multiples of the cell: grids of two flights over one place have the same cells.
    west, south = np.floor(low / cell_m) * cell_m
    width, height = (max(1, math.ceil(n)) for n in (high - (west, south)) / cell_m)
    frame = GridFrame(
        float(west), float(south + height * cell_m), float(cell_m), (int(height), int(width))
    )
    for group in blocks(len(scores), max(1, _AT_ONCE_BYTES // (8 * height * width))):
        yield from _gather_group(tiles, scores[group], frame)


def _gather_group(
    tiles: GroundTiles, scores: NDArray[np.floating], frame: GridFrame
) -> Iterator[HeatGrid]:
    """Gather the scores (C, N) of classes in one pass over the tiles: most time goes into their outlines."""
    numbers = scores.T.astype(np.float64)
    weighted, weights = np.zeros((len(scores), *frame.shape)), np.zeros(frame.shape)
    photographs = np.zeros(frame.shape, np.float32)
    seen_in = np.full(frame.shape, -1, np.int64)
    for tile in np.argsort(tiles.images, kind="stable").tolist():
        columns, rows, shares = _cover(
            tiles.corners[tile], frame.west, frame.north, frame.cell_m, frame.shape
        )
        here = (rows, columns)
        amounts = shares * tiles.weights[tile]
        weighted[:, rows, columns] += amounts * numbers[tile, :, None, None]
        weights[here] += amounts
        is_new = (shares > 0) & (seen_in[here] != tiles.images[tile])
        photographs[here] += is_new
        seen_in[here] = np.where(is_new, tiles.images[tile], seen_in[here])
    for of_class in weighted:
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(weights > 0, of_class / weights, np.nan).astype(np.float32)
        yield HeatGrid(means, photographs, frame.west, frame.north, frame.cell_m)


def _cover(
    corners: _F64, west: float, north: float, cell_m: float, shape: tuple[int, int]
) -> tuple[slice, slice, _F64]:
    """Find the cells whose middle a tile shows: their columns and rows, and the share (h, w) of the tile in each.

    The share is 1 in the tile's middle and falls to 0.05 at its edge; it is 0 outside. A tile that shows the middle
    of no cell, because it is narrow or the cells are large, counts for the cell that its own middle is in.
    """
    low, high = corners.min(axis=0), corners.max(axis=0)
    first = max(0, math.floor((low[0] - west) / cell_m))
    last = min(shape[1], math.ceil((high[0] - west) / cell_m))
    top = max(0, math.floor((north - high[1]) / cell_m))
    bottom = min(shape[0], math.ceil((north - low[1]) / cell_m))
    x = west + (np.arange(first, last) + 0.5) * cell_m
    y = north - (np.arange(top, bottom) + 0.5) * cell_m
    middle = corners.mean(axis=0)
    inward = np.full((len(y), len(x)), np.inf)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        across = np.array([end[1] - start[1], start[0] - end[0]])
        reach = float(across @ (middle - start))
        if reach == 0:  # it has no area
            inward[:] = -1
            break
        offsets = across[0] * (x[None, :] - start[0]) + across[1] * (y[:, None] - start[1])
        inward = np.minimum(inward, offsets / reach)  # 0 at the edge, 1 in the middle
    shares = np.where(inward >= 0, _LEAST_SHARE + (1 - _LEAST_SHARE) * inward, 0)
    if not shares.any():
        column = min(max(math.floor((middle[0] - west) / cell_m), 0), shape[1] - 1)
        row = min(max(math.floor((north - middle[1]) / cell_m), 0), shape[0] - 1)
        return slice(column, column + 1), slice(row, row + 1), np.ones((1, 1))
    return slice(first, last), slice(top, bottom), shares


def choose_threshold(scores: NDArray[np.floating], is_class: NDArray[np.bool_]) -> Threshold | None:
    """Choose the score (N,) from which held-out labels are best told apart: the one with the largest F1.

    Return None if the labels are all of the class, or none of them is.
    """
    if is_class.all() or not is_class.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ordered, right = np.asarray(scores)[order], np.cumsum(is_class[order])
    count = np.arange(1, len(order) + 1)
    f1 = 2 * right / (count + is_class.sum())
    f1[np.append(ordered[:-1] == ordered[1:], False)] = -1  # only between different scores
    best = int(f1.argmax())
    return Threshold(float(ordered[best]), "labels", round(float(f1[best]), 4), len(order))
