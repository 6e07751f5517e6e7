"""TIFF tags: those of a file's first page, and what they say about its pixels."""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding.tiff_directories import Directory, find_layout, walk_directories

MAX_SAMPLES = 16
MAX_CHUNKS = 2**20  # the largest photograph in tiles of 16 px has 700,000
DNG_VERSION = 50706
NO_COMPRESSION, JPEG, DEFLATE = 1, 7, (8, 32946)  # values of the tag "compression"
_COUNTS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8"}
_SIGNED = {6: "i1", 8: "i2", 9: "i4"}
_WIDTH, _HEIGHT, _ORIENTATION, _NODATA = 256, 257, 274, 42113
_CHUNK_TABLES = {273, 279, 324, 325}
_JPEG_TABLES = 347
_READ = {_WIDTH, _HEIGHT, _ORIENTATION, _NODATA, *_CHUNK_TABLES}
_READ |= {258, 259, 262, 266, 277, 278, 284, 317, 322, 323, 338, 339}
_MAX_VALUES = 2**16  # of any other tag: it has one value per sample, and no pixel has more samples
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _SEPARATED = 0, 1, 2, 5
_KINDS = {1: "u", 2: "i", 3: "f"}


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
    def chunk_places(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Offsets and byte counts of the tiles or strips, as the file lists them."""
        if self.tags.get(322):
            return self.tags.get(324, ()), self.tags.get(325, ())
        return self.tags.get(273, ()), self.tags.get(279, ())

    @property
    def compression(self) -> int:
        """Compression of the tiles or strips, as the tag's number."""
        return self.first(259, NO_COMPRESSION)

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
        """Whether this page is read by ``read_samples`` of tiff_pixels.py, not by Pillow."""
        kinds: tuple[str, ...] = ("i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8")
        if self.is_premultiplied and self.is_planar:  # Pillow fails for some compressions
            kinds += ("u1",)
        return (
            self.kind in kinds
            and len(set(self.tags.get(258, ()))) == 1
            and len(set(self.tags.get(339, (1,)))) == 1
            and self.compression in (NO_COMPRESSION, *DEFLATE)
            and self.first(266, 1) == 1
            and self.colors > 0
            and self.samples <= MAX_SAMPLES
        )


def read_page(data: bytes) -> TiffPage | None:
    """Read the tags of a TIFF's first page, and count its pages.

    Return None if the bytes are not a TIFF, or do not hold a complete page.

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
