"""What stands before the pixels of a JPEG, written out byte by byte."""

import pytest

from dino_assets.images.capture.segments import read_xmp_packets, walk_segments

START, XMP_NAME = b"\xff\xd8", b"http://ns.adobe.com/xap/1.0/\0"


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def bodies(data: bytes) -> list[tuple[int, bytes]]:
    return [(marker, data[start:end]) for marker, start, end in walk_segments(data)]


TWO_SEGMENTS = segment(0xE1, b"one") + segment(0xDB, b"")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (START, []),
        (b"\x89PNG" + TWO_SEGMENTS, []),
        (START + TWO_SEGMENTS, [(0xE1, b"one"), (0xDB, b"")]),
        (START + b"\xff\xff" + TWO_SEGMENTS, [(0xE1, b"one"), (0xDB, b"")]),  # padding
        (START + b"\xff\xd0\xff\x01" + TWO_SEGMENTS, [(0xE1, b"one"), (0xDB, b"")]),  # no length
        (START + TWO_SEGMENTS[:7] + b"junk" + TWO_SEGMENTS, [(0xE1, b"one")]),
        (START + TWO_SEGMENTS[:6], []),  # cut off
        (START + b"\xff\xe1\0\1" + TWO_SEGMENTS, []),  # a length that cannot be
        (START + segment(0xDA, b"x") + TWO_SEGMENTS, []),  # the pixels
        (START + b"\xff\xd9" + TWO_SEGMENTS, []),  # the end
    ],
)
def test_walk_segments__up_to_the_pixels_or_the_damage(data, expected):
    assert bodies(data) == expected


def test_read_xmp_packets__other_segments():
    segments = (
        segment(0xE1, XMP_NAME + b"one") + segment(0xE1, b"Exif\0\0") + segment(0xE2, XMP_NAME)
    )
    extension = segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"x")
    data = START + segments + extension + segment(0xE1, XMP_NAME + b"two")
    pixels = segment(0xDA, b"") + segment(0xE1, XMP_NAME + b"after the pixels")
    assert read_xmp_packets(data + pixels, most_bytes=1000) == [b"one", b"two"]
    assert read_xmp_packets(data[:-3], most_bytes=1000) == [b"one"]


def test_read_xmp_packets__no_more_bytes_than_asked():
    data = START + segment(0xE1, XMP_NAME + b"x" * 71) * 9  # 100 bytes each
    assert len(read_xmp_packets(data, most_bytes=300)) == 3
    assert len(read_xmp_packets(data, most_bytes=299)) == 2
