"""TIFFs that libtiff, or the JPEG and zlib inside them, call damaged: refused, and nothing on the console."""

import io
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding import decode_image
from dino_assets.images.decoding.tiff import read_page
from dino_assets_tests.worlds.encoded_pictures import encode, picture, refusal, tiff
from dino_assets_tests.worlds.tiff_files import tiff_of

PICTURE = picture(256, 192)
LZW = encode(PICTURE, "TIFF", compression="tiff_lzw")
DEFLATE = encode(PICTURE, "TIFF", compression="tiff_adobe_deflate")
JPEG = encode(PICTURE, "TIFF", compression="jpeg")
GRAY_JPEG = encode(PICTURE.convert("L"), "TIFF", compression="jpeg")
COUNTS = np.asarray(PICTURE.convert("L")).astype(np.uint16) * 257


def strip_of(data: bytes, at: int = 0) -> slice:
    page = read_page(data)
    start = page.tags[273][at]
    return slice(start, start + page.tags[279][at])


def damage(data: bytes, body: bytes, *, share: float = 0.5) -> bytes:
    """Replace some bytes of the first strip, at a share of its length."""
    strip = strip_of(data)
    offset = strip.start + int((strip.stop - strip.start) * share)
    return data[:offset] + body + data[offset + len(body) :]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (damage(LZW, b"\xff" * 40), "libtiff: "),
        (damage(DEFLATE, bytes(40)), "zlib: "),
        (damage(JPEG, b"\xff\x0f"), ""),  # libtiff decodes it: a quarter is gray
        (damage(JPEG, bytes(300)), ""),  # libtiff says nothing at all
        (damage(GRAY_JPEG, bytes(300)), ""),
    ],
)
def test_decode_image__damaged_tiffs(capfd, data, says):
    error = refusal(data)
    assert error.reason in ("undecodable", "truncated")
    assert error.detail.startswith(says)
    assert "tempfile" not in error.detail
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", ["tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"])
def test_decode_image__valid_tiffs_equal_pillow(kind, bits):
    data = encode(PICTURE, "TIFF", compression=kind)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decode_image(data), np.asarray(image.convert("RGB")))
    for mode in ("L", "CMYK"):
        decode_image(encode(PICTURE.convert(mode), "TIFF", compression=kind))


def test_decode_image__libtiff_errors_belong_to_one_picture(capfd):
    """Sound and damaged ones at once, as a drop is read."""
    damaged = damage(LZW, b"\xff" * 40)
    expected = decode_image(LZW)

    def look(number: int) -> bool:
        try:
            pixels = decode_image(damaged if number % 2 else LZW)
        except UnusableImageError:
            return True
        np.testing.assert_array_equal(pixels, expected)
        return False

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(look, range(80))) == [False, True] * 40
    assert capfd.readouterr() == ("", "")


def test_decode_image__other_threads_use_the_previous_handler(capfd):
    """Whoever reads a picture past us finds Pillow as it is."""
    decode_image(LZW)
    with suppress(OSError), Image.open(io.BytesIO(damage(LZW, b"\xff" * 40))) as image:
        image.load()
    assert "tempfile.tif" in capfd.readouterr().err


# --- zlib, which is unpacked here -------------------------------------------------------------


def with_stream(data: bytes, stream: bytes) -> bytes:
    """Another stream in the place of the only strip, which must be as long or shorter."""
    strip = strip_of(data)
    room = strip.stop - strip.start
    assert len(stream) <= room
    return data[: strip.start] + stream + bytes(room - len(stream)) + data[strip.stop :]


def test_decode_image__wrong_zlib_checksum():
    data = tiff(COUNTS, compression="zlib", rowsperstrip=192)
    strip = strip_of(data)
    flipped = bytearray(data)
    flipped[strip.stop - 1] ^= 1
    assert refusal(bytes(flipped)).detail == "zlib: Error -3 while decompressing data: incorrect data check"  # fmt: skip
    np.testing.assert_array_equal(decode_image(data)[..., 0], COUNTS >> 8)


def test_decode_image__zlib_stream_with_padding():
    data = tiff(COUNTS, compression="zlib", rowsperstrip=192, compressionargs={"level": 1})
    content = COUNTS.tobytes()
    padded = zlib.compress(content + bytes(512 * 8), 9)  # as some writers pad the last strip
    np.testing.assert_array_equal(decode_image(with_stream(data, padded))[..., 0], COUNTS >> 8)
    compressor = zlib.compressobj(9)
    stream = compressor.compress(content + bytes(512 * 8)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    strip = strip_of(data)
    at_the_end = data[: strip.start] + stream  # nothing follows that could be read as an end
    assert strip.stop - strip.start >= len(stream)
    with pytest.raises(UnusableImageError):
        decode_image(at_the_end)


# --- what is checked costs no more than reading it ---------------------------------------------


def test_decode_image__jpeg_with_a_huge_declared_size():
    """A strip's JPEG says 65,500 × 65,500 px: libtiff refuses that, and nobody makes room for it."""
    strip = strip_of(JPEG)
    offset = JPEG.index(b"\xff\xc0", strip.start) + 5
    data = JPEG[:offset] + b"\xff\xdc\xff\xdc" + JPEG[offset + 4 :]
    tracemalloc.start()
    error = refusal(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.detail.startswith("libtiff: ")
    assert peak < 20 * 2**20


def test_decode_image__zlib_stream_larger_than_its_strip():
    """A strip of 8 bit that unpacks to 200 MB, of which the picture needs 150 kB."""
    bomb = zlib.compress(bytes(200_000_000), 9)
    tags = [(256, 3, 1, 256), (257, 3, 1, 192), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 192), (279, 4, 1, len(bomb))]
    data = tiff_of(tags, body=bomb)
    tracemalloc.start()
    decode_image(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 2**20


def test_decode_image__unused_strips_are_ignored():
    """Nobody looks at 100,000 places of which the picture has one."""
    packed = zlib.compress(bytes(256 * 192))
    places = np.full(100_000, 8, "<u4").tobytes()
    counts = np.full(100_000, len(packed), "<u4").tobytes()
    body = packed + places + counts
    offset = 8 + len(packed)
    tags = [(256, 3, 1, 256), (257, 3, 1, 192), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    tags += [(273, 4, 100_000, offset), (277, 3, 1, 1), (278, 3, 1, 192)]
    tags += [(279, 4, 100_000, offset + len(places))]
    assert read_page(tiff_of(tags, body=body)).chunks == 1
    assert decode_image(tiff_of(tags, body=body)).shape == (192, 256, 3)
