"""Hostile and contradictory TIFF tags: refused before memory is spent, or read as Pillow reads them."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding import decode_image
from dino_assets.images.decoding.scaling import scale_to_bytes
from dino_assets.images.decoding.tiff import read_page
from dino_assets.images.decoding.tiff_pixels import check_size
from dino_assets.images.inspection import inspect_image
from dino_assets_tests.worlds.tiff_files import GRAY_TAGS, tiff_of, with_tags

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def refusal(data: bytes) -> UnusableImageError:
    with pytest.raises(UnusableImageError) as caught:
        inspect_image(data)
    with pytest.raises(UnusableImageError) as other:
        decode_image(data)
    assert (other.value.reason, other.value.detail) == (caught.value.reason, caught.value.detail)
    return caught.value


def lzw(tags: dict[int, tuple[int, int]], *, size: tuple[int, int] = (20, 10)) -> bytes:
    """Make a TIFF for Pillow, with some single-value tags (number: type, value) changed."""
    sink = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(
        sink, "TIFF", compression="tiff_lzw", tiffinfo=dict.fromkeys(tags, 1)
    )
    data = bytearray(sink.getvalue())
    start = int.from_bytes(data[4:8], "little")
    for offset in range(
        start + 2, start + 2 + 12 * int.from_bytes(data[start : start + 2], "little"), 12
    ):
        number = int.from_bytes(data[offset : offset + 2], "little")
        if number in tags:
            kind, value = tags[number]
            data[offset + 2 : offset + 12] = struct.pack("<HII", kind, 1, value)
    return bytes(data)


# --- memory ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [1, 2, 7])
def test_read_page__tags_that_all_point_at_the_same_megabyte(kind: int):
    tags = GRAY_TAGS + [(40_000 + number, kind, 10**6, 8) for number in range(200)]
    tracemalloc.start()
    error = refusal(tiff_of(tags, body=bytes(10**6)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(error) == "undecodable: tags declare 200,000,000 bytes, the file has 1,002,522"
    assert peak < 20 * 2**20


def test_read_page__large_private_data_is_not_read():
    """Layers of an image editor: larger than the picture, and nothing wrong with them."""
    data = tiff_of([*GRAY_TAGS, (37724, 7, 3 * 10**7, 8)], body=bytes(3 * 10**7))
    tracemalloc.start()
    page = read_page(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
    assert page is not None
    assert page.tags[37724] == ()
    assert inspect_image(data).width == 16


def test_read_page__a_directory_of_too_many_tags():
    tags = GRAY_TAGS + [(40_000 + number, 1, 1, 0) for number in range(5000)]
    assert (
        str(refusal(tiff_of(tags))) == "undecodable: a directory of 5,009 tags, the limit is 4,096"
    )


def test_read_page__a_table_of_too_many_strips():
    tags = with_tags(GRAY_TAGS, t273=(273, 1, 2**20 + 1, 8))
    assert str(refusal(tiff_of(tags, body=bytes(2**20 + 1)))) == (
        "too-large: 1,048,577 strips or tiles, the limit is 1,048,576"
    )


def test_read_page__other_tags_are_read_up_to_a_pixels_samples():
    tags = with_tags(GRAY_TAGS, t338=(338, 1, 10**6, 8))
    page = read_page(tiff_of(tags, body=bytes(10**6)))
    assert page is not None
    assert len(page.tags[338]) == 2**16


def sparse(side: int, *, bits: int, samples: int) -> bytes:
    """Make a picture whose strips are all left out: a few hundred bytes."""
    tags = with_tags(
        GRAY_TAGS,
        t256=(256, 4, 1, side),
        t257=(257, 4, 1, side),
        t258=(258, 3, 1, bits),
        t262=(262, 3, 1, 2 if samples == 3 else 1),
        t277=(277, 3, 1, samples),
        t278=(278, 4, 1, side),
        t259=(259, 3, 1, 8),
        t279=(279, 4, 1, 0),
        t339=(339, 3, 1, 3),
    )
    return tiff_of(tags)


def test_check_size__sparse_picture_needs_too_much_memory():
    error = refusal(sparse(13_000, bits=64, samples=3))
    assert str(error) == (
        "too-large: 13000×13000 px with 3 samples of 64 bit, the limit is 2,147,483,648 bytes"
    )
    assert inspect_image(sparse(100, bits=64, samples=3)).width == 100
    assert not decode_image(sparse(100, bits=64, samples=3)).any()


def test_check_size__counts_samples_and_their_bytes():
    limit = 100 * 100 * 3 * 4
    for bits, is_allowed in [(32, True), (64, False)]:
        page = read_page(sparse(100, bits=bits, samples=3))
        assert page is not None
        if is_allowed:
            check_size(page, max_bytes=limit)
        else:
            with pytest.raises(UnusableImageError) as caught:
                check_size(page, max_bytes=limit)
            assert caught.value.reason == "too-large"


def test_check_size__a_tile_counts_too():
    tags = with_tags(GRAY_TAGS, t322=(322, 4, 1, 50_000), t323=(323, 4, 1, 50_000))
    assert refusal(tiff_of(tags)).reason == "too-large"


@pytest.mark.parametrize("rows", [1, 7, 10**6])
def test_scale_to_bytes__independent_of_the_band_size(rows: int):
    samples = np.random.default_rng(0).normal(size=(40, 30, 3))
    expected = scale_to_bytes(samples)
    banded = scale_to_bytes(samples, band_values=rows * 90)
    np.testing.assert_array_equal(banded, expected)


# --- what header and pixels must agree on ---------------------------------------------------


@pytest.mark.parametrize("kind", [3, 4, 8, 9])
def test_read_page__orientation_of_any_integer_type(kind: int):
    tags = with_tags(GRAY_TAGS, t257=(257, 3, 1, 8), t274=(274, kind, 1, 6))
    page = read_page(tiff_of(tags))
    assert page is not None
    assert page.first(274, 1) == 6


# 1: bytes, which Pillow does not turn by; 11: a float, by which it does.
@pytest.mark.parametrize(
    ("kind", "value", "is_turned"),
    [(3, 6, True), (8, 6, True), (9, 6, True), (1, 6, False), (11, 0x40C00000, True)],
)
def test_inspect_image__turns_as_pillow_turns(kind: int, value: int, is_turned: bool):
    data = lzw({274: (kind, value)})
    facts = inspect_image(data)
    assert (facts.width, facts.height) == ((10, 20) if is_turned else (20, 10))
    assert (facts.stored_width, facts.stored_height) == (20, 10)
    assert facts.orientation == (6 if is_turned else 1)
    assert decode_image(data).shape == (facts.height, facts.width, 3)


@pytest.mark.parametrize("tag", [256, 257])
def test_read_page__repeated_width_or_height(tag: int):
    error = refusal(tiff_of(sorted([*GRAY_TAGS, (tag, 3, 1, 8)])))
    assert str(error) == f"undecodable: tag {tag} (width or height) occurs twice"


def test_read_page__first_of_repeated_tags_counts():
    tags = [*with_tags(GRAY_TAGS, t274=(274, 3, 1, 3)), (274, 3, 1, 6)]
    page = read_page(tiff_of(tags))
    assert page is not None
    assert page.first(274, 1) == 3


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32])
def test_read_samples__white_is_zero_and_deflated(kind: type):
    values = np.array([[0, 7, 100]], kind)
    body = zlib.compress(values.tobytes())
    tags = with_tags(
        GRAY_TAGS,
        t256=(256, 3, 1, 3),
        t257=(257, 3, 1, 1),
        t258=(258, 3, 1, values.itemsize * 8),
        t259=(259, 3, 1, 8),
        t262=(262, 3, 1, 0),
        t279=(279, 4, 1, len(body)),
        t339=(339, 3, 1, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]),
    )
    pixels = decode_image(tiff_of(tags, body=body))[0, :, 0].tolist()
    expected = {np.uint8: [255, 248, 155], np.uint16: [255, 255, 255]}
    assert pixels == expected.get(kind, [255, 237, 0])
