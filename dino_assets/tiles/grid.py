"""The exact grid: which windows of an image the model sees, and their names."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from dino_assets.errors import ConfigError
from dino_assets.images.records import CELL_PX, MAX_IMAGE_SIDE_PX, Pixels
from dino_assets.settings.choices import check_range


@dataclass(frozen=True)
class TileGrid:
    """How images are cut: side and step in px, and the version of the rules.

    With ``side_m`` a tile shows that much ground, whatever the height: its window is scaled to
    ``side_px`` after it is cut.
    """

    side_px: int
    overlap: float
    whole_max_px: int
    version: int
    side_m: float | None = None


GRID_VERSION = 1
# Of tiles by ground: a small image is padded there and stretched here, under the same window.
GROUND_VERSION = 2
WHOLE_MAX_PX = 1024  # S0-03: up to this on both sides an image is one tile
OVERLAP = 0.5
MAX_SIDE_M = 10_000
# Fewer pixels than this blown up to a tile show nothing that the model was trained to see.
MIN_SPAN_PX = 32


def make_grid(
    side_px: int, *, overlap: float = OVERLAP, patch_px: int = 1, side_m: float | None = None
) -> TileGrid:
    """A grid of square tiles; with ``side_m`` each shows that many metres of ground.

    Raises:
        ConfigError: the side is not a positive multiple of the patch, or larger than any image, or
            the overlap leaves no step, or the metres are none.
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
            f"tile_m={side_m} is outside 0 … {MAX_SIDE_M} (metres of ground)",
            setting="tile_m",
            value=side_m,
        )
    return TileGrid(side_px, overlap, WHOLE_MAX_PX, GRID_VERSION, side_m)


def fit_grid(grid: TileGrid, width: int, height: int, *, gsd_m: float | None) -> TileGrid:
    """The grid in pixels that cuts one image.

    By metres, a tile's side is the same ground in every image, so that flights at 30 m and at 120 m
    compare. An image whose ground sample distance is not known is cut in pixels. One that shows less
    ground than a tile is one square, completed by reflection.

    Raises:
        ConfigError: a tile would be blown up from a few pixels.
    """
    if grid.side_m is None or gsd_m is None or not gsd_m > 0:
        return replace(grid, side_m=None)
    span = min(round(grid.side_m / gsd_m), max(width, height, MIN_SPAN_PX))
    if span < MIN_SPAN_PX:
        raise ConfigError(
            f"tile_m={grid.side_m:g} is {span} px where a pixel is {gsd_m:.3g} m: use at least "
            f"{MIN_SPAN_PX * gsd_m:.3g} m",
            setting="tile_m",
            value=grid.side_m,
        )
    return TileGrid(span, grid.overlap, 0, GROUND_VERSION)


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
        raise ConfigError(
            f"{width}×{height} px: sides of 1 to {MAX_IMAGE_SIDE_PX} px can be tiled",
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


def uncovered_px(
    width: int, height: int, windows: np.ndarray, *, valid: NDArray[np.bool_] | None = None
) -> int:
    """Pixels of an image that no window covers: 0 for a right grid. Exact, without painting pixels.

    With ``valid`` (rows, columns of cells of ``CELL_PX``) only those of valid cells count.
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
    areas = np.outer(np.diff(xs), np.diff(ys).astype(np.int64))  # int32 ends at 46,340²
    return int(areas[wanted].sum())


def _cuts(side: int, starts: np.ndarray, lengths: np.ndarray, edges: ArrayLike) -> np.ndarray:
    """Where anything begins or ends along one side."""
    return np.unique(np.clip(np.r_[0, starts, starts + lengths, edges, side], 0, side).astype(int))


def cut_tiles(
    pixels: Pixels, windows: np.ndarray, side_px: int, *, span_px: int
) -> NDArray[np.uint8]:
    """Pixels of an upright image under its windows: (N, side, side, 3).

    A window shorter than ``span_px`` is completed by reflection; spans that are not the tile's side
    are scaled to it. Every other tile is exactly the image's pixels. Span 0 is a whole image: its
    window is scaled to the square, aspect not kept.
    """
    tiles = np.empty((len(windows), side_px, side_px, 3), np.uint8)
    for tile, (x, y, w, h) in zip(tiles, windows.tolist(), strict=True):
        cut = pixels[y : y + h, x : x + w]
        if span_px and min(h, w) < span_px:
            cut = np.pad(cut, ((0, span_px - h), (0, span_px - w), (0, 0)), "reflect")
        tile[:] = cut if span_px == side_px else _scale(cut, side_px)
    return tiles


def _scale(cut: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """To the square: bilinear, antialiased."""
    scaled = Image.fromarray(cut).resize((side_px, side_px), Image.Resampling.BILINEAR)
    return np.asarray(scaled)
