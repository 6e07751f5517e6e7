"""GDAL on a short leash: one local file, one driver, a bounded cache."""

import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_assets.errors import MissingExtraError, UnusableImageError
from dino_assets.images.decoding.tiff_directories import find_layout, walk_directories

if TYPE_CHECKING:
    from rasterio import DatasetReader

_OPTIONS = {
    "GDAL_CACHEMAX": 128 * 2**20,  # decoded blocks; GDAL's own default is 5 % of the memory
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_NUM_THREADS": "1",
    "PROJ_NETWORK": "OFF",
}


def enter_gdal() -> Any:
    """GDAL's settings for one piece of work, in this thread.

    Raises:
        MissingExtraError: rasterio is not installed.
    """
    try:
        import rasterio
        from rasterio.session import DummySession
    except ImportError:
        raise MissingExtraError("Reading a GeoTIFF mosaic", extra="geo") from None
    # A session that is given: else rasterio looks for AWS credentials in the environment.
    return rasterio.Env(DummySession(), **_OPTIONS)


@contextmanager
def open_mosaic(path: str | Path) -> Iterator["DatasetReader"]:
    """A local GeoTIFF, opened by a descriptor; read it inside of ``enter_gdal``.

    Raises:
        UnusableImageError: GDAL cannot make sense of its header, or that would take all memory.
        MissingExtraError: rasterio is not installed.
    """
    with ExitStack() as stack:
        with enter_gdal():
            import rasterio
            from rasterio import errors

            for harmless in (errors.NotGeoreferencedWarning, errors.NodataShadowWarning):
                warnings.filterwarnings("ignore", category=harmless)
            # By the descriptor: nothing in a path can mean anything to GDAL, nor lie beside it.
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, handle)
            _check_tags(handle)
            try:
                dataset = rasterio.open(f"/dev/fd/{handle}", driver="GTiff")
            except errors.RasterioError as err:
                raise blame_file(err, "the header") from err
            stack.callback(dataset.close)
        yield dataset


def _check_tags(handle: int) -> None:
    """Refuse tags that add up to more than the file: GDAL would read each of them."""
    layout = find_layout(os.pread(handle, 16, 0))
    if layout is None:
        return
    size = os.fstat(handle).st_size
    pages = walk_directories(lambda at, count: os.pread(handle, count, at), layout, file_bytes=size)
    for _ in pages:
        pass


@contextmanager
def hear_damage() -> Iterator[list[str]]:
    """What GDAL only warns about, in this thread: a JPEG block that ends early comes out gray."""
    heard: list[str] = []
    thread = threading.get_ident()
    logger = logging.getLogger("rasterio._err")
    logger.setLevel(logging.WARNING)

    def hear(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        message = record.getMessage()
        if "Corrupt JPEG" in message or "Premature end" in message:
            heard.append(message.partition("JPEGLib:")[2] or message)
        return False

    logger.addFilter(hear)
    try:
        yield heard
    finally:
        logger.removeFilter(hear)


def blame_file(err: Exception, what: str) -> UnusableImageError:
    """What GDAL says about a file, as the reason why it is not usable."""
    root: BaseException = err
    while root.__cause__ is not None:
        root = root.__cause__
    # The number of the descriptor is no property of the file, and rows are compared.
    why = re.sub(r"/dev/fd/\d+", "the file", str(root)).strip()
    is_short = any(sign in why.lower() for sign in ("read error", "bytes, expected", "eof"))
    return UnusableImageError(
        "truncated" if is_short else "undecodable", f"{what} cannot be read: {why}"
    )
