"""GeoTIFF mosaics larger than memory: checked once, block by block, then read by windows.

Pixels follow the rule for photographs. Bands named red, green and blue are the colours, else the first three
bands are. Of one or two bands, the first is gray. Palettes become their colours. Values of fewer than 8 bits
are spread over 0..255; of values of up to 16 bits, the highest 8 bits are kept. Signed, 32-bit and float
values are scaled linearly from the lowest to the highest valid value. Pixels that are nodata, masked, fully
transparent or not finite become 0, black. Premultiplied colours are not divided by alpha, because only a
mosaic's edge is half transparent.

GDAL gets only a file descriptor's path and the GTiff driver. So it reads no side files, and nothing from the
network. It reads no other formats either, which may refer to further files. It writes nothing.
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
