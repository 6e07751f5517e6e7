"""The exact grid: which windows of an image the model sees, and their names."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dino_assets.errors import ConfigError
from dino_assets.records import MAX_IMAGE_SIDE_PX, TileGrid

GRID_VERSION = 1
WHOLE_MAX_PX = 1024  # S0-03: up to this on both sides an image is one tile
OVERLAP = 0.5


def make_grid(side_px: int, *, overlap: float = OVERLAP, patch_px: int = 1) -> TileGrid:
    """A grid of square tiles.

    Raises:
        ConfigError: the side is not a positive multiple of the patch, or larger than any image, or
            the overlap leaves no step.
    """
    if side_px < 1 or side_px % patch_px:
        below = max(side_px // patch_px, 1) * patch_px
        raise ConfigError(
            f"tile_px={side_px} is not a positive multiple of the model's patch ({patch_px} px): "
            f"use {below} or {below + patch_px}"
        )
    if side_px > MAX_IMAGE_SIDE_PX:
        raise ConfigError(f"tile_px={side_px} is more than the largest side, {MAX_IMAGE_SIDE_PX}")
    if not 0 <= overlap <= 0.9:
        raise ConfigError(f"overlap={overlap} is outside 0 … 0.9 (a share of the tile's side)")
    return TileGrid(side_px, overlap, WHOLE_MAX_PX, GRID_VERSION)


def step_px(grid: TileGrid) -> int:
    """Distance between neighbouring tiles' left edges."""
    return max(1, round(grid.side_px * (1 - grid.overlap)))


def is_whole(width: int, height: int, grid: TileGrid) -> bool:
    """Tell whether an image is one tile, resized to the model's square."""
    return width <= grid.whole_max_px and height <= grid.whole_max_px


@lru_cache(maxsize=64)  # a camera writes one size; a drop has a handful
def cut_windows(width: int, height: int, grid: TileGrid) -> np.ndarray:
    """Windows (N, 4) int32 of x, y, w, h in the upright frame, sorted by x then y.

    Every pixel is covered: the last column and row are shifted inwards, so that no tile leaves an
    image that is at least one tile wide and high. On a shorter side the window is the image's own
    side and the reader pads it by reflection. Read-only, since it is shared.
    """
    if not (0 < width <= MAX_IMAGE_SIDE_PX and 0 < height <= MAX_IMAGE_SIDE_PX):
        raise ConfigError(f"{width}×{height} px: sides of 1 to {MAX_IMAGE_SIDE_PX} px can be tiled")
    if is_whole(width, height, grid):
        windows = np.array([[0, 0, width, height]], np.int32)
    else:
        xs, ys = _starts(width, grid), _starts(height, grid)
        x, y = np.meshgrid(xs, ys, indexing="ij")
        windows = np.empty((x.size, 4), np.int32)
        windows[:, 0], windows[:, 1] = x.ravel(), y.ravel()
        windows[:, 2], windows[:, 3] = min(width, grid.side_px), min(height, grid.side_px)
    windows.flags.writeable = False
    return windows


def _starts(length: int, grid: TileGrid) -> np.ndarray:
    last = max(0, length - grid.side_px)
    step = step_px(grid)
    return np.minimum(np.arange(-(-last // step) + 1) * step, last)


def count_windows(width: int, height: int, grid: TileGrid) -> int:
    """Number of tiles by formula, to hold the grid against."""
    if is_whole(width, height, grid):
        return 1
    step = step_px(grid)
    across = -(-max(0, width - grid.side_px) // step) + 1
    down = -(-max(0, height - grid.side_px) // step) + 1
    return across * down


def is_padded(windows: np.ndarray, grid: TileGrid, *, whole: bool) -> np.ndarray:
    """Which windows the reader completes by reflection (N,) bool. Whole images are resized instead."""
    if whole:
        return np.zeros(len(windows), bool)
    return (windows[:, 2] < grid.side_px) | (windows[:, 3] < grid.side_px)


def name_tiles(image_id: str, windows: np.ndarray, grid: TileGrid) -> list[str]:
    """Tile ids: usable as file names, sorted like the windows."""
    stem = image_id[:16]
    return [
        f"{stem}-x{x:05d}y{y:05d}w{w:05d}h{h:05d}-g{grid.version}"
        for x, y, w, h in windows.tolist()
    ]


def uncovered_px(width: int, height: int, windows: np.ndarray) -> int:
    """Pixels of an image that no window covers: 0 for a right grid. Exact, without painting pixels."""
    if not len(windows):
        return width * height
    xs = np.unique(np.clip(np.r_[0, windows[:, 0], windows[:, 0] + windows[:, 2], width], 0, width))
    ys = np.unique(
        np.clip(np.r_[0, windows[:, 1], windows[:, 1] + windows[:, 3], height], 0, height)
    )
    covered = np.zeros((len(xs) - 1, len(ys) - 1), bool)
    for x, y, w, h in windows.tolist():
        x0, x1 = np.searchsorted(xs, (x, min(x + w, width)))
        y0, y1 = np.searchsorted(ys, (y, min(y + h, height)))
        covered[x0:x1, y0:y1] = True
    areas = np.outer(np.diff(xs), np.diff(ys).astype(np.int64))  # int32 ends at 46,340²
    return int(areas[~covered].sum())


def cut_tiles(
    pixels: NDArray[np.uint8], windows: np.ndarray, grid: TileGrid, *, whole: bool
) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) of an upright image under its windows: (N, side, side, 3).

    A whole image is resized to the square (bilinear, antialiased, aspect not kept); a window shorter
    than a tile is completed by reflection; every other tile is exactly the image's pixels.
    """
    side = grid.side_px
    if whole:
        resized = Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)
        return np.asarray(resized)[None]
    tiles = np.empty((len(windows), side, side, 3), np.uint8)
    for tile, (x, y, w, h) in zip(tiles, windows.tolist(), strict=True):
        cut = pixels[y : y + h, x : x + w]
        tile[:] = (
            np.pad(cut, ((0, side - h), (0, side - w), (0, 0)), "reflect")
            if min(h, w) < side
            else cut
        )
    return tiles
