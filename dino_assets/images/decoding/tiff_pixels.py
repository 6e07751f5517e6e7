"""Pixels of a TIFF page: checks of size and completeness, and samples that Pillow gets wrong.

Pillow 13 returns scrambled pixels for planar 16-bit files without compression. It wraps 32-bit counts into
negative numbers, and inverts 16-bit pictures in which 0 is white. It cannot read 16- and 64-bit floats or
float colours at all.
"""

import zlib
from itertools import islice

import numpy as np
import simplejpeg

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding.jpeg import decode_strictly
from dino_assets.images.decoding.scaling import Samples
from dino_assets.images.decoding.tiff import DEFLATE, JPEG, NO_COMPRESSION, TiffPage

# Limit for samples in their own type; the 8-bit pixels and a copy of them need memory in addition.
MAX_SAMPLE_BYTES = 2 * 2**30
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_MAX_PADDING_BYTES, _PADDING_STEP_BYTES = 2**20, 2**16


def check_size(page: TiffPage, *, max_bytes: int = MAX_SAMPLE_BYTES) -> None:
    """Refuse a page whose samples need more memory than ``max_bytes``.

    Raises:
        UnusableImageError: ``reason`` is too-large.
    """
    width, height = page.size
    columns, rows = page.chunk_size  # a tile may be larger than the picture
    pixel_bytes = page.samples * max(1, page.bits // 8)
    if max(width * height, columns * rows) * pixel_bytes > max_bytes:
        raise UnusableImageError(
            "too-large",
            f"{width}×{height} px with {page.samples} samples of {page.bits} bit, "
            f"the limit is {max_bytes:,} bytes",
        )


def check_whole(data: bytes, page: TiffPage) -> None:
    """Refuse a page with pixels beyond the end of the file.

    Raises:
        UnusableImageError: ``reason`` is truncated.
    """
    is_raw = page.compression == NO_COMPRESSION and page.bits % 8 == 0
    for at, (offset, count) in enumerate(zip(*page.chunk_places, strict=False)):
        # Some writers state too large a count for the last strip. Without compression, its real size is
        # known.
        end = offset + (min(count, _measure_raw_chunk(page, at)) if is_raw else count)
        if end > len(data):
            raise UnusableImageError(
                "truncated", f"pixels end at byte {end:,}, the file has {len(data):,} bytes"
            )


def _measure_raw_chunk(page: TiffPage, at: int) -> int:
    """Compute the bytes of an uncompressed strip or tile; the last strip may have fewer rows."""
    columns, rows = page.chunk_size
    if not page.tags.get(322):
        height = page.size[1]
        rows = min(rows, height - at % max(1, -(-height // rows)) * rows)
    samples = 1 if page.first(284, 1) == 2 else page.samples
    return columns * rows * samples * (page.bits // 8)


def check_chunks(data: bytes, page: TiffPage) -> None:
    """Refuse a page with damaged JPEG or zlib data, which Pillow and libtiff accept.

    libjpeg only warns of damaged JPEG data, and Pillow switches these warnings off. Neither Pillow nor
    libtiff checks the checksum of a zlib stream.

    Raises:
        UnusableImageError: ``reason`` is truncated or undecodable.
    """
    compression = page.compression
    is_jpeg = compression == JPEG and page.bits == 8
    if not is_jpeg and compression not in DEFLATE:
        return
    columns, rows = page.chunk_size
    samples = 1 if page.is_planar else page.samples
    chunk_bytes = rows * -(-columns * samples * page.bits // 8)
    for offset, count in islice(zip(*page.chunk_places, strict=False), page.chunks):
        chunk = data[offset : offset + count]
        if is_jpeg:
            _check_jpeg(chunk, page, samples=samples)
        elif chunk:
            _drain(zlib.decompressobj(), chunk, chunk_bytes)


def _check_jpeg(chunk: bytes, page: TiffPage, *, samples: int) -> None:
    # Tables and pixels are two JPEG streams, each with its start and end marker.
    tables = page.jpeg_tables.removesuffix(_JPEG_END) or _JPEG_START
    jpeg = tables + chunk.removeprefix(_JPEG_START)
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
    except ValueError:
        return  # a sparse file leaves the tile out, or libtiff will report the error
    columns, rows = page.chunk_size
    # libtiff refuses other sizes before decoding; a header of 20 bytes can declare 4,000 megapixels.
    if width <= columns and height <= rows and columns * rows <= page.most_chunk_pixels:
        decode_strictly(jpeg, {1: "GRAY", 4: "CMYK"}.get(samples, "RGB"))


def read_samples(data: bytes, page: TiffPage) -> Samples:
    """Read colour samples (H, W, C) in the file's own type; C is 1, 3 or 4.

    If 0 is white in the file, the colours are inverted. Premultiplied colours are followed by their alpha, so
    C is one more.

    Raises:
        UnusableImageError: ``reason`` is truncated or undecodable.
    """
    width, height = page.size
    chunk_width, chunk_height = page.chunk_size
    if chunk_width * chunk_height > page.most_chunk_pixels:
        raise UnusableImageError(
            "undecodable",
            f"a strip or tile has {chunk_width}×{chunk_height} px, expected at most "
            f"{page.most_chunk_pixels:,} pixels in a picture of {width}×{height} px",
        )
    across, down = -(-width // chunk_width), -(-height // chunk_height)
    is_planar = page.is_planar
    planes = page.samples if is_planar else 1
    offsets, counts = page.chunk_places
    if min(len(offsets), len(counts)) < page.chunks:
        raise UnusableImageError(
            "truncated", f"{len(offsets)} of {page.chunks} strips or tiles are listed"
        )
    channels = page.colors + page.is_premultiplied
    out = np.zeros((height, width, channels), np.dtype(page.kind))
    for plane in range(min(planes, channels)):
        target = out[..., plane : plane + 1] if is_planar else out
        for at in range(across * down):
            index = plane * across * down + at
            if counts[index] == 0:
                continue  # a sparse file leaves out chunks of zeros
            top, left = at // across * chunk_height, at % across * chunk_width
            rows = chunk_height if page.tags.get(322) else min(chunk_height, height - top)
            chunk = _unpack(
                data[offsets[index] : offsets[index] + counts[index]],
                page,
                shape=(rows, chunk_width, 1 if is_planar else page.samples),
            )
            place = target[top : top + rows, left : left + chunk_width]
            place[...] = chunk[: place.shape[0], : place.shape[1], : place.shape[2]]
    if page.is_white_zero:
        colours = out[..., : page.colors]
        (np.negative if out.dtype.kind == "f" else np.invert)(colours, out=colours)
    return out


def _unpack(raw: bytes, page: TiffPage, *, shape: tuple[int, int, int]) -> Samples:
    dtype = np.dtype(page.order + page.kind)
    rows, columns, samples = shape
    expected = rows * columns * samples * dtype.itemsize
    if page.compression in DEFLATE:
        raw = _inflate(raw, expected)
    if len(raw) < expected:
        raise UnusableImageError("truncated", f"a strip or tile has {len(raw)} of {expected} bytes")
    predictor = page.first(317, 1) if page.compression in DEFLATE else 1
    if (
        predictor == 3
    ):  # bytes of equal weight are stored together, each as the difference from the byte before
        parts = np.frombuffer(raw, np.uint8, expected).reshape(rows, -1, samples)
        summed = np.cumsum(parts, axis=1, dtype=np.uint8)
        whole = summed.reshape(rows, dtype.itemsize, columns * samples).transpose(0, 2, 1)
        floats = np.ascontiguousarray(whole).view(np.dtype(f">f{dtype.itemsize}"))
        return floats.reshape(shape)
    values = np.frombuffer(raw, dtype, expected // dtype.itemsize).reshape(shape)
    if predictor == 2:
        counts = values.astype(np.dtype(page.kind)).view(np.dtype(f"u{dtype.itemsize}"))
        return np.cumsum(counts, axis=1, dtype=counts.dtype).view(np.dtype(page.kind))
    return values


def _inflate(packed: bytes, expected: int) -> bytes:
    """Unpack ``expected`` bytes, and check the checksum that follows, perhaps after padding.

    Raises:
        UnusableImageError: ``reason`` is undecodable.
    """
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(packed, expected)
    except zlib.error as err:
        raise UnusableImageError("undecodable", f"zlib: {err}") from None
    _drain(stream, stream.unconsumed_tail, 0)
    return raw


def _drain(stream: "zlib._Decompress", packed: bytes, expected: int) -> None:
    """Unpack a zlib stream to its end to check it, and discard the output.

    The stream may hold ``expected`` bytes and some padding.

    Raises:
        UnusableImageError: ``reason`` is undecodable.
    """
    most, count = expected + _MAX_PADDING_BYTES, 0
    try:
        while packed and not stream.eof and count < most:
            count += len(stream.decompress(packed, _PADDING_STEP_BYTES))
            packed = stream.unconsumed_tail
    except zlib.error as err:
        raise UnusableImageError("undecodable", f"zlib: {err}") from None
    # A stream may end after all pixels without a checksum. A stream with padding must have its end.
    if expected < count < most and not stream.eof:
        raise UnusableImageError(
            "undecodable", "zlib: the stream goes on after its strip or tile and has no end"
        )
