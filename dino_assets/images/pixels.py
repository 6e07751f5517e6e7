"""Pixels of an image that ``images`` recorded: whole photographs, mosaics by windows."""

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
# Hashing 10 GB takes longer than reading the tiles of a round, so a process that opens the same file
# again trusts what it saw. The stamp ends with the change time, which nobody can set back; it is of
# some milliseconds, though, so small files, which may come and go within them, are hashed each time.
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
    """Upright RGB pixels (H, W, 3), if the file is still the one that ``images`` recorded.

    A mosaic is hashed (a large one once per process), then read by windows, scaled from ``low`` to ``high`` where
    ``images`` says so. What was cut is good only when the context ends without an error.

    Raises:
        SourceError: it cannot be read, is another file now, or changed while it was open.
        UnusableImageError: a block of a mosaic does not decode.
        MissingExtraError: a mosaic, and rasterio is not installed.
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
            # Whatever else went wrong may come from this. Without the change time: a file put in this
            # one's place changes its count of names, and nothing of what was opened.
            if _stamp(local)[:4] != stamp[:4]:
                raise _changed(path)


def hash_file(path: str | Path) -> str:
    """The sha256 of a file of any size."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    with Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def _stamp(local: Path) -> Stamp:
    status = os.stat(local)  # noqa: PTH116 - /dev/fd/N is followed to what was opened
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
