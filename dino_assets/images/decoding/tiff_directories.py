"""TIFF directories: number, type, count and position of their tags; the tags' data is not read.

A file of a megabyte can list 65,535 tags that all point at the same megabyte, and every library reads each
tag. So the total size of the tags is checked before a library opens the file.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.errors import UnusableImageError

ReadAt = Callable[[int, int], bytes]  # takes a position and a size, returns the bytes there
MAX_PAGES = 10_000
MAX_TAGS = 4096
# Pages may share some data (tables, keys), so their tags may exceed the file's size by this much.
SHARED_TAG_BYTES = 16 * 2**20
_KIND_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_KIND_BYTES |= {13: 4, 16: 8, 17: 8, 18: 8}
_SIZES = np.ones(2**16, np.int64)
_SIZES[list(_KIND_BYTES)] = list(_KIND_BYTES.values())
_FAR = 2**48  # beyond the end of any file, and small enough to be multiplied


@dataclass(frozen=True)
class Layout:
    """Byte order of a TIFF, whether it is a BigTIFF, and the position of its first directory."""

    order: str
    is_big: bool
    first: int


@dataclass(frozen=True)
class Directory:
    """Tags of one page: number, type, count of values, size and position of the data, each (N,).

    ``is_inline`` marks tags whose data is in the directory itself. ``following`` is the position of the next
    directory, or 0.
    """

    tags: NDArray[np.int64]
    kinds: NDArray[np.int64]
    counts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    places: NDArray[np.int64]
    is_inline: NDArray[np.bool_]
    following: int


def find_layout(head: bytes) -> Layout | None:
    """Read the layout from the first 16 bytes; None if the file is not a TIFF."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return None
    version = _number(head[2:4], order)
    if version not in (42, 43):
        return None
    return Layout(order, version == 43, _number(head[8:16] if version == 43 else head[4:8], order))


def walk_directories(read: ReadAt, layout: Layout, *, file_bytes: int) -> Iterator[Directory]:
    """List a TIFF's directories, one per page, in the order in which each points at the next.

    The list ends at a loop, and before an incomplete directory.

    Raises:
        UnusableImageError: there are too many tags, or more tag data than the file has bytes; ``reason`` is
            undecodable.
    """
    offset, visited, total = layout.first, set[int](), 0
    while offset and offset not in visited and len(visited) < MAX_PAGES:
        visited.add(offset)
        page = _read_directory(read, layout, offset, file_bytes=file_bytes)
        if page is None:
            return
        is_there = ~page.is_inline & (page.places + page.sizes <= file_bytes)
        total += int(page.sizes[is_there].sum())
        if total > file_bytes + SHARED_TAG_BYTES:
            raise UnusableImageError(
                "undecodable", f"tags declare {total:,} bytes, the file has {file_bytes:,}"
            )
        yield page
        offset = page.following


def _read_directory(
    read: ReadAt, layout: Layout, offset: int, *, file_bytes: int
) -> Directory | None:
    order, head, word = layout.order, 8 if layout.is_big else 2, 8 if layout.is_big else 4
    entry = 4 + 2 * word
    if offset + head > file_bytes:
        return None
    count = _number(read(offset, head), order)
    end = offset + head + count * entry
    if end > file_bytes:
        return None
    if count > MAX_TAGS:
        raise UnusableImageError(
            "undecodable", f"a directory of {count:,} tags, the limit is {MAX_TAGS:,}"
        )
    raw = read(offset + head, count * entry + word)
    if len(raw) < count * entry:
        return None
    wide: list[tuple[str, Any]] = [("tag", f"{order}u2"), ("kind", f"{order}u2")]
    wide += [("count", f"{order}u{word}"), ("place", f"{order}u{word}")]
    rows = np.frombuffer(raw, np.dtype(wide), count)
    kinds = rows["kind"].astype(np.int64)
    counts = np.minimum(rows["count"].astype(np.uint64), _FAR).astype(np.int64)
    sizes = counts * _SIZES[kinds]
    is_inline = sizes <= word
    inline = offset + head + 4 + word + entry * np.arange(count)
    pointed = np.minimum(rows["place"].astype(np.uint64), _FAR).astype(np.int64)
    places = np.where(is_inline, inline, pointed)
    tail = raw[count * entry :]
    following = _number(tail, order) if len(tail) == word else 0
    return Directory(
        rows["tag"].astype(np.int64), kinds, counts, sizes, places, is_inline, following
    )


def _number(raw: bytes, order: str) -> int:
    return int.from_bytes(raw, "little" if order == "<" else "big")
