"""Regions of a tile: means of patch vectors over a few squares, for objects much smaller than a tile."""

import math

import numpy as np
from numpy.typing import NDArray

from dino_assets.errors import ConfigError

REGIONS = "regions"  # the column
MOST_ACROSS = 8


def read_regions(text: str) -> int:
    """Read a setting such as ``4x4`` as the number of regions across a tile; empty is 0, for no regions.

    Raises:
        ConfigError: it is not two equal numbers of 2 to 8.
    """
    if not text:
        return 0
    rows, _, columns = text.partition("x")
    if rows != columns or not rows.isdecimal() or not 2 <= int(rows) <= MOST_ACROSS:
        raise ConfigError(
            f"regions={text!r}: two equal numbers of 2 to {MOST_ACROSS} are expected, such as 4x4, or nothing",
            setting="regions",
            value=text,
        )
    return int(rows)


def check_regions(across: int, side: int) -> None:
    """Check that each region of a tile holds a patch; ``side`` is the number of patches across the tile.

    Raises:
        ConfigError: there are more regions than patches.
    """
    if across > side:
        raise ConfigError(
            f"regions={across}x{across}: a tile has only {side}×{side} patches. Use fewer regions, or larger tiles",
            setting="regions",
            value=across,
        )


def pool_regions(patches: NDArray[np.float32], across: int) -> NDArray[np.float32]:
    """Average patch vectors (N, P, D) of square tiles over regions; return (N, across², D), row by row."""
    tiles, count, dim = patches.shape
    side = math.isqrt(count)
    edges = cut_side(side, across)
    square = patches.reshape(tiles, side, side, dim)
    sums = np.add.reduceat(np.add.reduceat(square, edges[:-1], axis=1), edges[:-1], axis=2)
    sizes = np.diff(edges).astype(np.float32)
    sums /= np.outer(sizes, sizes)[:, :, None]
    return np.asarray(sums.reshape(tiles, across * across, dim), np.float32)


def cut_side(side: int, across: int) -> NDArray[np.int64]:
    """Cut a side of ``side`` patches into ``across`` almost equal lengths; return the edges (across + 1,)."""
    return np.round(np.linspace(0, side, across + 1)).astype(np.int64)


def outline_region(
    region: int, across: int, window: tuple[int, int, int, int], *, span_px: int = 0
) -> tuple[int, int, int, int]:
    """Compute which part of the picture a region shows: x, y, width, height, to within half a patch.

    ``span_px`` is the tile's side in the picture, or 0 if the window is scaled to the square. A shorter window
    is padded by reflection, and a region in the padding shows the pixels that are reflected there.
    """
    x, y, width, height = window
    row, column = divmod(region, across)
    left, right = _locate(column, across, width, span_px)
    top, bottom = _locate(row, across, height, span_px)
    return x + left, y + top, right - left, bottom - top


def _locate(place: int, across: int, length: int, span_px: int) -> tuple[int, int]:
    """Return the first pixel that a row or column of regions shows, and the one after the last."""
    start, stop = ((span_px or length) * each // across for each in (place, place + 1))
    if stop <= length:
        return start, stop
    turned = np.arange(start, stop) % max(2 * (length - 1), 1)
    shown = np.minimum(turned, 2 * (length - 1) - turned)
    return int(shown.min()), int(shown.max()) + 1


def place_tile(
    window: tuple[int, ...], width: int, height: int, side_px: int
) -> tuple[int, int, int, int]:
    """Place a tile around the middle of a window; inside the picture, if the picture is large enough."""
    x, y, w, h = window
    left = min(max(0, x + (w - side_px) // 2), max(0, width - side_px))
    top = min(max(0, y + (h - side_px) // 2), max(0, height - side_px))
    return left, top, min(side_px, width - left), min(side_px, height - top)


def mark_patches(
    window: tuple[int, ...], tile: tuple[int, ...], shown_px: tuple[int, int], side: int
) -> tuple[slice, slice]:
    """Choose the patches whose middle is inside a window; at least the nearest one in each direction."""
    chosen: list[slice] = []
    for axis in (1, 0):  # rows, then columns
        patch_px = shown_px[axis] / side
        start = (window[axis] - tile[axis]) / patch_px
        stop = start + window[axis + 2] / patch_px
        first = min(max(0, round(start)), side - 1)
        chosen.append(slice(first, max(first + 1, min(side, round(stop)))))
    rows, columns = chosen
    return rows, columns
