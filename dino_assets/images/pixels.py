"""Pixels of an image in the table ``images``: a photograph as a whole, a mosaic window by window."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dino_assets.drops.sources.source import Source, read_exactly
from dino_assets.errors import SourceError
from dino_assets.images.decoding import decode_image
from dino_assets.images.mosaics import MosaicPixels
from dino_assets.images.records import Pixels

_CHUNK_BYTES = 4 * 2**20
Stamp = tuple[int, int, int, int, int]
# Hashing 10 GB takes longer than reading the tiles of a round, so a process hashes a large file once. The
# stamp ends with the change time, which cannot be set back. Its resolution is some milliseconds, and a small
# file may be replaced within them, so small files are hashed each time.
_REMEMBERED_BYTES = 64 * 2**20
_verified: dict[Stamp, str] = {}


@contextmanager
def open_pixels(
    source: Source,
    path: str,
    image_id: str,
    *,
    is_mosaic: bool,
    low: float | None = None,
    high: float | None = None,
) -> Iterator[Pixels]:
    """Open an image's upright RGB pixels (H, W, 3), after a check that its bytes did not change.

    ``image_id`` is the sha256 that the table ``images`` holds for the file. A photograph is decoded as a
    whole. A mosaic is hashed (a large one once per process), then read window by window. If its values must
    be scaled, ``low`` and ``high`` are their range in the table. Use what was cut from the pixels only if the
    context ends without an error: a mosaic may change while it is open.

    Raises:
        SourceError: the file cannot be read, has other bytes now, or changed while it was open.
        UnusableImageError: the pixels cannot be decoded.
        ConfigError: the values of a mosaic must be scaled, and ``low`` or ``high`` is missing.
        MissingExtraError: the file is a mosaic, and rasterio is not installed.
    """
    if not is_mosaic:
        yield decode_image(read_exactly(source, path, image_id))
        return
    with source.open_file(path) as local:
        stamp = _stamp(local)
        digest = _verified.get(stamp) or hash_file(local)
        if _stamp(local) != stamp or digest != image_id:
            raise _changed(path)
        if stamp[2] >= _REMEMBERED_BYTES:
            _verified[stamp] = digest
        try:
            with MosaicPixels(local, low=low, high=high) as pixels:
                yield pixels
        finally:
            # Checked even after another error, which a changed file may have caused. The change time is
            # not compared: replacing the file changes its link count, but not the opened content.
            if _stamp(local)[:4] != stamp[:4]:
                raise _changed(path)


def hash_file(path: str | Path) -> str:
    """Compute the sha256 of a file of any size."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    with Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def _stamp(local: Path) -> Stamp:
    status = os.stat(local)  # noqa: PTH116 - follows /dev/fd/N to the opened file
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _changed(path: str) -> SourceError:
    return SourceError(
        f"{path!r} is not the mosaic that was tiled: its bytes changed since. Materialise `images` "
        "and `tiles` of this drop again.",
        path=path,
    )
