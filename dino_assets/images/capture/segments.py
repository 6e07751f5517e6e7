"""JPEG segments before the pixels, in which cameras and editors store metadata."""

from collections.abc import Iterator

_APP1 = 0xE1
_NO_LENGTH = frozenset(range(0xD0, 0xD8)) | {0x01}
_FILLER, _PIXELS, _END = 0xFF, 0xDA, 0xD9
_XMP = b"http://ns.adobe.com/xap/1.0/\0"


def walk_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """List marker, start and end of each segment before a JPEG's pixels, up to the first damage."""
    if data[:2] != b"\xff\xd8":
        return
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == _FILLER or marker in _NO_LENGTH:
            at += 1 if marker == _FILLER else 2
            continue
        if marker in (_PIXELS, _END):
            return
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + length
        if length < 2 or end > len(data):
            return
        yield marker, at + 4, end
        at = end


def read_xmp_packets(data: bytes, *, most_bytes: int) -> list[bytes]:
    """Read the XMP packets of a JPEG in the order of the file, up to ``most_bytes`` in all.

    An editor may add a packet of its own after the camera's. Data too long for one packet (tone curves,
    thumbnails) is in extensions, which have another name and are not read.
    """
    packets: list[bytes] = []
    for marker, start, end in walk_segments(data):
        if marker == _APP1 and data.startswith(_XMP, start, end):
            most_bytes -= end - start
            if most_bytes < 0:
                break
            packets.append(data[start + len(_XMP) : end])
    return packets
