"""From a file's bytes to upright 8-bit RGB, by one stated rule for every kind of pixel.

The rule stands in ``photos.py``. TIFF has a reader of its own for the first page and for what Pillow
gets wrong; HEIC and DNG need extras.
"""

from dino_assets.images.decoding.photos import (
    FORMATS,
    MAX_PIXELS,
    decode_image,
    read_header,
    turn_upright,
)

__all__ = ["FORMATS", "MAX_PIXELS", "decode_image", "read_header", "turn_upright"]
