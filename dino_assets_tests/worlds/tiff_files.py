"""TIFFs tag by tag, also those that no program writes."""

import struct
from collections.abc import Sequence

Tag = tuple[int, int, int, int]
# A gray picture of 16 × 16 px, its one strip at byte 8: tag, type (3: 16 bit, 4: 32), count, value.
GRAY_TAGS: list[Tag] = [
    (256, 3, 1, 16),
    (257, 3, 1, 16),
    (258, 3, 1, 8),
    (259, 3, 1, 1),
    (262, 3, 1, 1),
    (273, 4, 1, 8),
    (277, 3, 1, 1),
    (278, 3, 1, 16),
    (279, 4, 1, 256),
]


def tiff_of(tags: Sequence[Tag], *, body: bytes = bytes(range(256))) -> bytes:
    """A little-endian TIFF: the body at byte 8, then one directory."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory


def with_tags(tags: Sequence[Tag], **changed: Tag | None) -> list[Tag]:
    """Tags with some in another form, ``t256=(256, 3, 1, 20)``, in the order of their numbers."""
    unchanged_tags = [tag for tag in tags if f"t{tag[0]}" not in changed]
    return sorted([*unchanged_tags, *(tag for tag in changed.values() if tag)])
