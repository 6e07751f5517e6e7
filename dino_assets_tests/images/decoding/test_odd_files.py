"""Odd files."""

import struct
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding import decode_image, photos, read_header
from dino_assets.images.inspection import inspect_image
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.encoded_pictures import dng, encode, heic, picture, refusal, tiff

WHOLE = {
    "JPEG": encode(picture(64, 48), "JPEG"),
    "progressive": encode(picture(64, 48), "JPEG", progressive=True),
    "PNG": encode(picture(64, 48), "PNG"),
    "BMP": encode(picture(64, 48), "BMP"),
    "WEBP": encode(picture(64, 48), "WEBP"),
    "TIFF": tiff(np.asarray(picture(64, 48)), photometric="rgb"),
    "TIFF lzw": encode(picture(64, 48), "TIFF", compression="tiff_lzw"),
    "TIFF 16": tiff(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64)),
    "TIFF 16 deflate": tiff(
        np.arange(64 * 48, dtype=np.uint16).reshape(48, 64), compression="zlib", tile=(16, 16)
    ),
    "TIFF float": tiff(np.linspace(0, 1, 64 * 48, dtype=np.float64).reshape(48, 64)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_decode_image__refuses_any_truncation(name: str):
    data = WHOLE[name]
    expected = decode_image(data)
    for end in [*range(1, len(data), max(1, len(data) // 60)), *range(len(data) - 12, len(data))]:
        try:
            pixels = decode_image(data[:end])
        except UnusableImageError:
            continue
        # TIFF may keep its tags in front and padding at its end: then nothing is missing.
        assert name.startswith("TIFF")
        assert end >= len(data) - 4
        np.testing.assert_array_equal(pixels, expected)


STRANGE = {
    "nothing": b"",
    "one byte": b"\xff",
    "zeros": bytes(5000),
    "ones": b"\xff" * 5000,
    "tiff without a directory": b"II*\0" + struct.pack("<I", 8) + bytes(20),
    "tiff that points at itself": b"II*\0"
    + struct.pack("<IH", 8, 0)
    + struct.pack("<I", 8)
    + bytes(9),
    "tiff that points beyond": b"MM\0*" + b"\xff" * 30,
    "big tiff of nothing": b"II+\0\x08\0\0\0" + b"\xff" * 40,
    "ftyp alone": b"\0\0\0\x18ftypheic" + bytes(12),
    "ftyp of endless length": b"\xff\xff\xff\xffftypheic" + bytes(100),
    "heic of junk": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"junk" * 50,
    "gif": encode(Image.new("L", (3, 3)), "GIF"),
    "webp of nothing": b"RIFF\x04\0\0\0WEBP",
    "webp that lies": b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(40),
    "bmp of negative size": b"BM"
    + struct.pack("<IHHIIiiHHI", 54, 0, 0, 54, 40, -5, -5, 1, 24, 0)
    + bytes(24),
    "png of no chunks": b"\x89PNG\r\n\x1a\n",
    "jpeg of markers": b"\xff\xd8" + b"\xff\xe1\0\x02" * 50 + b"\xff\xd9",
    "html": b"<!DOCTYPE html><html>404</html>",
    "raw of junk": dng()[:200] + bytes(5000),
}


@pytest.mark.parametrize("name", STRANGE)
def test_decode_image__strange_files_have_a_reason(name: str):
    error = refusal(STRANGE[name])
    assert error.reason
    assert error.detail
    with pytest.raises(UnusableImageError):
        inspect_image(STRANGE[name])


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from([*WHOLE, "HEIC", "DNG"]),
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_decode_image__damaged_headers(name: str, edits: list[tuple[int, int]]):
    data = bytearray({**WHOLE, "HEIC": HEIC, "DNG": DNG}[name])
    for position, value in edits:
        data[position % len(data)] = value
    try:
        facts = inspect_image(bytes(data), max_pixels=10**6)
        pixels = decode_image(bytes(data))
    except UnusableImageError:
        return
    assert pixels.shape == (facts.height, facts.width, 3)


HEIC, DNG = heic(picture(64, 48)), dng()


def test_decode_image__large_pictures_one_at_a_time():
    small, large = photo_bytes(8, 8), photo_bytes(20, 20)
    end_event = threading.Event()
    with photos.LARGE_TURN:
        worker = threading.Thread(
            target=lambda: (decode_image(large, large_px=100), end_event.set())
        )
        worker.start()
        decode_image(small, large_px=100)
        assert not end_event.wait(0.2)
    worker.join()
    assert end_event.is_set()


def test_read_header__rejects_too_many_pixels_for_decoding():
    header = read_header(photo_bytes(8, 8))
    assert (header.width, header.height, header.format) == (8, 8, "JPEG")


def test_decode_image__pixels_of_another_size_than_the_header_says():
    data = bytearray(heic(picture(64, 64)))
    offset = data.index(b"ispe") + 8
    data[offset : offset + 8] = struct.pack(">II", 164, 64)
    facts = inspect_image(bytes(data))
    assert (facts.width, facts.height) == (164, 64)
    assert str(refusal(bytes(data))).startswith("undecodable: ")


@pytest.mark.parametrize(
    ("orientation", "said"),
    [(1, "20×10 px, the pixels are 8×4"), (6, "10×20 px, the pixels are 4×8")],
)
def test_decode_image__decoded_size_differs_from_the_header(
    monkeypatch: pytest.MonkeyPatch, orientation: int, said: str
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    monkeypatch.setitem(photos._DECODERS, "JPEG", lambda *_: np.zeros((4, 8, 3), np.uint8))
    error = refusal(encode(picture(20, 10), "JPEG", exif=exif))
    assert str(error) == f"undecodable: the header says {said}"
