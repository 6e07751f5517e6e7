"""GeoTIFF mosaics that are larger than memory: checked once, block by block, then read by windows.

The pixel rule is that of photographs. Bands named red, green and blue are the colours, else the first
three (one or two are gray); palettes become their colours; fewer than 8 bits are spread over 0..255,
of up to 16 bits the highest 8 are kept; signed, 32-bit and float values go linearly from the lowest to
the highest valid one. What is nodata, masked, fully transparent or not finite is 0, black. Colours
that were multiplied with an alpha stay so: only at a mosaic's edge is anything half transparent.

GDAL gets a descriptor's name and the GTiff driver only: it finds no side files, no other driver's
references and no network, and writes nothing.
"""

from dino_assets.images.mosaics.headers import is_mosaic
from dino_assets.images.mosaics.inspection import MosaicFacts, inspect_mosaic
from dino_assets.images.mosaics.pixels import MosaicPixels
from dino_assets.images.mosaics.placing import place_mosaic_windows
from dino_assets.images.mosaics.validity import find_valid_windows, unpack_valid

__all__ = [
    "MosaicFacts",
    "MosaicPixels",
    "find_valid_windows",
    "inspect_mosaic",
    "is_mosaic",
    "place_mosaic_windows",
    "unpack_valid",
]
