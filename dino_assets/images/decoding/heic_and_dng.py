"""Headers and pixels of HEIC and DNG files, if the optional packages are installed."""

import importlib
import io
import re
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding.headers import Header

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"heif")
_PICTURE_BOXES = {b"meta", b"mdat"}
_BOX_KIND = re.compile(rb"[A-Za-z0-9 ]{4}")
_FLIPS = {0: 1, 3: 3, 5: 8, 6: 6}  # LibRaw's turns as EXIF orientations


def is_heic(data: bytes) -> bool:
    """Check whether bytes start like HEIC or HEIF; the related AVIF does not count."""
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end, 4))]
    return brands[0] in _HEIC_BRANDS and not any(brand in (b"avif", b"avis") for brand in brands)


def read_heic_header(data: bytes) -> Header:
    """Read the header of the primary picture with libheif; its size is that of the upright picture."""
    _check_boxes(data)
    file = _open_heif(data)
    picture = _find_primary(file)
    note = f"primary of {len(file)} pictures" if len(file) > 1 else None
    width, height = picture.size
    return Header("HEIC", picture.mode, width, height, note=note, is_turned=True)


def decode_heic(data: bytes, header: Header) -> NDArray[np.uint8]:
    """Decode the primary picture to upright RGB."""
    file = _open_heif(data)
    return np.array(_find_primary(file).to_pillow().convert("RGB"))


def _open_heif(data: bytes) -> Any:
    heif = _import_extra("pillow_heif", "HEIC", extra="heic")
    return heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)


def _find_primary(file: Any) -> Any:
    """Find the primary picture; libheif leaves out pictures that it cannot read.

    Raises:
        UnusableImageError: the primary picture is missing; ``reason`` is undecodable.
    """
    picture = file[file.primary_index] if len(file) else None
    if picture is None or not picture.info.get("primary"):
        others = ", only other pictures in the file" if len(file) else ""
        raise UnusableImageError(
            "undecodable",
            f"libheif cannot read its primary picture{others}: it is damaged or of an unknown codec",
        )
    return picture


def _check_boxes(data: bytes) -> None:
    """Refuse a HEIC whose outermost boxes extend beyond the end of the file.

    Bytes after the picture that are not a box are accepted, because phones append such bytes.

    Raises:
        UnusableImageError: ``reason`` is truncated.
    """
    at = 0
    kinds: set[bytes] = set()
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kinds >= _PICTURE_BOXES and not _BOX_KIND.fullmatch(kind):
            return
        kinds.add(kind)
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size == 0:  # the last box extends to the end of the file
            return
        if at + size > len(data) or size < 8:
            raise UnusableImageError("truncated", f"a box ends at byte {at + size:,}")
        at += size


def read_dng_header(data: bytes) -> Header:
    """Read the header of the raw picture with LibRaw."""
    rawpy = _import_extra("rawpy", "DNG", extra="raw")
    with rawpy.imread(io.BytesIO(data)) as raw:
        sizes = raw.sizes
        return Header(
            format="DNG",
            mode="RAW",
            width=sizes.width,
            height=sizes.height,
            orientation=_FLIPS.get(sizes.flip, 1),
            note="developed with the camera's white balance",
            is_turned=True,
        )


def decode_dng(data: bytes, header: Header) -> NDArray[np.uint8]:
    """Develop a raw picture: camera's white balance, sRGB, 8 bit, no automatic brightening."""
    rawpy = _import_extra("rawpy", "DNG", extra="raw")
    with rawpy.imread(io.BytesIO(data)) as raw:
        pixels = raw.postprocess(
            use_camera_wb=True,
            no_auto_bright=True,
            output_bps=8,
            output_color=rawpy.ColorSpace.sRGB,
        )
    return np.asarray(pixels, np.uint8)


def _import_extra(module: str, what: str, *, extra: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UnusableImageError(
            "missing-extra", f"{what} needs {module}: pip install 'dino-assets[{extra}]'"
        ) from None
