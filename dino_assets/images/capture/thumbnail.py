"""EXIF thumbnail of a JPEG, compared with the pixels to detect that a program turned them."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from dino_assets.images.capture.exif import load_exif, read_table

_F32 = NDArray[np.float32]
_BASE = ExifTags.Base
_EXIF_START = b"Exif\0\0"
_MOST_SIDE_PX = 512  # EXIF's 64 kB hold no larger picture
_GRID = (64, 48)
# Measured correlation: 0.98 for unchanged pictures, at most 0.1 for the same pictures after half a turn.
_LEAST_LIKE, _LEAST_MARGIN = 0.9, 0.3
_QUARTERS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270)
_HALVES = (
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.FLIP_TOP_BOTTOM,
)


def is_turned_since(data: bytes, picture: Image.Image) -> bool:
    """Check whether a program turned or mirrored a JPEG but not its thumbnail.

    ``picture`` holds the stored pixels, reduced in size.
    """
    try:
        thumbnail = _read_thumbnail(data)
    except Exception:  # noqa: BLE001 - a damaged thumbnail proves nothing
        return False
    if thumbnail is None:
        return False
    gray = picture.convert("L")
    likeness = _compare(gray, thumbnail)
    if likeness > 1 - _LEAST_MARGIN:
        return False
    others = (_compare(gray.transpose(way), thumbnail) for way in (*_HALVES, *_QUARTERS))
    return max(others) >= max(_LEAST_LIKE, likeness + _LEAST_MARGIN)


def _read_thumbnail(data: bytes) -> Image.Image | None:
    with Image.open(io.BytesIO(data), formats=("JPEG", "MPO")) as image:
        block = image.info.get("exif")
    if not isinstance(block, bytes):
        return None
    table = read_table(load_exif(block), ExifTags.IFD.IFD1)
    start, size = (table.get(tag) for tag in (_BASE.JpegIFOffset, _BASE.JpegIFByteCount))
    if not isinstance(start, int) or not isinstance(size, int):
        return None
    body = block.removeprefix(_EXIF_START)[start : start + size]
    with Image.open(io.BytesIO(body), formats=("JPEG",)) as thumbnail:
        return thumbnail.convert("L") if max(thumbnail.size) <= _MOST_SIDE_PX else None


def _compare(gray: Image.Image, thumbnail: Image.Image) -> float:
    """Correlate a picture with a thumbnail, and with the thumbnail's inner part; return the higher value.

    A thumbnail of another shape than the picture may have bars at its edges.
    """
    width, height = gray.size
    share = min(thumbnail.width / width, thumbnail.height / height)
    aside = (thumbnail.width - width * share) / 2
    above = (thumbnail.height - height * share) / 2
    inside = (aside, above, thumbnail.width - aside, thumbnail.height - above)
    wanted = _normalise(gray.resize(_GRID, Image.Resampling.BOX))
    whole = (0.0, 0.0, float(thumbnail.width), float(thumbnail.height))
    small = (thumbnail.resize(_GRID, Image.Resampling.BOX, box=box) for box in (whole, inside))
    return max(float((wanted * _normalise(each)).mean()) for each in small)


def _normalise(gray: Image.Image) -> _F32:
    values = np.asarray(gray, np.float32)
    values = values - values.mean()
    return np.asarray(values / (values.std() + 1e-3), np.float32)
