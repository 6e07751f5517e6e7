"""TIFF by its own tags: what the first page says of itself, and the samples that Pillow gets wrong.

Pillow 13 returns scrambled pixels for planar 16-bit files without compression, wraps 32-bit counts
into negatives, shows 16-bit min-is-white as a negative, and cannot read 16- and 64-bit floats or
float colours at all.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.errors import UnusableImageError

Samples = NDArray[Any]

MAX_PAGES = 10_000
MAX_SAMPLES = 16
DNG_VERSION = 50706
_COUNTS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8"}
_NONE, _DEFLATE = 1, (8, 32946)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _SEPARATED = 0, 1, 2, 5
_KINDS = {1: "u", 2: "i", 3: "f"}
_BAND_ROWS = 256


@dataclass(frozen=True)
class TiffPage:
    """The first page: its tags (whole numbers only, and the nodata text) and how many pages there are."""

    order: str
    tags: dict[int, tuple[int, ...]]
    pages: int
    nodata: float | None

    def first(self, tag: int, default: int) -> int:
        """Give a tag's first value."""
        return (self.tags.get(tag) or (default,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.first(256, 0), self.first(257, 0)

    @property
    def bits(self) -> int:
        """Bits of the first sample."""
        return self.first(258, 1)

    @property
    def is_white_zero(self) -> bool:
        """Whether 0 is white."""
        return self.first(262, _BLACK_IS_ZERO) == _WHITE_IS_ZERO

    @property
    def is_dng(self) -> bool:
        """Whether its pixels are a preview of a raw photograph."""
        return DNG_VERSION in self.tags

    @property
    def orientation(self) -> int:
        """EXIF orientation, 1 if it makes no sense."""
        value = self.first(274, 1)
        return value if value in range(1, 9) else 1

    @property
    def samples(self) -> int:
        """Values per pixel."""
        return self.first(277, 1)

    @property
    def kind(self) -> str:
        """Type of a sample as NumPy writes it: ``u2``, ``f4``."""
        return f"{_KINDS.get(self.first(339, 1), '?')}{self.bits // 8}"

    @property
    def colors(self) -> int:
        """How many of a pixel's samples are its colour: 1, 3 or 4; 0 where that is not known."""
        found = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _SEPARATED: 4}
        colors = found.get(self.first(262, -1), 0)
        extra = len(self.tags.get(338, ()))
        # Five bands that call themselves black-is-zero are a measurement, not a photograph.
        is_known = self.samples - extra == colors and (colors > 1 or extra < 2)
        return colors if self.samples == colors or is_known else 0

    @property
    def is_readable(self) -> bool:
        """Whether ``read_samples`` is for this page rather than Pillow."""
        kinds = ("i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8")
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
    """Read the first directory and count the others; None where there is no whole directory."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return None
    version = int.from_bytes(data[2:4], "little" if order == "<" else "big")
    if version not in (42, 43):
        return None
    is_big = version == 43
    offset = _number(data, order, 8 if is_big else 4, 8 if is_big else 4)
    found = _read_directory(data, order, offset, is_big=is_big)
    if found is None:
        return None
    tags, nodata, following = found
    seen = {offset}
    while following and following not in seen and len(seen) < MAX_PAGES:
        seen.add(following)
        later = _read_directory(data, order, following, is_big=is_big, wanted=(256, 254))
        if later is None:
            break
        following = later[2]
    return TiffPage(order, tags, len(seen), nodata)


def check_whole(data: bytes, page: TiffPage) -> None:
    """Refuse a page whose pixels lie beyond the end of the file.

    Raises:
        UnusableImageError: truncated.
    """
    offsets, counts = _places(page)
    # Some writers state too large a count for the last strip; a raw one's size is known.
    raw = _chunk_bytes(page) if page.first(259, _NONE) == _NONE and page.bits % 8 == 0 else None
    for offset, count, at in zip(offsets, counts, range(len(offsets)), strict=False):
        end = offset + (count if raw is None else min(count, raw))
        if end > len(data) and not (raw is not None and _last_fits(page, data, offset, at)):
            raise UnusableImageError(
                "truncated", f"pixels up to byte {end:,}, the file has {len(data):,}"
            )


def read_samples(data: bytes, page: TiffPage) -> Samples:
    """Colour samples (H, W, C) in the file's own type, C 1, 3 or 4; white is high.

    Raises:
        UnusableImageError: truncated, undecodable.
    """
    width, height = page.size
    chunk_width, chunk_height = _chunk_size(page)
    if chunk_width * chunk_height > 4 * width * height + 2**22:
        raise UnusableImageError("undecodable", f"tiles of {chunk_width}×{chunk_height} px")
    across, down = -(-width // chunk_width), -(-height // chunk_height)
    is_planar = page.first(284, 1) == 2 and page.samples > 1
    planes = page.samples if is_planar else 1
    offsets, counts = _places(page)
    if min(len(offsets), len(counts)) < planes * across * down:
        raise UnusableImageError(
            "truncated", f"{len(offsets)} of {planes * across * down} strips or tiles are listed"
        )
    out = np.zeros((height, width, page.colors), np.dtype(page.kind))
    for plane in range(min(planes, page.colors)):
        target = out[..., plane : plane + 1] if is_planar else out
        for at in range(across * down):
            index = plane * across * down + at
            if counts[index] == 0:
                continue  # a sparse file leaves out what is all zero
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
        return _invert(out)
    return out


def scale_to_bytes(samples: Samples, *, nodata: float | None = None) -> NDArray[np.uint8]:
    """Samples of any shape as 8 bit: 16-bit counts keep their high byte, others go linearly from lowest to highest.

    Signed, 32- and 64-bit and float samples span 0..255 from the lowest to the highest finite value
    of the whole picture; what is not finite, and ``nodata``, becomes 0, and so does a constant picture.
    """
    if samples.dtype == np.uint8:
        return samples.astype(np.uint8)
    if samples.dtype == np.uint16:
        return np.asarray(samples >> np.uint16(8), np.uint8)
    out = np.zeros(samples.shape, np.uint8)
    low, high = np.inf, -np.inf
    for _, values, good in _bands(samples, nodata):
        if good.any():
            low = min(low, float(values.min(where=good, initial=np.inf)))
            high = max(high, float(values.max(where=good, initial=-np.inf)))
    span = high * 0.5 - low * 0.5  # halves: the whole may be beyond the largest number
    if not span > 0:
        return out
    for at, values, good in _bands(samples, nodata):
        share = (np.where(good, values, low) * 0.5 - low * 0.5) / span
        out[at] = np.where(good, np.floor(share * 255 + 0.5), 0).astype(np.uint8)
    return out


def _bands(
    samples: Samples, nodata: float | None
) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.bool_]]]:
    for top in range(0, len(samples), _BAND_ROWS):
        at = slice(top, top + _BAND_ROWS)
        values = samples[at].astype(np.float64)
        good = np.isfinite(values)
        if nodata is not None:
            good &= values != nodata
        yield at, values, good


def _invert(samples: Samples) -> Samples:
    if samples.dtype.kind == "u":
        return np.asarray(np.iinfo(samples.dtype).max - samples)
    return np.asarray(-samples if samples.dtype.kind == "f" else ~samples)


def _unpack(raw: bytes, page: TiffPage, *, shape: tuple[int, int, int]) -> Samples:
    dtype = np.dtype(page.order + page.kind)
    rows, columns, samples = shape
    expected = rows * columns * samples * dtype.itemsize
    if page.first(259, _NONE) in _DEFLATE:
        try:
            raw = zlib.decompressobj().decompress(raw, expected)
        except zlib.error as err:
            raise UnusableImageError("undecodable", f"zlib: {err}") from None
    if len(raw) < expected:
        raise UnusableImageError("truncated", f"a strip or tile has {len(raw)} of {expected} bytes")
    predictor = page.first(317, 1) if page.first(259, _NONE) in _DEFLATE else 1
    if predictor == 3:  # bytes of equal weight lie together, each the difference to the one before
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


def _chunk_size(page: TiffPage) -> tuple[int, int]:
    width, height = page.size
    if page.tags.get(322):
        return max(1, page.first(322, width)), max(1, page.first(323, height))
    return max(1, width), max(1, min(height, page.first(278, height)))


def _chunk_bytes(page: TiffPage) -> int:
    columns, rows = _chunk_size(page)
    samples = 1 if page.first(284, 1) == 2 else page.samples
    return columns * rows * samples * (page.bits // 8)


def _last_fits(page: TiffPage, data: bytes, offset: int, at: int) -> bool:
    """Whether it is a last strip with fewer rows than the others, and those are there."""
    if page.tags.get(322):
        return False
    height = page.size[1]
    _, rows = _chunk_size(page)
    strip = at % max(1, -(-height // rows))
    left = min(rows, height - strip * rows)
    return offset + _chunk_bytes(page) // rows * left <= len(data)


def _places(page: TiffPage) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if page.tags.get(322):
        return page.tags.get(324, ()), page.tags.get(325, ())
    return page.tags.get(273, ()), page.tags.get(279, ())


def _read_directory(
    data: bytes, order: str, offset: int, *, is_big: bool, wanted: tuple[int, ...] | None = None
) -> tuple[dict[int, tuple[int, ...]], float | None, int] | None:
    """Tags with whole numbers, the nodata value, and where the next directory is."""
    head, entry, word = (8, 20, 8) if is_big else (2, 12, 4)
    if offset + head > len(data):
        return None
    count = _number(data, order, offset, head)
    end = offset + head + count * entry
    if not offset or end > len(data):
        return None
    tags: dict[int, tuple[int, ...]] = {}
    nodata = None
    for at in range(offset + head, end, entry):
        tag, kind = _number(data, order, at, 2), _number(data, order, at + 2, 2)
        if wanted is not None and tag not in wanted:
            continue
        values, inline = _number(data, order, at + 4, word), at + 4 + word
        size = values * (np.dtype(_COUNTS[kind]).itemsize if kind in _COUNTS else 1)
        start = inline if size <= word else _number(data, order, inline, word)
        if start + size > len(data):
            continue
        if kind in _COUNTS:
            found = np.frombuffer(data, np.dtype(order + _COUNTS[kind]), values, start)
            tags[tag] = tuple(found.tolist())
        elif tag == 42113 and kind == 2:
            nodata = _parse_float(data[start : start + size])
    following = _number(data, order, end, word) if end + word <= len(data) else 0
    return tags, nodata, following


def _parse_float(text: bytes) -> float | None:
    try:
        return float(text.rstrip(b"\0 "))
    except ValueError:
        return None


def _number(data: bytes, order: str, offset: int, size: int) -> int:
    return int.from_bytes(data[offset : offset + size], "little" if order == "<" else "big")
