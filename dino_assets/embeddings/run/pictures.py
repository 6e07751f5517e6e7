"""Whole pictures as the squares that a model sees: read, decoded upright, resized."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dino_assets.drops.records import MAX_FILE_BYTES
from dino_assets.embeddings.encoder.tokens import Vectors
from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding import decode_image

# A file's bytes, a file, or upright RGB pixels (H, W, 3).
Picture = bytes | Path | NDArray[np.uint8]
# Part of what names a cached vector: raise it when a whole picture reaches the model as other pixels.
RESIZE_VERSION = 1
# 128 rows of a drone's photograph stay in a core's cache.
_STRIP_ROWS = 128
# O_NONBLOCK: a pipe that is called a.jpg must not hang us.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture before the model: its tile, or its vector where that is at hand, or why it has none.

    ``key`` names its content for whoever keeps vectors.
    """

    tile: NDArray[np.uint8] | None = None  # (side, side, 3)
    vector: Vectors | None = None  # (D,)
    refusal: UnusableImageError | None = None
    key: str = ""


def prepare_picture(picture: Picture, *, side_px: int) -> Prepared:
    """Make a picture the square of a side; one that is unusable is a reason, not an error."""
    try:
        return Prepared(tile=to_square(read_pixels(picture), side_px))
    except UnusableImageError as err:
        return Prepared(refusal=err)


def read_pixels(picture: Picture) -> NDArray[np.uint8]:
    """Upright RGB pixels (H, W, 3) of a file, its bytes, or an array that is them.

    Raises:
        UnusableImageError: missing, unreadable, special-file, too-large; what ``decode_image`` refuses;
            pixels that are not uint8 RGB.
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise UnusableImageError(
                "unsupported-mode",
                f"pixels are {picture.dtype} {picture.shape}; uint8 (H, W, 3) is expected",
            )
        if not picture.size:
            raise UnusableImageError("empty", f"pixels are {picture.shape}")
        return picture
    return decode_image(picture if isinstance(picture, bytes) else read_picture(picture))


def read_picture(path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """A picture file's bytes.

    Raises:
        UnusableImageError: missing, unreadable, special-file, too-large.
    """
    try:
        handle = os.open(path, _READ)
    except (FileNotFoundError, NotADirectoryError, ValueError) as err:  # ValueError: a zero byte
        raise UnusableImageError("missing", "there is no such file") from err
    except OSError as err:
        raise UnusableImageError("unreadable", str(err.strerror)) from err
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise UnusableImageError("special-file", "a pipe, socket, device or folder")
        with open(handle, "rb", closefd=False) as file:
            # By its size: a buffer as large as the limit for every picture is slow.
            data = file.read(min(status.st_size, max_bytes) + 1)
        if len(data) > max_bytes:
            raise UnusableImageError("too-large", f"it has more than {max_bytes:,} bytes")
        return data
    except OSError as err:
        raise UnusableImageError("unreadable", str(err.strerror)) from err
    finally:
        os.close(handle)


def to_square(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Scale a whole picture to (side, side, 3), bilinear and antialiased; aspect is not kept.

    A picture of exactly this side is not touched. Widths are scaled before heights, by every Pillow: from
    13 on its own ``resize`` begins with the heights of a picture much taller than wide, one level apart.
    """
    height, width = pixels.shape[:2]
    if height == width == side_px:
        return pixels
    # In strips it needs no copy of the whole photograph: for 9 MP 25 instead of 41 ms of CPU, and
    # 36 MB less.
    narrow = np.empty((height, side_px, 3), np.uint8)
    for top in range(0, height, _STRIP_ROWS):
        strip = pixels[top : top + _STRIP_ROWS]
        narrow[top : top + _STRIP_ROWS] = _resize(strip, side_px, len(strip))
    return _resize(narrow, side_px, side_px)


def _resize(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
