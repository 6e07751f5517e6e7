"""Inspection of a mosaic in one pass over its blocks: size, valid cells, range of values."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.errors import UnusableImageError
from dino_assets.images.mosaics.bands import BandPlan, paint_bands, plan_bands, read_bands
from dino_assets.images.mosaics.opening import (
    collect_damage,
    enter_gdal,
    explain_gdal_error,
    open_mosaic,
)
from dino_assets.images.mosaics.placing import find_georeference
from dino_assets.images.mosaics.validity import mark_cells
from dino_assets.images.records import CELL_PX, MAX_IMAGE_SIDE_PX, Georeference, ImageFacts

if TYPE_CHECKING:
    from rasterio import DatasetReader
    from rasterio.windows import Window

# A block is decoded as a whole, and memory must hold several copies of it.
MAX_BLOCK_BYTES = 64 * 2**20
CHUNK_PX = 4 * 2**20
PAINTED_ROWS = 64


@dataclass(frozen=True)
class MosaicFacts:
    """Properties of a mosaic.

    ``low`` and ``high`` are the range from which values other than colours are scaled; None for colours.
    ``valid`` has one bit per cell of 32 × 32 px, row by row: whether any of its pixels is valid.
    ``sample`` (rows, columns, 3) holds the upper left pixel of each cell, as ``[::32, ::32]`` of all pixels.
    """

    facts: ImageFacts
    georeference: Georeference | None
    low: float | None
    high: float | None
    valid: bytes = field(repr=False)
    sample: NDArray[np.uint8] = field(repr=False, compare=False)


def inspect_mosaic(
    path: str | Path, *, image_id: str, chunk_px: int = CHUNK_PX, painted_rows: int = PAINTED_ROWS
) -> MosaicFacts:
    """Find the properties of a mosaic by reading every block once, in the order of the file.

    This pass checks that all blocks can be decoded, and finds valid cells and the range of values. A mosaic
    without nodata, mask or alpha is valid everywhere. About ``chunk_px`` pixels are read at a time, and
    ``painted_rows`` rows of the sample are painted at a time. Both limit memory and change no result.

    Raises:
        UnusableImageError: the file is too large or damaged, has unsupported bands, or has no valid pixel.
        MissingExtraError: rasterio is not installed.
    """
    with open_mosaic(path) as dataset, enter_gdal(), collect_damage() as damage:
        check_size(dataset)
        plan = plan_bands(dataset)
        cells, low, high, sample = _survey(
            dataset, plan, damage, chunk_px=chunk_px, painted_rows=painted_rows
        )
        if not cells.any():
            raise UnusableImageError("blank", "no pixel is valid: all are nodata or transparent")
        georeference, place_notes = find_georeference(dataset)
        notes = [*plan.notes, *place_notes]
        if plan.is_scaled:
            notes.append(f"scaled from {low:g} … {high:g} to 0 … 255")
        if len(dataset.subdatasets) > 1:
            notes.insert(0, f"first of {len(dataset.subdatasets)} pages")
        facts = ImageFacts(
            image_id=image_id,
            format="GeoTIFF",
            mode=f"{dataset.count}x{dataset.dtypes[0]}",
            width=dataset.width,
            height=dataset.height,
            stored_width=dataset.width,
            stored_height=dataset.height,
            orientation=1,
            note="; ".join(notes) or None,
        )
        return MosaicFacts(
            facts,
            georeference,
            low if plan.is_scaled else None,
            high if plan.is_scaled else None,
            np.packbits(cells).tobytes(),
            sample,
        )


def check_size(dataset: "DatasetReader") -> None:
    """Refuse a mosaic whose windows cannot be read in limited memory.

    Raises:
        UnusableImageError: a side is too long, or a block too large.
    """
    width, height = dataset.width, dataset.height
    if max(width, height) > MAX_IMAGE_SIDE_PX:
        raise UnusableImageError(
            "too-large", f"{width}×{height} px, the limit is {MAX_IMAGE_SIDE_PX:,} px per side"
        )
    block_h, block_w = dataset.block_shapes[0]
    block_bytes = block_h * block_w * dataset.count * np.dtype(dataset.dtypes[0]).itemsize
    if block_bytes > MAX_BLOCK_BYTES:
        raise UnusableImageError(
            "too-large",
            f"blocks of {block_w}×{block_h} px are {block_bytes:,} bytes, the limit is "
            f"{MAX_BLOCK_BYTES:,}: rewrite it with gdal_translate -co TILED=YES",
        )


def _survey(
    dataset: "DatasetReader", plan: BandPlan, damage: list[str], *, chunk_px: int, painted_rows: int
) -> tuple[NDArray[np.bool_], float, float, NDArray[np.uint8]]:
    """Find valid cells, the lowest and highest valid value, and a sample pixel of each cell."""
    from rasterio.errors import RasterioError

    cells = np.zeros((-(-dataset.height // CELL_PX), -(-dataset.width // CELL_PX)), np.bool_)
    low, high = np.inf, -np.inf
    corners: NDArray[Any] | None = None  # painted after the loop, when the range is known
    shown = np.ones(cells.shape, np.bool_)
    for window in _chunks(dataset, chunk_px):
        x, y = window.col_off, window.row_off
        where = f"a block within {window.width}×{window.height} px at x {x}, y {y}"
        try:
            values, valid = read_bands(dataset, plan, window)
        except RasterioError as err:
            raise explain_gdal_error(err, where) from err
        if damage:
            raise UnusableImageError("undecodable", f"{where} is damaged: {damage[0]}")
        if plan.is_scaled:
            numbers = values[~np.isnan(values)]
            if numbers.size:
                low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
        mark_cells(cells, valid, x, y, window.width, window.height)
        if corners is None:
            corners = np.empty((len(values), *cells.shape), values.dtype)
        inside = slice(-y % CELL_PX, None, CELL_PX), slice(-x % CELL_PX, None, CELL_PX)
        chunk = values[:, *inside]
        top, left = -(-y // CELL_PX), -(-x // CELL_PX)
        at = slice(top, top + chunk.shape[1]), slice(left, left + chunk.shape[2])
        corners[:, *at] = chunk
        if valid is not None:
            shown[at] = valid[inside]
    sample = np.zeros((*cells.shape, 3), np.uint8)
    if corners is not None:
        for row in range(0, len(sample), painted_rows):
            rows = slice(row, row + painted_rows)
            sample[rows] = paint_bands(corners[:, rows], shown[rows], plan, low, high)
    return cells, low, high, sample


def _chunks(dataset: "DatasetReader", chunk_px: int) -> Iterator["Window"]:
    """List windows of whole blocks, about ``chunk_px`` each, in the order of the file."""
    from rasterio.windows import Window

    width, height = dataset.width, dataset.height
    block_h, block_w = dataset.block_shapes[0]
    across = min(width, max(1, chunk_px // (block_h * block_w)) * block_w)
    down = block_h if across < width else max(1, chunk_px // (block_h * width)) * block_h
    for y in range(0, height, down):
        for x in range(0, width, across):
            yield Window(x, y, min(across, width - x), min(down, height - y))
