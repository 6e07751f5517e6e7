"""Decoding of photographs to upright 8-bit RGB, by one rule for every kind of pixel.

* 8 bit: unchanged. Gray is repeated in all three colours. Bilevel pixels become 0 and 255, indices of a
  palette become its colours. Transparency is dropped; premultiplied colours are divided by it first. Pillow
  converts CMYK, and undoes Adobe's inversion.
* 16-bit integers keep their high byte, gray and colour alike; 12-bit integers keep their high 8 bits. The
  values are never clipped or stretched, so that pictures of one flight stay comparable.
* Signed, 32- and 64-bit integers and floats are scaled linearly from the picture's lowest finite value (0)
  to its highest (255). NaN, infinity and GDAL's nodata become 0, and so does a constant picture.
* DNG: developed by LibRaw with the camera's white balance, sRGB, 8 bit, no automatic brightening.
* HEIC: the primary picture, turned by libheif; 10 and 12 bit are converted to 8 by libheif.

A truncated file is refused: otherwise a photograph with a black half would be scored as a dark photograph.
"""

import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding.alpha import divide_alpha
from dino_assets.images.decoding.headers import TURNED, Header
from dino_assets.images.decoding.heic_and_dng import (
    decode_dng,
    decode_heic,
    is_heic,
    read_dng_header,
    read_heic_header,
)
from dino_assets.images.decoding.jpeg import decode_strictly
from dino_assets.images.decoding.libtiff import collect_libtiff_errors
from dino_assets.images.decoding.memory import check_memory
from dino_assets.images.decoding.scaling import scale_to_bytes
from dino_assets.images.decoding.tiff import DNG_VERSION, TiffPage, read_page
from dino_assets.images.decoding.tiff_pixels import (
    check_chunks,
    check_size,
    check_whole,
    read_samples,
)
from dino_assets.images.png import (
    check_pixel_chunks,
    read_png_exif,
    read_png_xmp,
    walk_chunks,
)

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # Pillow opens no others, whatever its plug-ins
KNOWN = (*FORMATS, "HEIC", "DNG")
MODES = re.compile(r"1|L|LA|La|P|PA|RGB|RGBA|RGBX|CMYK|YCbCr|I;16|I;16B|I|F")
# Pillow's hard limit. From half of it on, Pillow only warns; the header check decides.
MAX_PIXELS = 178_956_970
# A picture above this is decoded alone: eight threads with 150 MP each would need 10 GB.
LARGE_PIXELS = 50_000_000
_BAND_PIXELS = 2**20
ORIENTATION_TAG = 0x0112
LARGE_TURN = threading.Lock()

# Pillow warns about damaged metadata without naming the file. The warnings are not needed: a picture that is
# damaged gets a row with the reason.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def read_header(data: bytes) -> Header:
    """Read a file's header, without decoding.

    Raises:
        UnusableImageError: ``reason`` is empty, not-an-image, too-large, animated, unsupported-mode,
            truncated, undecodable or missing-extra.
    """
    if not data:
        raise UnusableImageError("empty", "the file has no bytes")
    with _refuse_what_fails(data):
        header = _read_any_header(data)
        check_memory(header)
        return header


def _read_any_header(data: bytes) -> Header:
    if is_heic(data):
        return read_heic_header(data)
    page = read_page(data)
    if page is None:
        return _read_pillow_header(data, None)
    if DNG_VERSION in page.tags:  # its pixels are a preview of a raw photograph
        return read_dng_header(data)
    check_size(page)
    check_whole(data, page)
    return _read_tiff_header(data, page)


def decode_image(data: bytes, *, large_px: int = LARGE_PIXELS) -> NDArray[np.uint8]:
    """Decode a photograph to upright RGB pixels (H, W, 3), which are read-only.

    To limit memory, photographs of more than ``large_px`` pixels are decoded one at a time.

    Raises:
        UnusableImageError: ``reason`` is as in ``read_header``. For missing or damaged pixels it is truncated
            or undecodable.
    """
    header = read_header(data)
    count = header.width * header.height
    if count > MAX_PIXELS:
        raise UnusableImageError("too-large", f"more than {MAX_PIXELS:,} pixels")
    alone: AbstractContextManager[Any] = LARGE_TURN if count > large_px else nullcontext()
    with alone, _refuse_what_fails(data):
        pixels = _DECODERS.get(header.format, _decode_with_pillow)(data, header)
        if not header.is_turned:
            pixels = turn_upright(pixels, header.orientation)
        _check_agreement(header, pixels)
        pixels.flags.writeable = False
        return pixels


def _check_agreement(header: Header, pixels: NDArray[np.uint8]) -> None:
    """Refuse pixels of another size than the header's, because tiles and positions use that size."""
    width, height = header.upright_size
    if pixels.shape != (height, width, 3):
        raise UnusableImageError(
            "undecodable",
            f"the header says {width}×{height} px, "
            f"the pixels are {pixels.shape[1]}×{pixels.shape[0]}",
        )


def turn_upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn pixels upright by their EXIF orientation; return the same array if it is upright, else a copy."""
    if orientation in (2, 3):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4):
        pixels = pixels[::-1]
    if orientation in TURNED:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _read_pillow_header(data: bytes, page: TiffPage | None) -> Header:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_pillow(data, image, page)
        orientation = _find_tiff_orientation(image) if page else _find_orientation(data, image)
        width, height = image.size
        if page and orientation in TURNED:  # Pillow states the size after its own turning
            width, height = height, width
        return Header(
            format=image.format or "",
            mode=image.mode,
            width=width,
            height=height,
            orientation=orientation,
            note=_write_note(page, image.mode),
            is_turned=page is not None,
            tiff=page,
        )


def _check_pillow(data: bytes, image: Image.Image, page: TiffPage | None) -> None:
    if not MODES.fullmatch(image.mode):
        raise UnusableImageError("unsupported-mode", f"pixels are {image.mode!r}")
    if image.mode == "La" and page is not None and page.is_planar:  # Pillow loses the alpha
        raise UnusableImageError(
            "unsupported-mode", "gray premultiplied with alpha in a separate plane"
        )
    # Further pages of a TIFF or an MPO are previews; further frames of a PNG or a WebP are an animation.
    if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
        raise UnusableImageError("animated", "several frames; export one of them")
    if image.format == "PNG" and not any(kind == b"IEND" for kind, _, _ in walk_chunks(data)):
        raise UnusableImageError("truncated", "the file ends before its end mark")
    if image.format == "WEBP" and int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise UnusableImageError("truncated", "the file is shorter than its header says")
    if page is not None and page.kind[0] == "i" and page.bits <= 8:
        raise UnusableImageError("unsupported-mode", f"{page.bits}-bit signed pixels")


def _decode_with_pillow(data: bytes, header: Header) -> NDArray[np.uint8]:
    if header.format == "PNG":
        check_pixel_chunks(data)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        page = header.tiff
        if page is None:
            image.load()
        else:
            image.info.pop(
                "xmp", None
            )  # Pillow itself turns a TIFF upright, and must do so by the tag only, not by XMP
            check_chunks(data, page)
            _load_tiff(image)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            return _repeat_gray(_scale_pillow(image, page))
        return _copy_pixels(image)


def _load_tiff(image: Image.Image) -> None:
    """Decode a TIFF with Pillow, and refuse it if libtiff reports an error.

    Raises:
        UnusableImageError: ``reason`` is truncated or undecodable.
    """
    with collect_libtiff_errors() as complaints:
        try:
            image.load()
        except OSError:
            if not complaints:
                raise
    if complaints:
        raise _word_refusal(f"libtiff: {complaints[0]}")


def _copy_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Copy a loaded picture to RGB pixels, some rows at a time.

    Pillow's own conversion needs two or three times more memory.
    """
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        if band.mode == "La":
            pixels[top : top + rows] = divide_alpha(np.array(band))
            continue
        pixels[top : top + rows] = np.asarray(band if band.mode == "RGB" else band.convert("RGB"))
    return pixels


def _scale_pillow(image: Image.Image, page: TiffPage | None) -> NDArray[np.uint8]:
    samples = np.asarray(image)
    bits = page.bits if page else 16
    if image.mode.startswith("I;16"):
        counts = samples.astype(np.uint16)
        if page and page.is_white_zero:
            counts = np.uint16((1 << bits) - 1) - counts
        return (counts >> np.uint16(bits - 8)).astype(np.uint8)
    if page and page.kind == "u4":
        samples = samples.view(np.uint32)
    scaled = scale_to_bytes(samples, nodata=page.nodata if page else None)
    return np.asarray(255 - scaled) if page and page.is_white_zero else scaled


def _find_tiff_orientation(image: Image.Image) -> int:
    """Read the orientation by which Pillow turns a TIFF; the tag may have any type."""
    return _check_orientation(getattr(image, "tag_v2", {}).get(ORIENTATION_TAG, 1))


def _find_orientation(data: bytes, image: Image.Image) -> int:
    """Read the EXIF orientation 1..8; 1 if the EXIF block is damaged."""
    try:
        if image.format == "PNG":
            # Pillow would decode the whole picture to find a block after the pixels, and would use a
            # damaged raw profile.
            image.info.pop("Raw profile type exif", None)
            image.info["exif"] = read_png_exif(data)
            image.info["xmp"] = read_png_xmp(data)
            exif = Image.Image.getexif(image)
        else:
            exif = image.getexif()
        return _check_orientation(exif.get(ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - struct, Syntax and Value errors, depending on the damage
        return 1


def _check_orientation(value: Any) -> int:
    return int(value) if value in range(1, 9) else 1


def _decode_jpeg(data: bytes, header: Header) -> NDArray[np.uint8]:
    """Decode a JPEG with simplejpeg, which gives the same pixels as Pillow in a third of the time.

    Pillow decodes the files that simplejpeg does not support, and those without three colours.
    """
    pixels = decode_strictly(data, "RGB" if header.mode in ("RGB", "L") else header.mode)
    if pixels is None or pixels.shape[2] != 3:
        del pixels
        return _decode_with_pillow(data, header)
    return pixels


def _read_tiff_header(data: bytes, page: TiffPage) -> Header:
    if not page.is_readable:
        try:
            return _read_pillow_header(data, page)
        except UnidentifiedImageError:
            raise UnusableImageError(
                "unsupported-mode",
                f"TIFF with {page.samples} samples of {page.bits} bit, compression {page.first(259, 1)}",
            ) from None
    width, height = page.size
    if min(width, height) < 1:
        raise UnusableImageError("undecodable", f"{width}×{height} px")
    name = {1: "L", 3: "RGB", 4: "CMYK"}[page.colors]
    is_plain = page.kind in ("u1", "u2")
    mode = (
        ("I;16" if page.kind == "u2" and name == "L" else name)
        if is_plain
        else f"{name};{np.dtype(page.kind).name}"
    )
    if name == "CMYK" and not is_plain:
        raise UnusableImageError("unsupported-mode", f"pixels are {mode!r}")
    return Header(
        format="TIFF",
        mode=mode,
        width=width,
        height=height,
        orientation=_check_orientation(page.first(ORIENTATION_TAG, 1)),
        note=_write_note(page, page.kind),
        tiff=page,
    )


def _decode_tiff(data: bytes, header: Header) -> NDArray[np.uint8]:
    page = header.tiff
    if page is None or not page.is_readable:
        return _decode_with_pillow(data, header)
    samples, has_alpha = read_samples(data, page), page.is_premultiplied
    if has_alpha and samples.dtype not in (np.uint8, np.uint16):
        samples, has_alpha = divide_alpha(samples), False
    scaled = scale_to_bytes(samples, nodata=page.nodata)
    del samples
    if has_alpha:
        scaled = divide_alpha(scaled)
    if page.colors == 4:
        return np.array(Image.fromarray(scaled, "CMYK").convert("RGB"))
    return _repeat_gray(scaled[..., 0]) if page.colors == 1 else np.ascontiguousarray(scaled)


def _repeat_gray(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(gray[..., None], 3, axis=2)


def _write_note(page: TiffPage | None, kind: str) -> str | None:
    """Write a note about pages that were left out and pixels that were scaled; None if there are none.

    ``kind`` is Pillow's mode or NumPy's type of the pixels.
    """
    notes = [f"first of {page.pages} pages"] if page and page.pages > 1 else []
    if kind in ("I", "F") or (kind not in ("u1", "u2") and kind[1:] in ("1", "2", "4", "8")):
        what = "float" if kind[0] in "Ff" else "integer"
        notes.append(f"{what} pixels scaled from their own lowest..highest value")
    return "; ".join(notes) or None


_DECODERS: dict[str, Callable[[bytes, Header], NDArray[np.uint8]]] = {
    "JPEG": _decode_jpeg,
    "MPO": _decode_jpeg,
    "TIFF": _decode_tiff,
    "HEIC": decode_heic,
    "DNG": decode_dng,
}


@contextmanager
def _refuse_what_fails(data: bytes) -> Iterator[None]:
    """Convert any error of a decoder to an UnusableImageError with a reason."""
    try:
        yield
    except UnusableImageError:
        raise
    except UnidentifiedImageError:
        raise UnusableImageError(
            "not-an-image",
            f"no complete header of {', '.join(KNOWN)}; the file starts with {data[:8]!r}",
        ) from None
    except Image.DecompressionBombError:
        raise UnusableImageError("too-large", f"more than {MAX_PIXELS:,} pixels") from None
    except Exception as err:  # decoders raise nearly anything on bad bytes
        raise _word_refusal(f"{type(err).__name__}: {err}"[:300]) from err


def _word_refusal(complaint: str) -> UnusableImageError:
    signs = ("truncated", "incomplete", "end of file", "input/output error")
    is_cut = any(sign in complaint.lower() for sign in signs)
    return UnusableImageError("truncated" if is_cut else "undecodable", complaint)
