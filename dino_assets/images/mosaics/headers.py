"""Detection of mosaics by a TIFF's header, without any library."""

import io
import struct
from pathlib import Path
from typing import BinaryIO

from dino_assets.images.decoding import MAX_PIXELS

_WIDTH, _HEIGHT = 256, 257
_PLACED = {33550, 34264, 34735}  # ModelPixelScale, ModelTransformation, GeoKeyDirectory
_INTEGERS = {3: "H", 4: "I", 16: "Q"}


def is_mosaic(file: bytes | str | Path) -> bool:
    """Check whether a file (its bytes or path) is a TIFF that must be read by windows.

    Such a TIFF is georeferenced, or has more pixels than are decoded at once. Only the header is read.
    rasterio is not needed, so that a missing rasterio can be reported as the reason.
    """
    if isinstance(file, bytes):
        tags = _read_tags(io.BytesIO(file))
    else:
        with Path(file).open("rb") as opened:
            tags = _read_tags(opened)
    return bool(_PLACED & tags.keys()) or tags.get(_WIDTH, 0) * tags.get(_HEIGHT, 0) > MAX_PIXELS


def _read_tags(file: BinaryIO) -> dict[int, int]:
    """Read the first page's tags: the value of a single integer, else 0. Empty if the file is not a TIFF."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return {}
    try:
        version = struct.unpack_from(order + "H", head, 2)[0]
        if version not in (42, 43):
            return {}
        at, counting, entry = (4, "I", "HHI4s") if version == 42 else (8, "Q", "HHQ8s")
        offset = struct.unpack_from(order + counting, head, at)[0]
        counting = "H" if version == 42 else "Q"
        file.seek(offset)
        (count,) = struct.unpack(order + counting, file.read(struct.calcsize(order + counting)))
        size = struct.calcsize(order + entry)
        entries = file.read(min(count, 65_535) * size)
        tags = {}
        for tag, kind, values, data in struct.iter_unpack(
            order + entry, entries[: len(entries) // size * size]
        ):
            single = values == 1 and kind in _INTEGERS
            tags[tag] = struct.unpack_from(order + _INTEGERS[kind], data)[0] if single else 0
    except (struct.error, OverflowError, OSError, ValueError):
        return {}
    return tags
