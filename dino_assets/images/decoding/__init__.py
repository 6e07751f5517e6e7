"""Decoding of image files to upright 8-bit RGB, by one rule for every kind of pixel.

``photos.py`` states the rule. ``tiff.py`` reads TIFF tags, and ``tiff_pixels.py`` the pixels that Pillow gets
wrong. HEIC and DNG need optional packages.
"""

from dino_assets.images.decoding.photos import (
    FORMATS,
    MAX_PIXELS,
    decode_image,
    read_header,
    turn_upright,
)

__all__ = ["FORMATS", "MAX_PIXELS", "decode_image", "read_header", "turn_upright"]
