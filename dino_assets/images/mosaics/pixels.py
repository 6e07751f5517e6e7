"""A mosaic on the disk, cut like an array."""

import threading
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_assets.errors import ConfigError
from dino_assets.images.mosaics.bands import paint_bands, plan_bands, read_bands
from dino_assets.images.mosaics.inspection import check_size
from dino_assets.images.mosaics.opening import blame_file, enter_gdal, open_mosaic


class MosaicPixels(AbstractContextManager["MosaicPixels"]):
    """A mosaic cut like an upright RGB array (H, W, 3); a window reads its own blocks only.

    Ask row by row where you can: strips of 40,000 px then decode once, at 3 ms a tile instead of 66.
    """

    def __init__(
        self, path: str | Path, *, low: float | None = None, high: float | None = None
    ) -> None:
        """Open it; ``low`` and ``high`` are those that ``inspect_mosaic`` found.

        Raises:
            UnusableImageError: it is no readable GeoTIFF.
            ConfigError: it is scaled, and the range is missing.
            MissingExtraError: rasterio is not installed.
        """
        # GDAL's handles are not to be used by two threads at a time.
        self._lock = threading.Lock()
        with ExitStack() as stack:
            self._dataset = stack.enter_context(open_mosaic(path))
            with enter_gdal():
                check_size(self._dataset)
                self._plan = plan_bands(self._dataset)
            if self._plan.is_scaled and (low is None or high is None):
                raise ConfigError(
                    "this mosaic is scaled: give low and high of inspect_mosaic",
                    setting="low" if low is None else "high",
                )
            self._opened = stack.pop_all()
        self._low, self._high = low or 0.0, high or 0.0
        self.shape = (self._dataset.height, self._dataset.width, 3)

    def __getitem__(self, window: tuple[slice, slice], /) -> NDArray[np.uint8]:
        """The pixels (h, w, 3) of some rows and columns.

        Raises:
            UnusableImageError: a block does not decode.
        """
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        y, x = (part.indices(size) for part, size in zip(window, self.shape, strict=False))
        width, height = x[1] - x[0], y[1] - y[0]
        if x[2] != 1 or y[2] != 1:
            raise IndexError("a mosaic is cut without steps")
        if width <= 0 or height <= 0:
            return np.empty((max(height, 0), max(width, 0), 3), np.uint8)
        try:
            with self._lock, enter_gdal():
                values, valid = read_bands(
                    self._dataset, self._plan, Window(x[0], y[0], width, height)
                )
        except RasterioError as err:
            raise blame_file(
                err, f"a block within {width}×{height} px at x {x[0]}, y {y[0]}"
            ) from err
        return paint_bands(values, valid, self._plan, self._low, self._high)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._opened.close()

    def __exit__(self, *_: object) -> None:
        self.close()
