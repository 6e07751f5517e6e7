"""TIFF reader for the first page's tags, and for samples that Pillow gets wrong.

Pillow 13 returns scrambled pixels for planar 16-bit files without compression. It wraps 32-bit counts into
negative numbers, and inverts 16-bit pictures in which 0 is white. It cannot read 16- and 64-bit floats or
float colours at all.
"""

import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding.jpeg import decode_strictly
from dino_assets.images.decoding.tiff_directories import Directory, find_layout, walk_directories

Samples = NDArray[Any]

MAX_SAMPLES = 16
# Limit for samples in their own type; the 8-bit pixels and a copy of them need memory in addition.
MAX_SAMPLE_BYTES = 2 * 2**30
MAX_CHUNKS = 2**20  # the largest photograph in tiles of 16 px has 700,000
DNG_VERSION = 50706
_COUNTS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8"}
_SIGNED = {6: "i1", 8: "i2", 9: "i4"}
_WIDTH, _HEIGHT, _ORIENTATION, _NODATA = 256, 257, 274, 42113
_CHUNK_TABLES = {273, 279, 324, 325}
_JPEG_TABLES = 347
_READ = {_WIDTH, _HEIGHT, _ORIENTATION, _NODATA, *_CHUNK_TABLES}
_READ |= {258, 259, 262, 266, 277, 278, 284, 317, 322, 323, 338, 339}
_MAX_VALUES = 2**16  # of any other tag: it has one value per sample, and no pixel has more samples
_NONE, _JPEG, _DEFLATE = 1, 7, (8, 32946)
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _SEPARATED = 0, 1, 2, 5
_KINDS = {1: "u", 2: "i", 3: "f"}
BAND_VALUES = 2**22
_MAX_PADDING_BYTES, _PADDING_STEP_BYTES = 2**20, 2**16


@dataclass(frozen=True)
class TiffPage:
    """The first page's tags, and the number of pages.

    Tags that this module does not use are in ``tags``, but without values.
    """

    order: str
    tags: dict[int, tuple[int, ...]]
    pages: int
    nodata: float | None
    jpeg_tables: bytes = b""

    def first(self, tag: int, default: int) -> int:
        """Return a tag's first value, or the default."""
        return (self.tags.get(tag) or (default,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.first(256, 0), self.first(257, 0)

    @property
    def chunk_size(self) -> tuple[int, int]:
        """Width and height of a tile, or of a strip."""
        width, height = self.size
        if self.tags.get(322):
            return max(1, self.first(322, width)), max(1, self.first(323, height))
        return max(1, width), max(1, min(height, self.first(278, height)))

    @property
    def chunks(self) -> int:
        """Number of tiles or strips that hold the pixels; the file may list more."""
        columns, rows = self.chunk_size
        planes = self.samples if self.is_planar else 1
        return planes * -(-self.size[0] // columns) * -(-self.size[1] // rows)

    @property
    def most_chunk_pixels(self) -> int:
        """Largest tile or strip, in pixels, that is unpacked; a tile may be larger than a small picture."""
        return 4 * self.size[0] * self.size[1] + 2**22

    @property
    def bits(self) -> int:
        """Bits of the first sample."""
        return self.first(258, 1)

    @property
    def is_white_zero(self) -> bool:
        """Whether 0 is white."""
        return self.first(262, _BLACK_IS_ZERO) == _WHITE_IS_ZERO

    @property
    def samples(self) -> int:
        """Values per pixel."""
        return self.first(277, 1)

    @property
    def kind(self) -> str:
        """Type of a sample in NumPy's notation, such as ``u2`` or ``f4``."""
        return f"{_KINDS.get(self.first(339, 1), '?')}{self.bits // 8}"

    @property
    def colors(self) -> int:
        """Number of colour samples per pixel: 1, 3 or 4; 0 if unknown."""
        by_kind = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _SEPARATED: 4}
        colors = by_kind.get(self.first(262, -1), 0)
        extra = len(self.tags.get(338, ()))
        # Five bands marked black-is-zero are a measurement, not a photograph.
        is_known = self.samples - extra == colors and (colors > 1 or extra < 2)
        return colors if self.samples == colors or is_known else 0

    @property
    def is_premultiplied(self) -> bool:
        """Whether the colours are stored multiplied by alpha, the sample that follows them."""
        has_alpha = self.tags.get(338, ())[:1] == (1,) and self.samples > self.colors
        return has_alpha and self.colors in (1, 3) and self.kind[0] in "uf"

    @property
    def is_planar(self) -> bool:
        """Whether each sample is stored in a plane of its own."""
        return self.first(284, 1) == 2 and self.samples > 1

    @property
    def is_readable(self) -> bool:
        """Whether this page is read by ``read_samples``, not by Pillow."""
        kinds: tuple[str, ...] = ("i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8")
        if self.is_premultiplied and self.is_planar:  # Pillow fails for some compressions
            kinds += ("u1",)
        return (
            self.kind in kinds
            and len(set(self.tags.get(258, ()))) == 1
            and len(set(self.tags.get(339, (1,)))) == 1
            and self.first(259, _NONE) in (_NONE, *_DEFLATE)
            and self.first(266, 1) == 1
            and self.colors > 0
            and self.samples <= MAX_SAMPLES
        )


def read_page(data: bytes) -> TiffPage | None:
    """Read the tags of a TIFF's first page, and count its pages.

    Return None if the bytes are no TIFF, or hold no complete page.

    Raises:
        UnusableImageError: the tags contradict each other, are too many, or too long; ``reason`` is
            undecodable or too-large.
    """
    layout = find_layout(data[:16])
    if layout is None:
        return None
    pages = walk_directories(lambda at, size: data[at : at + size], layout, file_bytes=len(data))
    first = next(pages, None)
    if first is None:
        return None
    tags, nodata, jpeg_tables = _read_tags(data, layout.order, first)
    return TiffPage(layout.order, tags, 1 + sum(1 for _ in pages), nodata, jpeg_tables)


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
    is_raw = page.first(259, _NONE) == _NONE and page.bits % 8 == 0
    for at, (offset, count) in enumerate(zip(*_places(page), strict=False)):
        # Some writers state too large a count for the last strip. Without compression, its real size is
        # known.
        end = offset + (min(count, _measure_raw_chunk(page, at)) if is_raw else count)
        if end > len(data):
            raise UnusableImageError(
                "truncated", f"pixels end at byte {end:,}, the file has {len(data):,} bytes"
            )


def check_chunks(data: bytes, page: TiffPage) -> None:
    """Refuse a page with damaged JPEG or zlib data, which Pillow and libtiff accept.

    libjpeg only warns of damaged JPEG data, and Pillow switches these warnings off. Neither Pillow nor
    libtiff checks the checksum of a zlib stream.

    Raises:
        UnusableImageError: ``reason`` is truncated or undecodable.
    """
    compression = page.first(259, _NONE)
    is_jpeg = compression == _JPEG and page.bits == 8
    if not is_jpeg and compression not in _DEFLATE:
        return
    columns, rows = page.chunk_size
    samples = 1 if page.is_planar else page.samples
    chunk_bytes = rows * -(-columns * samples * page.bits // 8)
    for offset, count in islice(zip(*_places(page), strict=False), page.chunks):
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
    offsets, counts = _places(page)
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


def scale_to_bytes(
    samples: Samples, *, nodata: float | None = None, band_values: int = BAND_VALUES
) -> NDArray[np.uint8]:
    """Scale samples of any shape to 8 bit; of unsigned 16-bit samples, the high byte is returned.

    Signed, 32- and 64-bit and float samples are scaled linearly from the lowest (0) to the highest finite
    value (255) of the whole picture. Values that are not finite, and ``nodata``, become 0, and so does a
    constant picture. About ``band_values`` values are scaled at a time, which limits memory and changes no
    result.
    """
    if samples.dtype == np.uint8:
        return samples.astype(np.uint8)
    if samples.dtype == np.uint16:
        high_bytes = np.empty(samples.shape, np.uint8)
        for at in _cut(samples, band_values):
            high_bytes[at] = samples[at] >> np.uint16(8)
        return high_bytes
    out = np.zeros(samples.shape, np.uint8)
    low, high = np.inf, -np.inf
    for _, values, good in _bands(samples, nodata, band_values):
        if good.any():
            low = min(low, float(values.min(where=good, initial=np.inf)))
            high = max(high, float(values.max(where=good, initial=-np.inf)))
    span = high * 0.5 - low * 0.5  # halves, because the difference may exceed the largest float
    if not span > 0:
        return out
    for at, values, good in _bands(samples, nodata, band_values):
        share = (np.where(good, values, low) * 0.5 - low * 0.5) / span
        out[at] = np.where(good, np.floor(share * 255 + 0.5), 0).astype(np.uint8)
    return out


def _bands(
    samples: Samples, nodata: float | None, band_values: int
) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.bool_]]]:
    for at in _cut(samples, band_values):
        values = samples[at].astype(np.float64)
        good = np.isfinite(values)
        if nodata is not None:
            good &= values != nodata
        yield at, values, good


def _cut(samples: Samples, band_values: int) -> Iterator[slice]:
    rows = max(1, band_values * len(samples) // max(1, samples.size))
    for top in range(0, len(samples), rows):
        yield slice(top, top + rows)


def _unpack(raw: bytes, page: TiffPage, *, shape: tuple[int, int, int]) -> Samples:
    dtype = np.dtype(page.order + page.kind)
    rows, columns, samples = shape
    expected = rows * columns * samples * dtype.itemsize
    if page.first(259, _NONE) in _DEFLATE:
        raw = _inflate(raw, expected)
    if len(raw) < expected:
        raise UnusableImageError("truncated", f"a strip or tile has {len(raw)} of {expected} bytes")
    predictor = page.first(317, 1) if page.first(259, _NONE) in _DEFLATE else 1
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


def _measure_raw_chunk(page: TiffPage, at: int) -> int:
    """Compute the bytes of an uncompressed strip or tile; the last strip may have fewer rows."""
    columns, rows = page.chunk_size
    if not page.tags.get(322):
        height = page.size[1]
        rows = min(rows, height - at % max(1, -(-height // rows)) * rows)
    samples = 1 if page.first(284, 1) == 2 else page.samples
    return columns * rows * samples * (page.bits // 8)


def _places(page: TiffPage) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if page.tags.get(322):
        return page.tags.get(324, ()), page.tags.get(325, ())
    return page.tags.get(273, ()), page.tags.get(279, ())


def _read_tags(
    data: bytes, order: str, page: Directory
) -> tuple[dict[int, tuple[int, ...]], float | None, bytes]:
    """Read the integer tags, the nodata value and the JPEG tables; tags that are not used stay empty."""
    tags: dict[int, tuple[int, ...]] = {}
    nodata, jpeg_tables = None, b""
    rows = (page.tags, page.kinds, page.counts, page.sizes, page.places)
    for tag, kind, count, size, start in zip(*(row.tolist() for row in rows), strict=True):
        if tag in (_WIDTH, _HEIGHT) and tag in tags:
            raise UnusableImageError("undecodable", f"tag {tag} (width or height) occurs twice")
        if tag == _JPEG_TABLES and tag not in tags and start + size <= len(data):
            jpeg_tables = data[start : start + min(size, _MAX_VALUES)]
        if tag not in _READ:
            tags[tag] = ()
        # If a tag occurs twice the first one counts, as in Pillow and libtiff.
        if tag in tags or start + size > len(data):
            continue
        types = _COUNTS | _SIGNED if tag == _ORIENTATION else _COUNTS
        if kind in types and count:
            if tag in _CHUNK_TABLES and count > MAX_CHUNKS:
                raise UnusableImageError(
                    "too-large", f"{count:,} strips or tiles, the limit is {MAX_CHUNKS:,}"
                )
            values = count if tag in _CHUNK_TABLES else min(count, _MAX_VALUES)
            numbers = np.frombuffer(data, np.dtype(order + types[kind]), values, start)
            tags[tag] = tuple(numbers.tolist())
        elif tag == _NODATA and kind == 2:
            with suppress(ValueError):
                nodata = float(data[start : start + min(size, 100)].rstrip(b"\0 "))
    return tags, nodata, jpeg_tables
