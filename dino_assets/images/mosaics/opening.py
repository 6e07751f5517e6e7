"""Opening of GeoTIFFs with restricted GDAL: one local file, one driver, a limited cache."""

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
    "GDAL_CACHEMAX": 128 * 2**20,  # decoded blocks; GDAL's default is 5 % of the memory
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_NUM_THREADS": "1",
    "PROJ_NETWORK": "OFF",
}


def enter_gdal() -> Any:
    """Make a context with restricted GDAL settings for this thread.

    Raises:
        MissingExtraError: rasterio is not installed.
    """
    try:
        import rasterio
        from rasterio.session import DummySession
    except ImportError:
        raise MissingExtraError("Reading a GeoTIFF mosaic", extra="geo") from None
    # Without a given session, rasterio would search the environment for AWS credentials.
    return rasterio.Env(DummySession(), **_OPTIONS)


@contextmanager
def open_mosaic(path: str | Path) -> Iterator["DatasetReader"]:
    """Open a local GeoTIFF by a file descriptor. Read from it only inside of ``enter_gdal``.

    Raises:
        UnusableImageError: GDAL cannot read the header, or the tags are larger than the file.
        MissingExtraError: rasterio is not installed.
    """
    with ExitStack() as stack:
        with enter_gdal():
            import rasterio
            from rasterio import errors

            for harmless in (errors.NotGeoreferencedWarning, errors.NodataShadowWarning):
                warnings.filterwarnings("ignore", category=harmless)
            # The path of a descriptor has no special meaning for GDAL, and there are no side files beside it.
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, handle)
            _check_tags(handle)
            try:
                dataset = rasterio.open(f"/dev/fd/{handle}", driver="GTiff")
            except errors.RasterioError as err:
                raise explain_gdal_error(err, "the header") from err
            stack.callback(dataset.close)
        yield dataset


def _check_tags(handle: int) -> None:
    """Refuse a TIFF whose tags are larger in total than the file, because GDAL would read each tag.

    Raises:
        UnusableImageError: the tags are too large.
    """
    layout = find_layout(os.pread(handle, 16, 0))
    if layout is None:
        return
    size = os.fstat(handle).st_size
    pages = walk_directories(lambda at, count: os.pread(handle, count, at), layout, file_bytes=size)
    for _ in pages:
        pass


@contextmanager
def collect_damage() -> Iterator[list[str]]:
    """Collect GDAL's warnings of damaged JPEG blocks in this thread, in the list that the context returns.

    GDAL itself would read such blocks as gray.
    """
    damage: list[str] = []
    thread = threading.get_ident()
    logger = logging.getLogger("rasterio._err")
    logger.setLevel(logging.WARNING)

    def collect(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        message = record.getMessage()
        if "Corrupt JPEG" in message or "Premature end" in message:
            damage.append(message.partition("JPEGLib:")[2] or message)
        return False

    logger.addFilter(collect)
    try:
        yield damage
    finally:
        logger.removeFilter(collect)


def explain_gdal_error(err: Exception, what: str) -> UnusableImageError:
    """Convert an error of GDAL to the reason why a file is unusable."""
    root: BaseException = err
    while root.__cause__ is not None:
        root = root.__cause__
    # A descriptor's number differs between runs, but equal files must give equal rows.
    why = re.sub(r"/dev/fd/\d+", "the file", str(root)).strip()
    is_short = any(sign in why.lower() for sign in ("read error", "bytes, expected", "eof"))
    return UnusableImageError(
        "truncated" if is_short else "undecodable", f"{what} cannot be read: {why}"
    )
