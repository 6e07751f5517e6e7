"""Conversion of a mosaic's bands to 8-bit red, green and blue."""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.errors import UnusableImageError

if TYPE_CHECKING:
    from rasterio import DatasetReader
    from rasterio.windows import Window


@dataclass(frozen=True)
class BandPlan:
    """Plan for one file: which bands become red, green and blue, and how they are scaled."""

    bands: tuple[int, ...]
    alpha: int | None
    masked: tuple[int, ...]  # bands whose masks mark valid pixels
    table: NDArray[np.uint8] | None
    is_scaled: bool
    notes: tuple[str, ...]


def plan_bands(dataset: "DatasetReader") -> BandPlan:
    """Choose a file's bands for red, green and blue, and their scaling.

    Raises:
        UnusableImageError: the bands hold complex numbers, mixed types or printing inks, or only alpha.
    """
    from rasterio.enums import ColorInterp, MaskFlags

    names = dict(zip(dataset.indexes, dataset.colorinterp, strict=True))
    dtype = np.dtype(dataset.dtypes[0]) if "complex" not in dataset.dtypes[0] else None
    if dtype is None or len(set(dataset.dtypes)) > 1 or ColorInterp.cyan in names.values():
        kinds = zip(names.values(), dataset.dtypes, strict=True)
        bands_are = ", ".join(f"{name.name} {kind}" for name, kind in kinds)
        raise UnusableImageError("unsupported-mode", f"bands are {bands_are}; export gray or RGB")
    alpha = next((band for band, name in names.items() if name == ColorInterp.alpha), None)
    others = [band for band in names if band != alpha]
    if not others:
        raise UnusableImageError("unsupported-mode", "only an alpha band")
    by_name = {name: band for band, name in reversed(names.items())}
    notes = []
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    if all(colour in by_name for colour in colours):
        bands = tuple(by_name[colour] for colour in colours)
        if len(others) > 3:
            notes.append(f"red, green and blue of {len(others)} bands")
    else:
        bands = tuple(others[:3] if len(others) > 2 else others[:1])
        if len(others) > len(bands) or len(bands) == 3:
            shown = "bands 1 to 3 as red, green and blue" if len(bands) == 3 else "band 1 as gray"
            notes.append(f"{shown}, of {len(others)} whose colours are not named")
    flags = dataset.mask_flag_enums[bands[0] - 1]
    masked: tuple[int, ...] = ()
    if MaskFlags.nodata in flags:
        masked = bands
    elif MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
        masked = bands[:1]
    table = _table(dataset, bands[0], dtype)
    is_scaled = table is None and dtype != np.uint8
    if is_scaled:
        what = "heights or temperatures?" if len(bands) == 1 else "reflectances?"
        notes.append(f"{dtype} values ({what})")
    return BandPlan(bands, alpha, masked, table, is_scaled, tuple(notes))


def _table(dataset: "DatasetReader", band: int, dtype: np.dtype[Any]) -> NDArray[np.uint8] | None:
    """Make a table of the 8-bit value or colour for each stored value; None if values need no table."""
    if dtype not in (np.uint8, np.uint16):
        return None
    values = np.arange(np.iinfo(dtype).max + 1)
    with suppress(ValueError):  # no palette; for files where 0 is white, GDAL makes one
        palette = dataset.colormap(band)
        colours = np.zeros((len(values), 3), np.uint8)
        colours[list(palette)] = [colour[:3] for colour in palette.values()]
        return colours
    tags = dataset.tags(band, ns="IMAGE_STRUCTURE")
    bits = int(tags.get("NBITS", 8 * dtype.itemsize))
    if bits == 8:
        return None
    if bits < 8:
        values = np.minimum(values, 2**bits - 1) * 255 // (2**bits - 1)
    else:
        values = np.minimum(values >> bits - 8, 255)
    return np.asarray(values, np.uint8)


def read_bands(
    dataset: "DatasetReader", plan: BandPlan, window: "Window"
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Read a window's values (1 or 3, h, w), and which of its pixels are valid (None: all of them).

    Values that must be scaled are returned as floats, and invalid ones as NaN.
    """
    values = dataset.read(list(plan.bands), window=window)
    valid: NDArray[np.bool_] | None = None
    masks: NDArray[np.bool_] | None = None
    if plan.masked:
        masks = dataset.read_masks(list(plan.masked), window=window) > 0
        # A pixel is nodata only if all its colours are: dark pixels may have 0 in one of them.
        valid = np.asarray(masks.any(axis=0))
    if plan.alpha is not None:
        shown = dataset.read(plan.alpha, window=window) > 0
        valid = np.asarray(shown if valid is None else valid & shown)
    if plan.is_scaled:
        values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
        if masks is not None:
            np.copyto(values, np.nan, where=~masks)
        if valid is not None:
            values[:, ~valid] = np.nan
        finite = np.isfinite(values)
        np.copyto(values, np.nan, where=~finite)
        valid = np.asarray(finite.any(axis=0))
    return values, valid


def paint_bands(
    values: NDArray[Any], valid: NDArray[np.bool_] | None, plan: BandPlan, low: float, high: float
) -> NDArray[np.uint8]:
    """Convert values from ``read_bands`` to pixels (h, w, 3); invalid pixels are black.

    If the plan says that values are scaled, ``low`` becomes 0 and ``high`` 255.
    """
    if plan.is_scaled:
        # Halves, because the span may exceed the largest float; the same scaling as for photographs.
        span = high * 0.5 - low * 0.5
        share = (values.astype(np.float64) * 0.5 - low * 0.5) / (span if span > 0 else np.inf)
        share = np.nan_to_num(np.clip(share, 0, 1), copy=False, nan=0)
        values = np.floor(share * 255 + 0.5).astype(np.uint8)
    elif plan.table is not None:
        values = plan.table[values]
    pixels = np.empty((*values.shape[1:3], 3), np.uint8)
    # A palette gives (1, h, w, 3), gray (1, h, w), colours (3, h, w).
    pixels[:] = values[0] if values.ndim == 4 else values.transpose(1, 2, 0)
    if valid is not None:
        pixels[~valid] = 0
    return pixels
