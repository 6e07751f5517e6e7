"""Pixels: the same as Pillow's where Pillow is right, and by the stated rule where it is not."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding import decode_image, turn_upright
from dino_assets.images.inspection import inspect_image
from dino_assets_tests.worlds.encoded_pictures import encode, picture, refusal, tiff

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


GRAY16 = np.array([[0, 255, 256], [32_768, 65_279, 65_535]], np.uint16)


HIGH_BYTES = [[0, 0, 1], [128, 254, 255]]


def show(data: bytes) -> np.ndarray:
    """Decode with Pillow, upright, to RGB."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@settings(max_examples=120, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from([0, 1, 2]),
    is_progressive=st.booleans(),
    restart=st.sampled_from([0, 1, 3]),
    orientation=st.integers(1, 8),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
)
def test_decode_image__jpeg_equals_pillow(
    size: tuple[int, int],
    quality: int,
    subsampling: int,
    is_progressive: bool,
    restart: int,
    orientation: int,
    mode: str,
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(
        picture(*size, seed=quality).convert(mode),
        "JPEG",
        quality=quality,
        subsampling=subsampling,
        progressive=is_progressive,
        restart_marker_blocks=restart,
        exif=exif,
    )
    pixels = decode_image(data)
    np.testing.assert_array_equal(pixels, show(data))
    assert (pixels.dtype, pixels.flags.c_contiguous, pixels.flags.writeable) == (
        np.uint8,
        True,
        False,
    )


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}]
)
def test_decode_image__larger_jpeg(options: dict[str, object]):
    data = encode(picture(1201, 803), "JPEG", **options)
    np.testing.assert_array_equal(decode_image(data), show(data))


@pytest.mark.parametrize("is_progressive", [False, True])
@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_decode_image__truncated_jpeg_with_padding(is_progressive: bool, filler: bytes):
    data = encode(picture(320, 240), "JPEG", quality=90, progressive=is_progressive)
    length = len(data) * 2 // 3
    assert refusal(data[:length] + filler * (len(data) - length)).reason == "truncated"


def test_decode_image__truncated_jpeg_with_an_end_marker():
    """Pillow hands this out, gray below the cut."""
    data = encode(picture(320, 240), "JPEG", quality=90)
    truncated = data[: len(data) // 2] + b"\xff\xd9"
    show(truncated)
    assert refusal(truncated).reason == "truncated"


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_decode_image__jpeg_damage_that_pillow_ignores(mode: str):
    """Which shows that the fast reader reads both, and Pillow neither."""
    data = encode(picture(320, 240).convert(mode), "JPEG", quality=90, progressive=True)
    reasons = set()
    for position in range(len(data) // 3, len(data) - 100, len(data) // 40):
        damaged = data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :]
        show(damaged)
        try:
            decode_image(damaged)
        except UnusableImageError as error:
            reasons.add(str(error))
    assert "undecodable: Corrupt JPEG data: bad Huffman code" in reasons


def test_decode_image__junk_after_the_end_of_a_jpeg():
    data = encode(picture(64, 48), "JPEG")
    expected = show(data)
    for junk in (b"junk" * 99, bytes(5000), data):
        np.testing.assert_array_equal(decode_image(data + junk), expected)


def test_decode_image__mpo_is_its_first_picture():
    first_picture = picture(64, 48)
    data = encode(first_picture, "MPO", save_all=True, append_images=[picture(16, 12)])
    assert inspect_image(data).format == "MPO"
    assert decode_image(data).shape == (48, 64, 3)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
@pytest.mark.parametrize("layout", ["gray", "contig", "separate"])
def test_decode_image__sixteen_bits_keep_their_high_byte(
    order: str, options: dict[str, object], layout: str
):
    samples = np.tile(GRAY16, (9, 7))
    if layout != "gray":
        samples = np.stack([samples, samples[::-1], samples[:, ::-1]], 0 if layout[0] == "s" else 2)
        options = {**options, "photometric": "rgb", "planarconfig": layout}
    expected = samples >> 8
    if layout == "gray":
        expected = np.repeat(expected[..., None], 3, axis=2)
    elif layout == "separate":
        expected = np.moveaxis(expected, 0, 2)
    pixels = decode_image(tiff(samples, byteorder=order, **options))
    np.testing.assert_array_equal(pixels, expected)


def test_decode_image__sixteen_bits_in_png():
    pixels = decode_image(encode(Image.fromarray(GRAY16), "PNG"))
    assert pixels[..., 0].tolist() == HIGH_BYTES
    assert pixels[..., 2].tolist() == HIGH_BYTES


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_decode_image__sixteen_bits_packed(compression: str):
    data = encode(Image.fromarray(GRAY16), "TIFF", compression=compression)
    assert decode_image(data)[..., 1].tolist() == HIGH_BYTES


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_decode_image__white_is_zero(kind: type):
    top = 1 if kind is np.float32 else np.iinfo(kind).max
    pixels = decode_image(tiff(np.array([[0, top]], kind), photometric="miniswhite"))
    assert pixels[..., 0].tolist() == [[255, 0]]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "u4", "f2", "f4", "f8"])
def test_decode_image__other_types_scale_by_their_range(kind: str, order: str):
    lowest = 0 if kind[0] == "u" else -100
    samples = np.array([[lowest, lowest + 100, lowest + 200]], np.float64).astype(kind)
    data = tiff(samples, byteorder=order)
    assert decode_image(data)[0, :, 0].tolist() == [0, 128, 255]
    assert "scaled from their own lowest..highest value" in (inspect_image(data).note or "")


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_decode_image__float_colours(kind: str, compression: str | None):
    samples = np.linspace(0, 1, 20 * 30 * 3).reshape(20, 30, 3).astype(kind)
    data = tiff(samples, photometric="rgb", compression=compression)
    expected = np.floor(samples.astype(np.float64) * 255 + 0.5)
    np.testing.assert_array_equal(decode_image(data), expected)
    assert inspect_image(data).mode == f"RGB;{samples.dtype.name}"


def predicted(samples: np.ndarray, predictor: int) -> bytes:
    """Samples (H, W, C) as one deflated strip behind a TIFF predictor, by the specification's words."""
    rows, columns, colors = samples.shape
    if predictor == 2:
        packed = samples.copy()
        packed[:, 1:] -= samples[:, :-1]
        strip, order = packed.tobytes(), samples.dtype.itemsize
    else:
        order = samples.dtype.itemsize
        big_endian = samples.astype(samples.dtype.newbyteorder(">")).view(np.uint8)
        planes = (
            big_endian.reshape(rows, columns * colors, order).transpose(0, 2, 1).reshape(rows, -1)
        )
        differences = planes.copy()
        differences[:, colors:] -= planes[:, :-colors]
        strip = differences.tobytes()
    data = tiff(samples, photometric="rgb", predictor=None, compression="zlib", rowsperstrip=rows)
    body, tags = zlib.compress(strip), bytearray(data)
    # Another strip at the end, and the tags that lead to it.
    values = {259: 8, 273: len(data), 279: len(body), 305: 0}
    start, count = int.from_bytes(tags[4:8], "little"), int.from_bytes(tags[8:10], "little")
    for offset in range(start + 2, start + 2 + 12 * count, 12):
        tag = int.from_bytes(tags[offset : offset + 2], "little")
        if tag == 305:  # the software's name gives way to the predictor
            tags[offset : offset + 12] = struct.pack("<HHII", 317, 3, 1, predictor)
        elif tag in values:
            tags[offset + 2 : offset + 12] = struct.pack("<HII", 4, 1, values[tag])
    return bytes(tags) + body


@pytest.mark.parametrize("predictor", [2, 3])
def test_decode_image__predictors(predictor: int):
    kind = "<f4" if predictor == 3 else "<u2"
    samples = np.random.default_rng(0).integers(0, 65536, (9, 7, 3)).astype(kind)
    pixels = decode_image(predicted(samples, predictor))
    np.testing.assert_array_equal(pixels, decode_image(tiff(samples, photometric="rgb")))


def test_decode_image__not_finite_becomes_black():
    samples = np.array([[np.nan, np.inf, -np.inf, 2.0, 4.0, 6.0]], np.float32)
    assert decode_image(tiff(samples))[0, :, 0].tolist() == [0, 0, 0, 0, 128, 255]


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan, np.inf, -1e30])
def test_decode_image__constant_is_black(value: float):
    assert not decode_image(tiff(np.full((4, 5), value, np.float32))).any()


def test_decode_image__the_largest_floats_do_not_overflow():
    samples = np.array([[-1.7e308, 0.0, 1.7e308]])
    assert decode_image(tiff(samples))[0, :, 0].tolist() == [0, 128, 255]


def test_decode_image__nodata_does_not_stretch():
    nodata = [(42113, "s", 0, "-9999", True)]
    samples = np.array([[-9999, 100, 150, 200]], np.float32)
    assert decode_image(tiff(samples, extratags=nodata))[0, :, 0].tolist() == [0, 0, 128, 255]


def test_decode_image__twelve_bits():
    """Two samples in three bytes: 0x000, 0xFFF, 0x800, 0x07F."""
    data = bytearray(encode(Image.new("L", (4, 1)), "TIFF"))
    page = bytes(data)
    offset = page.index(struct.pack("<HHI", 258, 3, 1))
    data[offset + 8 : offset + 10] = struct.pack("<H", 12)
    place = (
        page.index(struct.pack("<HHI", 273, 4, 1))
        if struct.pack("<HHI", 273, 4, 1) in page
        else page.index(struct.pack("<HHI", 273, 3, 1))
    )
    data[place + 8 : place + 12] = struct.pack("<I", len(data))
    data += bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x7F])
    count = page.find(struct.pack("<HHI", 279, 4, 1))
    data[count + 8 : count + 12] = struct.pack("<I", 6)
    assert decode_image(bytes(data))[0, :, 0].tolist() == [0, 255, 128, 7]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_decode_image__modes_by_hand(kind: str):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    assert decode_image(encode(palette, kind)).tolist() == [[[10, 20, 30], [200, 100, 50]]]
    image = Image.new("RGBA", (1, 1), (9, 8, 7, 0))
    assert decode_image(encode(image, kind)).tolist() == [[[9, 8, 7]]]
    assert decode_image(encode(Image.new("LA", (1, 1), (5, 0)), kind)).tolist() == [[[5, 5, 5]]]
    black_white = Image.new("1", (2, 1))
    black_white.putpixel((1, 0), 1)
    assert decode_image(encode(black_white, kind))[..., 0].tolist() == [[0, 255]]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_decode_image__cmyk(kind: str):
    options = {"quality": 100} if kind == "JPEG" else {}
    for ink, color in [((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0)]:
        pixels = decode_image(encode(Image.new("CMYK", (8, 8), ink), kind, **options))
        assert (pixels == color).all()


@pytest.mark.parametrize(
    "options",
    [{"tile": (16, 16)}, {"planarconfig": "separate"}, {"bigtiff": True}, {"rowsperstrip": 7}],
)
def test_decode_image__tiff_layouts(options: dict[str, object]):
    pixels = np.asarray(picture(50, 40))
    samples = np.moveaxis(pixels, 2, 0) if "planarconfig" in options else pixels
    np.testing.assert_array_equal(decode_image(tiff(samples, photometric="rgb", **options)), pixels)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_decode_image__tiff_compressions(compression: str):
    data = encode(picture(50, 40), "TIFF", compression=compression)
    np.testing.assert_array_equal(decode_image(data), show(data))


def test_decode_image__refuses_measurement_bands():
    for kind in (np.uint8, np.uint16, np.float32):
        bands = np.zeros((8, 9, 5), kind)
        error = refusal(tiff(bands, photometric="minisblack", planarconfig="contig"))
        assert error.reason == "unsupported-mode"
        assert "5 samples of" in error.detail


def test_turn_upright__by_hand():
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, 2)
    upright = {n: turn_upright(pixels, n)[..., 0].tolist() for n in range(1, 9)}
    assert upright == {
        1: [[0, 1, 2], [3, 4, 5]],
        2: [[2, 1, 0], [5, 4, 3]],
        3: [[5, 4, 3], [2, 1, 0]],
        4: [[3, 4, 5], [0, 1, 2]],
        5: [[0, 3], [1, 4], [2, 5]],
        6: [[3, 0], [4, 1], [5, 2]],
        7: [[5, 2], [4, 1], [3, 0]],
        8: [[2, 5], [1, 4], [0, 3]],
    }
    assert turn_upright(pixels, 1) is pixels


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_image__upright(kind: str, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(picture(50, 30), kind, exif=exif)
    facts, pixels = inspect_image(data), decode_image(data)
    np.testing.assert_array_equal(pixels, show(data))
    assert pixels.shape == (facts.height, facts.width, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_image__upright_sixteen_bits(orientation: int):
    samples = np.arange(0, 60_000, 100, dtype=np.uint16).reshape(20, 30)
    data = tiff(samples, extratags=[(274, "H", 1, orientation, True)])
    high_bytes = np.repeat((samples >> 8).astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_array_equal(decode_image(data), turn_upright(high_bytes, orientation))


def test_decode_image__orientation_behind_the_pixels_of_a_png():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(picture(50, 30), "PNG", exif=exif)
    offset = data.index(b"eXIf") - 4
    size = 12 + int.from_bytes(data[offset : offset + 4], "big")
    reordered = (
        data[:offset] + data[offset + size : -12] + data[offset : offset + size] + data[-12:]
    )
    assert inspect_image(reordered).orientation == 6
    np.testing.assert_array_equal(decode_image(reordered), decode_image(data))
