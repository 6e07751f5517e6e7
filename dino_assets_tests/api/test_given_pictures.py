"""Conversion of Python pictures to pixels, equal to reading them from files."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dino_assets.api.given_pictures import check_batch, to_picture, to_tiles
from dino_assets.embeddings.run.pictures import read_pixels
from dino_assets.errors import ConfigError, UnusableImageError

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
GRAY = PIXELS[..., 0]


def encode(image: Image.Image, kind: str) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (PIXELS, PIXELS),
        (np.dstack([PIXELS, GRAY]), PIXELS),
        (GRAY, np.dstack([GRAY] * 3)),
        (GRAY[..., None], np.dstack([GRAY] * 3)),
        (GRAY.astype(np.uint16) * 256 + 3, np.dstack([GRAY] * 3)),
        (GRAY > 100, np.dstack([(GRAY > 100) * np.uint8(255)] * 3)),
        (PIXELS / 255, PIXELS),
        ((PIXELS / 255).astype(np.float32), PIXELS),
        (torch.from_numpy(PIXELS).permute(2, 0, 1), PIXELS),
        (torch.from_numpy(PIXELS).permute(2, 0, 1)[None] / 255, PIXELS),
        (torch.from_numpy(PIXELS).permute(2, 0, 1)[:1], np.dstack([GRAY] * 3)),
        (torch.from_numpy(GRAY.copy()), np.dstack([GRAY] * 3)),
        (torch.zeros(3, 4, 5, dtype=torch.bfloat16), np.zeros((4, 5, 3), np.uint8)),
        (torch.ones(3, 4, 5, requires_grad=True), np.full((4, 5, 3), 255, np.uint8)),
    ],
)
def test_to_picture__arrays_and_tensors(given, wanted):
    assert np.array_equal(to_picture(given), wanted)


def test_to_picture__floats_are_rounded():
    floats = np.full((2, 2, 3), [0.4 / 255, 0.6 / 255, 254.6 / 255])
    assert to_picture(floats)[0, 0].tolist() == [0, 1, 255]


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "CMYK", "I;16"])
def test_to_picture__pillow_images_equal_their_files(mode):
    if mode == "I;16":
        image = Image.fromarray(GRAY.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(PIXELS).convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert np.array_equal(to_picture(image), read_pixels(encode(image, kind)))


def test_to_picture__float_pillow_image_equals_its_file():
    image = Image.fromarray(GRAY.astype(np.float32) * 3 - 100)
    assert np.array_equal(to_picture(image), read_pixels(encode(image, "TIFF")))


def test_to_picture__turns_a_pillow_image_upright():
    sink = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(sink, "PNG", exif=exif)
    with Image.open(io.BytesIO(sink.getvalue())) as image:
        assert np.array_equal(to_picture(image), read_pixels(sink.getvalue()))


@pytest.mark.parametrize(
    "given",
    [
        None,
        3,
        [PIXELS],
        PIXELS.astype(np.int64),
        np.dstack([PIXELS, PIXELS]),
        PIXELS[None],
        np.zeros(5),
        PIXELS / 127,
        PIXELS / 255 - 0.1,
        np.full((3, 3), np.nan),
        torch.randn(3, 8, 8),
        torch.zeros(2, 3, 8, 8),
    ],
)
def test_to_picture__refuses_other_values(given):
    with pytest.raises(UnusableImageError) as caught:
        to_picture(given)
    assert caught.value.reason in ("not-an-image", "unsupported-mode")


def test_to_tiles__only_batches():
    batch = np.stack([PIXELS, PIXELS])
    tensor = torch.from_numpy(batch).permute(0, 3, 1, 2)
    for equal_batch in (batch, batch / 255, tensor, tensor.float() / 255):
        assert np.array_equal(to_tiles(equal_batch), batch)
    assert np.shares_memory(to_tiles(tensor), batch)  # without a copy
    for other_value in ([PIXELS], PIXELS, tensor[0], tensor[:, :1], batch[..., :1], None):
        assert to_tiles(other_value) is None


def test_to_picture__open_files_and_buffers(tmp_path):
    """Files have a ``detach`` like tensors; calling it would close them."""
    data = encode(Image.fromarray(PIXELS), "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for buffer in (bytearray(data), memoryview(data), io.BytesIO(data)):
        assert to_picture(buffer) == data
    with path.open("rb") as file:
        assert to_picture(file) == data
        assert not file.closed
    for unusable, reason in ((file, "unreadable"), (io.StringIO("a"), "not-an-image")):
        with pytest.raises(UnusableImageError) as caught:
            to_picture(unusable)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    "batch",
    [
        "a.jpg",
        Path("a.jpg"),
        b"\xff\xd8",
        Image.fromarray(PIXELS),
        PIXELS,
        GRAY,
        torch.zeros(3, 224, 224),
        {"pixel_values": torch.zeros(1, 3, 224, 224)},
        7,
    ],
)
def test_check_batch__refuses_single_pictures_and_other_values(batch):
    """Rows of an array would count as gray pictures, letters of a path as paths."""
    with pytest.raises(ConfigError) as caught:
        check_batch(batch)
    assert caught.value.setting == "batch"


@pytest.mark.parametrize(
    "batch",
    [
        [PIXELS, "a.jpg"],
        (each for each in [PIXELS]),
        PIXELS[None],
        torch.zeros(2, 3, 4, 4),
        np.array(["a.jpg", "b.jpg"]),
        [],
    ],
)
def test_check_batch__batches(batch):
    check_batch(batch)
