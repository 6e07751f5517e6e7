"""The grid of tiles: windows of an image, tile ids, and cutting of pixels."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from dino_assets.errors import ConfigError
from dino_assets.images.records import CELL_PX, MAX_IMAGE_SIDE_PX, Pixels
from dino_assets.settings.choices import check_range


@dataclass(frozen=True)
class TileGrid:
    """The rules for cutting images: side in px, overlap, and the version of the rules.

    ``overlap`` is the share of a side that neighbouring tiles have in common. An image with both sides up to
    ``whole_max_px`` is one tile. With ``side_m`` every tile shows that many metres of ground, at any height
    of flight. A window of that size is cut from the image, then scaled to ``side_px``.
    """

    side_px: int
    overlap: float
    whole_max_px: int
    version: int
    side_m: float | None = None


GRID_VERSION = 1
# The version for tiles in metres. Tile ids contain the version, and the same window of a small image is
# padded in version 2 but resized as a whole in version 1.
GROUND_VERSION = 2
BOX_VERSION = 3  # for tiles that are a detector's boxes
WHOLE_MAX_PX = 1024  # an image up to this size on both sides is one tile
OVERLAP = 0.5
MAX_SIDE_M = 10_000
# A tile that is enlarged from fewer pixels per side shows nothing that the model was trained on.
MIN_SPAN_PX = 32


def make_grid(
    side_px: int, *, overlap: float = OVERLAP, patch_px: int = 1, side_m: float | None = None
) -> TileGrid:
    """Make a grid of square tiles; with ``side_m`` each shows that many metres of ground.

    Raises:
        ConfigError: ``side_px`` is not a positive multiple of ``patch_px`` or is larger than any image, or
            ``overlap`` or ``side_m`` is outside its limits.
    """
    if side_px < 1 or side_px % patch_px:
        below = max(side_px // patch_px, 1) * patch_px
        raise ConfigError(
            f"tile_px={side_px} is not a positive multiple of the model's patch ({patch_px} px): "
            f"use {below} or {below + patch_px}",
            setting="tile_px",
            value=side_px,
        )
    check_range("tile_px", side_px, least=1, most=MAX_IMAGE_SIDE_PX)
    check_range("overlap", overlap, least=0, most=0.9, meaning="a share of the tile's side")
    if side_m is not None and not 0 < side_m <= MAX_SIDE_M:
        raise ConfigError(
            f"tile_m={side_m}: expected more than 0 and at most {MAX_SIDE_M} metres of ground",
            setting="tile_m",
            value=side_m,
        )
    return TileGrid(side_px, overlap, WHOLE_MAX_PX, GRID_VERSION, side_m)


def fit_grid(grid: TileGrid, width: int, height: int, *, gsd_m: float | None) -> TileGrid:
    """Convert a grid to the pixels of one image; a grid without ``side_m`` is returned unchanged.

    With a side in metres, tiles of every image show the same size of ground, so that flights at 30 m and at
    120 m are comparable. An image with an unknown ``gsd_m`` (metres of ground per pixel) is cut in pixels. An
    image that shows less ground than a tile becomes one square, padded by reflection.

    Raises:
        ConfigError: a tile would be enlarged from fewer than ``MIN_SPAN_PX`` pixels.
    """
    if grid.side_m is None or gsd_m is None or not gsd_m > 0:
        return replace(grid, side_m=None)
    span = min(round(grid.side_m / gsd_m), max(width, height, MIN_SPAN_PX))
    if span < MIN_SPAN_PX:
        raise ConfigError(
            f"tile_m={grid.side_m:g} is only {span} px in this image, because one pixel shows {gsd_m:.3g} m "
            f"of ground. Use at least {MIN_SPAN_PX * gsd_m:.3g} m",
            setting="tile_m",
            value=grid.side_m,
        )
    return TileGrid(span, grid.overlap, 0, GROUND_VERSION)


def step_px(grid: TileGrid) -> int:
    """Compute the distance in px between the left edges of neighbouring tiles."""
    return max(1, round(grid.side_px * (1 - grid.overlap)))


def is_whole(width: int, height: int, grid: TileGrid) -> bool:
    """Check whether an image becomes one tile, resized to the model's square."""
    return width <= grid.whole_max_px and height <= grid.whole_max_px


@lru_cache(maxsize=64)  # a camera writes one size, so a drop has few sizes
def cut_windows(width: int, height: int, grid: TileGrid) -> np.ndarray:
    """Compute an image's windows (N, 4) int32: x, y, w, h in the upright image, sorted by x, then y.

    Every pixel is covered. The last column and row are shifted inwards, so no tile extends beyond an image,
    unless the image is smaller than a tile. On a shorter side, the window has the image's side and is padded
    by reflection when it is read. The array is read-only, because it is cached.
    """
    if not (0 < width <= MAX_IMAGE_SIDE_PX and 0 < height <= MAX_IMAGE_SIDE_PX):
        raise ConfigError(
            f"an image of {width}×{height} px cannot be tiled: expected sides of 1 to "
            f"{MAX_IMAGE_SIDE_PX} px",
            setting="size_px",
            value=(width, height),
        )
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
    """Compute by a formula how many tiles an image has, to check ``cut_windows``."""
    if is_whole(width, height, grid):
        return 1
    step = step_px(grid)
    across = -(-max(0, width - grid.side_px) // step) + 1
    down = -(-max(0, height - grid.side_px) // step) + 1
    return across * down


def is_padded(windows: np.ndarray, grid: TileGrid, *, whole: bool) -> np.ndarray:
    """Mark the windows that are padded by reflection; return bool (N,).

    With ``whole``, the only window is a whole image, which is resized instead.
    """
    if whole:
        return np.zeros(len(windows), bool)
    return (windows[:, 2] < grid.side_px) | (windows[:, 3] < grid.side_px)


def name_tiles(image_id: str, windows: np.ndarray, grid: TileGrid) -> list[str]:
    """Make the id of each tile. Ids are valid file names, and sort like the windows."""
    stem = image_id[:16]
    return [
        f"{stem}-x{x:05d}y{y:05d}w{w:05d}h{h:05d}-g{grid.version}"
        for x, y, w, h in windows.tolist()
    ]


def is_box_id(tile_id: str) -> bool:
    """Check whether the tile of this id is the box of a detector."""
    return tile_id.endswith(f"-g{BOX_VERSION}")


def uncovered_px(
    width: int, height: int, windows: np.ndarray, *, valid: NDArray[np.bool_] | None = None
) -> int:
    """Count the pixels of an image that no window covers: 0 for a correct grid.

    ``valid`` (rows, columns) tells which cells of ``CELL_PX`` have data. If it is given, only pixels of
    these cells count.
    """
    cells = [np.arange(0, side, CELL_PX if valid is not None else side) for side in (width, height)]
    xs = _cuts(width, windows[:, 0], windows[:, 2], cells[0])
    ys = _cuts(height, windows[:, 1], windows[:, 3], cells[1])
    wanted = np.ones((len(xs) - 1, len(ys) - 1), bool)
    if valid is not None:
        wanted = valid.T[np.ix_(xs[:-1] // CELL_PX, ys[:-1] // CELL_PX)]
    for x, y, w, h in windows.tolist():
        x0, x1 = np.searchsorted(xs, (x, min(x + w, width)))
        y0, y1 = np.searchsorted(ys, (y, min(y + h, height)))
        wanted[x0:x1, y0:y1] = False
    areas = np.outer(np.diff(xs), np.diff(ys).astype(np.int64))  # int32 overflows above 46,340²
    return int(areas[wanted].sum())


def _cuts(side: int, starts: np.ndarray, lengths: np.ndarray, edges: ArrayLike) -> np.ndarray:
    """List the coordinates along one side at which a window or cell begins or ends."""
    return np.unique(np.clip(np.r_[0, starts, starts + lengths, edges, side], 0, side).astype(int))


def cut_tiles(
    pixels: Pixels, windows: np.ndarray, side_px: int, *, span_px: int | NDArray[np.integer[Any]]
) -> NDArray[np.uint8]:
    """Cut the windows of an upright image into tiles (N, side, side, 3).

    ``span_px`` is a tile's side in the image, one for all or one for each (N,). A window that is shorter is
    padded by reflection. If ``span_px`` differs from ``side_px``, the window is scaled; otherwise the tile has
    exactly the image's pixels. A ``span_px`` of 0 stands for a whole image, which is scaled to the square
    without keeping its aspect ratio.
    """
    tiles = np.empty((len(windows), side_px, side_px, 3), np.uint8)
    spans = np.broadcast_to(span_px, len(windows)).tolist()
    for tile, (x, y, w, h), span in zip(tiles, windows.tolist(), spans, strict=True):
        cut = pixels[y : y + h, x : x + w]
        if span and min(h, w) < span:
            cut = np.pad(cut, ((0, span - h), (0, span - w), (0, 0)), "reflect")
        is_tile = cut.shape[:2] == (side_px, side_px)  # also a whole image of this size
        tile[:] = cut if is_tile else _scale(cut, side_px)
    return tiles


def _scale(cut: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Scale pixels to a square of ``side_px``, bilinear and antialiased."""
    scaled = Image.fromarray(cut).resize((side_px, side_px), Image.Resampling.BILINEAR)
    return np.asarray(scaled)
