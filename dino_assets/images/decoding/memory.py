"""Memory limit for decoding, estimated from a picture's header: a small file can need gigabytes."""

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding.headers import Header

MOST_BYTES = 1_200_000_000
# Measured bytes per pixel, including the returned pixels. Pillow holds four bytes per pixel in most modes and
# one in the others. libwebp holds two canvases and a copy. A progressive JPEG needs all its coefficients.
_PILLOW, _PILLOW_ONE_BYTE, _WEBP, _JPEG, _HEIC = 7.5, 4.5, 16.5, 6.5, 8.0
_ONE_BYTE_MODES = ("1", "L", "P")
_OUT = 3.5  # for a TIFF read by `read_samples`, in addition to its samples
_SCALING_BYTES = 160_000_000  # bands of float64, however large the picture


def check_memory(header: Header, *, most_bytes: int = MOST_BYTES) -> None:
    """Refuse a picture that needs more memory to decode than ``most_bytes``.

    Raises:
        UnusableImageError: ``reason`` is too-large.
    """
    needed = estimate_bytes(header)
    if needed > most_bytes:
        raise UnusableImageError(
            "too-large",
            f"{header.width}×{header.height} px as {header.format} ({header.mode}) would need "
            f"{needed / 1e9:.1f} GB to decode, the limit is {most_bytes / 1e9:.1f} GB; save it as an "
            "RGB JPEG, which needs less",
        )


def estimate_bytes(header: Header) -> int:
    """Estimate how many bytes of memory decoding needs at its peak."""
    pixels, page = header.width * header.height, header.tiff
    if page is not None and page.is_readable:
        columns, rows = page.chunk_size
        pixel_bytes = page.samples * page.bits // 8
        scaling = 0 if page.kind == "u2" else _SCALING_BYTES
        out = _OUT + page.is_premultiplied  # the alpha as a byte
        return int(pixels * (pixel_bytes + out) + 2 * columns * rows * pixel_bytes + scaling)
    if header.format in ("JPEG", "MPO") and header.mode in ("RGB", "L"):
        return int(pixels * _JPEG)
    if header.format == "WEBP":
        return int(pixels * _WEBP)
    if header.format in ("HEIC", "DNG"):
        return int(pixels * (_HEIC if header.format == "HEIC" else _JPEG))
    return int(pixels * (_PILLOW_ONE_BYTE if header.mode in _ONE_BYTE_MODES else _PILLOW))
