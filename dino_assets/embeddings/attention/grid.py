"""Patch grid over a picture of any size, and conversion between pixels and patches."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dino_assets.errors import ConfigError

MAX_PX = 1024  # limit of the longer side of the model's input: 4,000 patches of 16 px


@dataclass(frozen=True)
class PatchGrid:
    """Rows and columns of patches that cover a whole picture of ``width`` × ``height`` px."""

    rows: int
    columns: int
    patch_px: int
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the model's input in px, both multiples of the patch."""
        return self.columns * self.patch_px, self.rows * self.patch_px

    def find_patch(self, x: float, y: float) -> tuple[int, int]:
        """Return the row and column of the patch that covers a point of the picture.

        Raises:
            ConfigError: the point is not on the picture.
        """
        if not (0 <= x < self.width and 0 <= y < self.height):
            raise ConfigError(
                f"the point {x:g},{y:g} is outside of the picture of {self.width}×{self.height} px: x "
                f"from 0 to {self.width - 1} and y from 0 to {self.height - 1} are expected, counted "
                "from the upper left corner of the upright picture",
                setting="point",
                value=(x, y),
            )
        # The floating-point quotient may be rounded up to the next whole number.
        row = min(int(y * self.rows / self.height), self.rows - 1)
        return row, min(int(x * self.columns / self.width), self.columns - 1)

    def find_box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return the pixel box of a patch: left, top, right, bottom; right and bottom are excluded."""
        xs = [-(-edge * self.width // self.columns) for edge in (column, column + 1)]
        ys = [-(-edge * self.height // self.rows) for edge in (row, row + 1)]
        return xs[0], ys[0], xs[1], ys[1]


def fit_grid(width: int, height: int, *, patch_px: int, max_px: int = MAX_PX) -> PatchGrid:
    """Fit a grid to a picture that is scaled down until its longer side has at most ``max_px``.

    Each side is rounded down to whole patches, at least one. The grid covers the whole picture, so the
    picture's proportions change by less than a patch. Small pictures are not enlarged.

    Raises:
        ConfigError: ``max_px`` is smaller than a patch.
    """
    if max_px < patch_px:
        raise ConfigError(
            f"max_px={max_px} is smaller than a patch of {patch_px} px: at least {patch_px} is expected",
            setting="max_px",
            value=max_px,
        )
    longest = max(width, height, 1)
    shrunk = [side * min(max_px, longest) // longest for side in (width, height)]
    columns, rows = (max(1, side // patch_px) for side in shrunk)
    return PatchGrid(rows, columns, patch_px, width, height)


def scale_to_grid(pixels: NDArray[np.uint8], grid: PatchGrid) -> NDArray[np.uint8]:
    """Resize a picture (H, W, 3) to the grid's size, bilinear with antialiasing."""
    if (pixels.shape[1], pixels.shape[0]) == grid.size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(grid.size, Image.Resampling.BILINEAR))
