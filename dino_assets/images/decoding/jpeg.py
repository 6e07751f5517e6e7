"""Strict JPEG decoding that refuses damaged pixels.

libjpeg decodes damaged data to gray or shifted blocks, and only warns. It also warns of damage that no pixel
depends on: bytes that some cameras leave between header segments, or an incomplete colour profile. So a
picture with a warning is decoded again without such bytes and without the segments that no pixel depends on.
A second warning then is about pixels, and the picture is refused.
"""

from collections.abc import Iterator

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from dino_assets.errors import UnusableImageError

_START, _SCAN, _END = 0xD8, 0xDA, 0xD9
_ALONE = range(0xD0, 0xD8)  # restart marks have no length
# The JFIF and Adobe segments define the colour space; pixels depend on no other APPn segment or comment.
_COLOUR_SPACE = (0xE0, 0xEE)


def decode_strictly(data: bytes, colours: str = "RGB") -> NDArray[np.uint8] | None:
    """Decode a complete JPEG; return None if it is not damaged, but simplejpeg does not support it.

    ``colours`` is simplejpeg's name for the wanted colours.

    Raises:
        UnusableImageError: pixels are missing or wrong; ``reason`` is truncated or undecodable.
    """
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, colours, strict=True))
    except ValueError as err:
        complaint = str(err)
    if _is_damage(complaint):
        try:
            return np.asarray(simplejpeg.decode_jpeg(_keep_pixels(data), colours, strict=True))
        except ValueError as err:
            complaint = str(err)
    if "remature end" in complaint:
        raise UnusableImageError("truncated", complaint)
    if _is_damage(complaint):
        raise UnusableImageError("undecodable", complaint)
    return None


def _is_damage(complaint: str) -> bool:
    return complaint.startswith("Corrupt JPEG data")


def _keep_pixels(data: bytes) -> bytes:
    """Remove stray header bytes, and segments that no pixel depends on.

    A header that cannot be parsed stays unchanged.
    """
    needed = [data[:2]]
    for kind, start, end in _walk_head(data):
        if kind == _SCAN:
            return b"".join([*needed, data[start:]])
        is_metadata = 0xE0 <= kind <= 0xEF or kind == 0xFE
        if kind in _COLOUR_SPACE or not is_metadata:
            needed.append(data[start:end])
    return data


def _walk_head(data: bytes) -> Iterator[tuple[int, int, int]]:
    """List kind, start and end of each segment as libjpeg finds them, up to the header of the first scan."""
    at = 2
    while True:
        start = data.find(b"\xff", at)
        kind_at = start
        while 0 <= kind_at < len(data) and data[kind_at] == 0xFF:
            kind_at += 1
        if start < 0 or kind_at + 3 > len(data):
            return
        kind, at = data[kind_at], kind_at + 1
        if kind in (0, 1, _START, *_ALONE):
            continue
        if kind == _END:
            return
        at += int.from_bytes(data[at : at + 2], "big")
        yield kind, kind_at - 1, at
        if kind == _SCAN:
            return
