"""Heic and dng."""

import sys

import numpy as np
import pytest
from PIL import Image

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding import decode_image, turn_upright
from dino_assets.images.inspection import inspect_image
from dino_assets_tests.worlds.encoded_pictures import dng, encode, heic, picture, refusal


def test_decode_image__heic():
    image = picture(90, 60)
    data = heic(image)
    facts = inspect_image(data)
    assert (facts.format, facts.mode, facts.width, facts.height) == ("HEIC", "RGB", 90, 60)
    assert facts.note is None
    assert np.abs(decode_image(data).astype(int) - np.asarray(image)).mean() < 8


def test_decode_image__primary_of_several_heic_pictures():
    data = heic(picture(90, 60), picture(40, 80, seed=1), primary=1)
    facts = inspect_image(data)
    assert (facts.width, facts.height, facts.note) == (40, 80, "primary of 2 pictures")
    assert decode_image(data).shape == (80, 40, 3)


def test_decode_image__heic_is_turned_once():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = heic(picture(90, 60), exif=exif.tobytes())
    facts = inspect_image(data)
    assert decode_image(data).shape == (facts.height, facts.width, 3) == (90, 60, 3)


def test_decode_image__truncated_heic():
    data = heic(picture(90, 60))
    for share in (0.05, 0.3, 0.6, 0.9, 0.999):
        length = int(len(data) * share)
        assert refusal(data[:length]).reason in ("truncated", "undecodable", "not-an-image")


@pytest.mark.parametrize(
    "tail",
    [
        # As Samsung's phones write it: a kind, a name's length, a name, what it is, and a list of them.
        b"\0\0\x01\x0a\x0e\0\0\0Image_UTC_Data1600000000000SEFH" + bytes(20) + b"SEFT",
        b"\xff" * 50,
        bytes(50),
    ],
)
def test_decode_image__heic_followed_by_other_bytes(tail):
    data = heic(picture(90, 60))
    assert np.array_equal(decode_image(data + tail), decode_image(data))


def test_decode_image__heic_followed_by_a_truncated_box():
    data = heic(picture(90, 60)) + b"\0\0\x10\0mdat" + bytes(100)
    assert refusal(data).reason == "truncated"


@pytest.mark.parametrize(
    ("pictures", "says"), [(1, "picture: it"), (2, "only other pictures in the file: it")]
)
def test_decode_image__heic_whose_primary_picture_is_gone(pictures, says):
    """Without its codec's settings libheif leaves a picture out, and the next would stand for it."""
    sizes = [(90, 60), (40, 80)][:pictures]
    data = heic(*(picture(*size) for size in sizes), primary=pictures - 1)
    offset = data.rindex(b"hvcC")
    damaged = data[:offset] + b"free" + data[offset + 4 :]
    for read in (inspect_image, decode_image):
        with pytest.raises(UnusableImageError) as caught:
            read(damaged)
        assert caught.value.reason == "undecodable"
        assert says in caught.value.detail


def test_decode_image__avif_is_not_heic():
    assert refusal(encode(picture(90, 60), "AVIF")).reason == "not-an-image"


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_decode_image__dng_is_the_photograph_not_its_preview(orientation: int):
    data = dng(orientation)
    facts, pixels = inspect_image(data), decode_image(data)
    assert (facts.format, facts.orientation) == ("DNG", orientation)
    assert (facts.stored_width, facts.stored_height) == (128, 96)
    assert pixels.shape == (facts.height, facts.width, 3)
    assert pixels.max() < 200  # not the white preview, and not brightened
    upright = turn_upright(decode_image(dng()), orientation)
    assert np.abs(pixels.astype(int) - upright).max() <= 2
    np.testing.assert_array_equal(pixels, decode_image(data))


def test_decode_image__truncated_dng():
    data = dng()
    for share in (0.3, 0.6, 0.9, 0.99):
        assert refusal(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    ("data", "module", "extra"),
    [(heic(picture(90, 60)), "pillow_heif", "heic"), (dng(), "rawpy", "raw")],
)
def test_inspect_image__missing_extra(
    monkeypatch: pytest.MonkeyPatch, data: bytes, module: str, extra: str
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnusableImageError) as caught:
        inspect_image(data)
    assert caught.value.reason == "missing-extra"
    assert caught.value.detail.endswith(f"{module}: pip install 'dino-assets[{extra}]'")
