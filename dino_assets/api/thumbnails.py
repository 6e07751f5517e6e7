"""Thumbnails of image files, for pages."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from dino_assets.compute.threads import map_ahead
from dino_assets.embeddings.rows import make_thumb
from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding.photos import decode_image


class UnreadableThumbWarning(UserWarning):
    """A picture cannot be shown; its point is still on the map."""


def make_thumbs(paths: Sequence[str]) -> list[bytes]:
    """Make a thumbnail of each file's centre square; an unusable file gives empty bytes and a warning."""
    return list(map_ahead(_make_thumb, paths, threads=2))


def _make_thumb(path: str) -> bytes:
    try:
        pixels = decode_image(Path(path).read_bytes())
    except (OSError, UnusableImageError) as err:
        warnings.warn(
            f"{path}: no thumbnail, because the file is unusable: {err}",
            UnreadableThumbWarning,
            stacklevel=2,
        )
        return b""
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return make_thumb(pixels[top : top + side, left : left + side])
