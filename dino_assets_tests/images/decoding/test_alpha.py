"""Premultiplied alpha gives the same pixels whatever the depth, the compression and the layout."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding import decode_image
from dino_assets.images.decoding.alpha import divide_alpha
from dino_assets_tests.worlds.encoded_pictures import tiff

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
ROWS, COLUMNS = 24, 40
COMPRESSIONS = [None, "deflate", "lzw", "packbits", "zstd"]


def premultiplied(channels: int) -> np.ndarray:
    """Counts of 8 bit, (ROWS, COLUMNS, channels), from all transparent to all opaque."""
    rng = np.random.default_rng(5)
    alpha = rng.integers(0, 256, (ROWS, COLUMNS, 1))
    alpha[:4], alpha[4:8] = 0, 255
    colours = rng.integers(0, 256, (ROWS, COLUMNS, channels - 1)) * alpha // 255
    return np.concatenate([colours, alpha], axis=2).astype(np.uint8)


def expected_of(stored: np.ndarray) -> np.ndarray:
    colours, alpha = stored[..., :-1].astype(int), stored[..., -1:].astype(int)
    divided = np.minimum(colours * 255 // np.maximum(alpha, 1), 255)
    return np.broadcast_to(np.where(alpha > 0, divided, 0), (ROWS, COLUMNS, 3)).astype(np.uint8)


def write(
    path: Path, samples: np.ndarray, *, compression: str | None, interleave: str, **options: str
) -> bytes:
    count = samples.shape[2]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=COLUMNS,
        height=ROWS,
        count=count,
        dtype=samples.dtype,
        interleave=interleave,
        photometric="RGB" if count > 2 else "MINISBLACK",
        **{"alpha": "PREMULTIPLIED"} | options | ({"compress": compression} if compression else {}),
    ) as file:
        file.write(samples.transpose(2, 0, 1))
    return path.read_bytes()


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("bits", [8, 16])
def test_decode_image__premultiplied_colours(tmp_path, bits, compression, interleave):
    pixels = premultiplied(4)
    # The low byte is what is dropped of 16 bits, so both depths hold the same picture.
    samples = pixels if bits == 8 else pixels.astype(np.uint16) << 8 | 0x5A
    data = write(tmp_path / "a.tif", samples, compression=compression, interleave=interleave)
    np.testing.assert_array_equal(decode_image(data), expected_of(pixels))


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_decode_image__premultiplied_gray(tmp_path, compression, interleave):
    pixels = premultiplied(2)
    data = write(tmp_path / "a.tif", pixels, compression=compression, interleave=interleave)
    if interleave == "band" and compression not in (None, "deflate"):
        with pytest.raises(UnusableImageError) as caught:  # Pillow has no alpha of these
            decode_image(data)
        assert caught.value.reason == "unsupported-mode"
    else:
        np.testing.assert_array_equal(decode_image(data), expected_of(pixels))


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kind", [np.uint32, np.float16, np.float32, np.float64])
def test_decode_image__premultiplied_samples_are_divided_before_they_are_scaled(kind, compression):
    pixels = premultiplied(4).astype(float) / 255
    full_scale = 1.0 if np.dtype(kind).kind == "f" else float(np.iinfo(kind).max)
    samples = (pixels * full_scale).astype(kind)
    data = tiff(samples, photometric="rgb", extrasamples=["assocalpha"], compression=compression)
    with np.errstate(invalid="ignore"):
        colours = np.nan_to_num(pixels[..., :3] / pixels[..., 3:])
    expected = np.floor(colours / colours.max() * 255 + 0.5)
    np.testing.assert_allclose(decode_image(data), expected, atol=1)


@pytest.mark.parametrize("bits", [8, 16])
def test_decode_image__straight_alpha_is_dropped(tmp_path, bits):
    pixels = premultiplied(4)
    samples = pixels if bits == 8 else pixels.astype(np.uint16) << 8
    for compression in (None, "lzw"):
        data = write(
            tmp_path / "a.tif", samples, compression=compression, interleave="pixel", alpha="YES"
        )
        np.testing.assert_array_equal(decode_image(data), pixels[..., :3])


def test_divide_alpha__largest_values_do_not_overflow():
    for kind in (np.uint8, np.uint16, np.uint32, np.uint64):
        largest = np.iinfo(kind).max
        pixels = np.array(
            [[[largest, largest], [largest // 2, largest // 2], [largest, 1], [7, 0]]], kind
        )
        divided = divide_alpha(pixels, band_values=1)
        assert divided[0, :3, 0].astype(float) == pytest.approx(float(largest), rel=1e-9)
        assert divided[0, 3, 0] == 0
