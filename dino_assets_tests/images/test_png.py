"""EXIF and XMP in a PNG: in chunks of their own, as raw profiles, before and behind the pixels."""

import struct
import zlib

import numpy as np
import pytest

from dino_assets.errors import UnusableImageError
from dino_assets.images.capture.metadata import read_capture
from dino_assets.images.decoding import decode_image, read_header
from dino_assets.images.png import MAX_TEXT_BYTES, read_png_exif, read_png_xmp
from dino_assets_tests.worlds.camera_photographs import (
    BASE,
    DJI,
    gps_of,
    make_exif,
    packet,
    photo_of,
)
from dino_assets_tests.worlds.encoded_pictures import encode, picture

PNG = encode(picture(40, 20), "PNG")
TURNED_EXIF = make_exif(main={BASE.Orientation: 6, BASE.Make: "DJI"}, gps=gps_of(46.5, -91.25))
BLOCK = TURNED_EXIF.tobytes()
assert BLOCK.startswith(b"Exif\0\0")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(kind: bytes, body: bytes, *, is_late: bool = False, data: bytes = PNG) -> bytes:
    """Add a chunk to the picture, after its header or after its pixels."""
    offset = data.index(b"IEND") - 4 if is_late else 8 + 12 + 13
    return data[:offset] + chunk(kind, body) + data[offset:]


def profile(block: bytes, *, name: str = "exif") -> bytes:
    """Write a raw profile like ImageMagick: 72 digits a line."""
    digits = block.hex()
    lines = [digits[start : start + 72] for start in range(0, len(digits), 72)]
    return "\n".join(["", name, f"{len(block):8d}", *lines, ""]).encode()


def text_chunk(kind: bytes, name: bytes, text: bytes) -> tuple[bytes, bytes]:
    return {
        b"tEXt": (b"tEXt", name + b"\0" + text),
        b"zTXt": (b"zTXt", name + b"\0\0" + zlib.compress(text)),
        b"iTXt": (b"iTXt", name + b"\0\0\0en\0\0" + text),
        b"packed iTXt": (b"iTXt", name + b"\0\1\0\0\0" + zlib.compress(text)),
    }[kind]


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"packed iTXt"])
@pytest.mark.parametrize(
    ("name", "block"),
    [
        (b"Raw profile type exif", BLOCK),
        (b"Raw profile type exif", BLOCK[6:]),
        (b"Raw profile type APP1", BLOCK),
    ],
)
def test_read_capture__exif_in_a_raw_profile(name, block, kind, is_late):
    data = with_chunk(*text_chunk(kind, name, profile(block)), is_late=is_late)
    capture = read_capture(data)
    assert capture.make == "DJI"
    assert (capture.latitude, capture.longitude) == pytest.approx((46.5, -91.25))
    assert read_header(data).orientation == 6
    np.testing.assert_array_equal(decode_image(data), np.rot90(decode_image(PNG), -1))


@pytest.mark.parametrize("is_late", [False, True])
def test_read_capture__exif_in_its_own_chunk_before_a_raw_profile(is_late):
    exif = make_exif(main={BASE.Make: "Autel"})
    data = with_chunk(*text_chunk(b"zTXt", b"Raw profile type exif", profile(BLOCK)))
    data = with_chunk(b"eXIf", exif.tobytes()[6:], is_late=is_late, data=data)
    assert read_capture(data).make == "Autel"
    assert read_header(data).orientation == 1


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"XML:com.adobe.xmp", packet(DJI)),
        (b"Raw profile type xmp", profile(packet(DJI), name="xmp")),
        (b"Raw profile type APP1", profile(b"http://ns.adobe.com/xap/1.0/\0" + packet(DJI))),
    ],
)
def test_read_capture__xmp_of_a_png(name, text, is_late):
    """Exiftool puts XMP behind the pixels."""
    data = with_chunk(*text_chunk(b"iTXt", name, text), is_late=is_late)
    assert read_capture(data).relative_altitude_m == 39.8


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\nexif\n",
        b"\nexif\n 8\nzz",
        b"\nexif\n many\n" + BLOCK.hex().encode(),
        b"\nexif\n 400\n" + b"\xff" * 40,
        b"\niptc\n 4\n00000000",
        profile(b"no exif at all"),
        profile(BLOCK)[:60],
    ],
)
def test_read_png_exif__invalid_profiles(text):
    data = with_chunk(*text_chunk(b"tEXt", b"Raw profile type exif", text))
    assert read_capture(data).make is None
    assert read_header(data).orientation == 1


def test_read_png_exif__too_long_text_is_left_out():
    body = b"Raw profile type exif\0\0" + zlib.compress(bytes(50 * MAX_TEXT_BYTES))
    data = with_chunk(b"zTXt", body, is_late=True)
    assert read_png_exif(data) is None
    assert read_png_xmp(with_chunk(b"zTXt", b"XML:com.adobe.xmp\0\0junk")) is None


def test_read_capture__png_without_metadata():
    assert read_capture(photo_of(kind="PNG")) == read_capture(PNG)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_decode_image__png_whose_pixels_do_not_agree_with_their_checksum(mode):
    """Pillow passes over the checksum, and over the one of what is packed where all rows came out."""
    data = encode(picture(40, 20).convert(mode), "PNG")
    offset = data.index(b"IDAT")
    body = data[offset + 4 : offset + 4 + int.from_bytes(data[offset - 4 : offset], "big")]
    pixels = bytearray(zlib.decompress(body))
    pixels[len(pixels) // 2] ^= 0x10
    stream = zlib.compress(bytes(pixels))
    damaged = chunk(b"IDAT", stream[:-4])[:-4] + bytes(4)
    with pytest.raises(UnusableImageError) as caught:
        decode_image(data[: offset - 4] + damaged + chunk(b"IEND", b""))
    assert caught.value.reason == "undecodable"
    assert "IDAT" in caught.value.detail


def test_decode_image__png_with_a_damaged_text():
    """What no pixel depends on may be damaged."""
    data = with_chunk(b"tEXt", b"Comment\0hello", is_late=True)
    damaged = data.replace(b"hello", b"jello")
    assert np.array_equal(decode_image(damaged), decode_image(PNG))
