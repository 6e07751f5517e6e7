"""GeoTIFFs to test with, and what is found in them."""

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from dino_assets.images.mosaics import MosaicFacts, MosaicPixels, inspect_mosaic, unpack_valid

UTM = "EPSG:32632"
PLACE = Affine(0.05, 0, 500_000, 0, -0.05, 5_300_000)  # on the central meridian, 47.9 north
RNG = np.random.default_rng(0)


def write(
    path: Path,
    values: Any,
    *,
    colors: list[ColorInterp] | None = None,
    mask: Any = None,
    transform: Affine | None = PLACE,
    crs: Any = UTM,
    **options: Any,
) -> Path:
    """A GeoTIFF of values (bands, h, w)."""
    values = np.asarray(values)
    values = values[None] if values.ndim == 2 else values
    count, height, width = values.shape
    options = {"driver": "GTiff", "dtype": values.dtype.name, "crs": crs} | options
    if transform is not None:
        options["transform"] = transform
    palette = options.pop("palette", None)
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", width=width, height=height, count=count, **options) as file,
    ):
        if colors:
            file.colorinterp = colors
        if palette:
            file.write_colormap(1, palette)
        file.write(values)
        if mask is not None:
            file.write_mask(mask)
    return path


def noise(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype, endpoint=True)


def inspect(path: Path, **limits: int) -> MosaicFacts:
    return inspect_mosaic(path, image_id="a" * 64, **limits)


def read_all(path: Path) -> np.ndarray:
    """Everything, by the range that the inspection found."""
    inspection = inspect(path)
    with MosaicPixels(path, low=inspection.low, high=inspection.high) as pixels:
        return pixels[:, :]


def cells(found: MosaicFacts) -> np.ndarray:
    return unpack_valid(found.valid, width=found.facts.width, height=found.facts.height)


def damage(path: Path, *, block: tuple[int, int], fill: bytes = b"\xff") -> None:
    """Overwrite one block (for uncompressed data: move it beyond the end)."""
    with rasterio.open(path) as file:
        column, row = block[1] % 4, block[1] // 4
        block_name = f"{column}_{row}"
        offset = int(file.get_tag_item(f"BLOCK_OFFSET_{block_name}", "TIFF", bidx=1))
        size = int(file.get_tag_item(f"BLOCK_SIZE_{block_name}", "TIFF", bidx=1))
        is_compressed = file.compression is not None
    data = bytearray(path.read_bytes())
    if is_compressed:
        data[offset : offset + size] = (fill * size)[:size]
    else:
        position = data.index(struct.pack("<I", offset))
        data[position : position + 4] = struct.pack("<I", len(data) + 1000)
    path.write_bytes(data)
