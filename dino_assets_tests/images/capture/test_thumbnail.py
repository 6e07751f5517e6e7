"""Pictures beside the thumbnail that their camera put in EXIF: as they were, turned, mirrored, damaged."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dino_assets.images.capture.thumbnail import is_turned_since
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.inboxes import commit_images, fill_bytes
from dino_assets_tests.worlds.turned_flights import draw_ground, photograph

TRANSPOSE = Image.Transpose
BARS = (160, 120)  # as DJI's cameras write it, whatever the picture's shape


def scene(width: int = 160, height: int = 90) -> Image.Image:
    coarse = np.random.default_rng(3).integers(0, 255, (6, 9, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def to_jpeg(image: Image.Image, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=90, **options)
    return sink.getvalue()


def thumbnail_of(image: Image.Image, size: tuple[int, int] = BARS) -> bytes:
    """Draw the picture between black bars."""
    small = image.copy()
    small.thumbnail(size)
    canvas = Image.new("RGB", size)
    canvas.paste(small, ((size[0] - small.width) // 2, (size[1] - small.height) // 2))
    return to_jpeg(canvas)


def with_thumbnail(block: bytes, thumbnail: bytes) -> bytes:
    """Make a block of little-endian EXIF whose second table, at the end, points at the thumbnail."""
    tiff = bytearray(block.removeprefix(b"Exif\0\0"))
    assert tiff[:2] == b"II"
    (offset,) = struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<H", tiff, offset)
    struct.pack_into("<I", tiff, offset + 2 + 12 * count, len(tiff))
    start = len(tiff) + 2 + 2 * 12 + 4
    places = struct.pack("<HHII", 0x201, 4, 1, start) + struct.pack(
        "<HHII", 0x202, 4, 1, len(thumbnail)
    )
    return b"Exif\0\0" + bytes(tiff) + b"\2\0" + places + bytes(4) + thumbnail


def jpeg_of(image: Image.Image, thumbnail: bytes) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "DJI"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    tiff = b"II*\0\x08\0\0\0\0\0\0\0\0\0" if block[:2] != b"II" else block
    return to_jpeg(image, exif=with_thumbnail(b"Exif\0\0" + tiff, thumbnail))


@pytest.mark.parametrize("size", [BARS, (160, 90)])
@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (None, False),
        (TRANSPOSE.ROTATE_180, True),
        (TRANSPOSE.ROTATE_90, True),
        (TRANSPOSE.ROTATE_270, True),
        (TRANSPOSE.FLIP_LEFT_RIGHT, True),
        (TRANSPOSE.FLIP_TOP_BOTTOM, True),
    ],
)
def test_is_turned_since__proven_by_the_thumbnail(way, expected, size):
    original = scene()
    image = original if way is None else original.transpose(way)
    assert is_turned_since(jpeg_of(image, thumbnail_of(original, size)), image) is expected


def test_is_turned_since__another_scene_proves_nothing():
    image, other = scene(), Image.effect_noise((160, 90), 60).convert("RGB")
    assert not is_turned_since(jpeg_of(image, thumbnail_of(other)), image)


@pytest.mark.parametrize(
    "thumbnail",
    [b"", b"\xff\xd8", bytes(500), to_jpeg(Image.new("RGB", (4000, 4000)))],
    ids=["empty", "cut", "zeros", "huge"],
)
def test_is_turned_since__damaged_thumbnails(thumbnail):
    image = scene().transpose(TRANSPOSE.ROTATE_180)
    assert not is_turned_since(jpeg_of(image, thumbnail[:40_000]), image)
    assert not is_turned_since(to_jpeg(image), image)


def test_images__a_picture_turned_by_a_program_that_left_its_times(tmp_path: Path):
    """One alone has no neighbour to prove its turn: its place is in doubt, and says so."""
    shot = photograph(draw_ground(), 1, at=(0.0, 0.0))
    with Image.open(io.BytesIO(shot)) as image:
        block, xmp = image.info["exif"], image.info["xmp"]
        little_endian = Image.Exif()
        little_endian.load(block)
        little_endian.endian = "<"
        exif = with_thumbnail(little_endian.tobytes(), thumbnail_of(image))
        upright = to_jpeg(image, exif=exif, xmp=xmp)
        turned = to_jpeg(image.transpose(TRANSPOSE.ROTATE_180), exif=exif, xmp=xmp)
    folder = fill_bytes(tmp_path / "f", {"DJI_0001.JPG": upright, "DJI_0002.JPG": turned})
    rows = commit_images(ObjectStore.in_memory(), "d", folder).read("d").to_pylist()
    assert [row["edited_by"] for row in rows] == [None, "an unnamed program"]
    assert rows[0]["place_quality"] == "gps-nadir"
