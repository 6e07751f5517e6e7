"""What one file may take: told from its header, held in fact, and refused before a pixel is decoded."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding import MAX_PIXELS, read_header
from dino_assets.images.decoding.headers import Header
from dino_assets.images.decoding.memory import MOST_BYTES, check_memory, estimate_bytes
from dino_assets_tests.worlds.raising import raising

WIDTH, HEIGHT = 4000, 2500
MODES_AND_SUFFIXES = [
    ("1", "png"), ("L", "png"), ("P", "png"), ("LA", "png"), ("RGB", "png"), ("RGBA", "png"), ("RGB", "bmp"),
    ("RGBA", "tif"), ("CMYK", "tif"), ("L", "jpg"), ("RGB", "jpg"), ("CMYK", "jpg"), ("RGB", "webp"),
    ("RGBA", "webp"),
]  # fmt: skip
KINDS = ["u2", "i2", "f4", "f8"]
# Each picture in a child of its own, whose largest memory is told beside what it began with.
MEASURE = """
import json, os, resource, sys
from dino_assets.images.decoding import decode_image, read_header
from dino_assets.images.decoding.memory import estimate_bytes

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

for path in sys.argv[1:]:
    data = open(path, "rb").read()
    if not os.fork():
        before = peak()
        decode_image(data)
        print(json.dumps([path, peak() - before, estimate_bytes(read_header(data))]), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, paths = tmp_path_factory.mktemp("large"), []
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[::50] = 200
    picture = Image.fromarray(pixels)
    options = {"png": {"compress_level": 1}, "webp": {"lossless": True, "method": 0, "quality": 0}}
    for mode, suffix in MODES_AND_SUFFIXES:
        paths.append(folder / f"{mode}.{suffix}")
        picture.convert(mode).save(paths[-1], **options.get(suffix, {}))
    paths.append(folder / "progressive.jpg")
    picture.save(paths[-1], progressive=True)
    for kind in KINDS:
        for rows in (100, HEIGHT):  # in strips, and in one
            paths.append(folder / f"{kind}-{rows}.tif")
            tifffile.imwrite(
                paths[-1], pixels.astype(kind), photometric="rgb", compression="zlib", rowsperstrip=rows
            )  # fmt: skip
    for compression in ("jpeg", "tiff_adobe_deflate"):
        paths.append(folder / f"{compression}.tif")
        picture.save(paths[-1], compression=compression)
    with_alpha = np.concatenate([pixels, pixels[..., :1]], axis=2)
    for kind in ("u2", "u4", "f4"):
        paths.append(folder / f"premultiplied-{kind}.tif")
        tifffile.imwrite(
            paths[-1], with_alpha.astype(kind), photometric="rgb", extrasamples=["assocalpha"],
            compression="zlib", rowsperstrip=100,
        )  # fmt: skip
    return paths


def test_decode_image__memory_matches_the_estimate(files: list[Path]):
    process = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, files)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [json.loads(line) for line in process.stdout.splitlines()]
    assert len(rows) == len(files)
    for path, used_bytes, estimated_bytes in rows:
        assert used_bytes < 1.1 * estimated_bytes + 20e6, path
        assert used_bytes > 0.3 * estimated_bytes, path  # nor is much refused that would fit


@pytest.mark.parametrize(
    ("form", "mode", "most"),
    [("JPEG", "RGB", 178), ("JPEG", "CMYK", 160), ("PNG", "RGBA", 160), ("PNG", "L", 178), ("WEBP", "RGB", 72)],
)  # fmt: skip
def test_check_memory__accepted_megapixels(form: str, mode: str, most: int):
    check_memory(Header(form, mode, most * 1000, 1000))
    if most * 1_000_000 < MAX_PIXELS // 10**6 * 10**6:
        with raising(UnusableImageError, reason="too-large"):
            check_memory(Header(form, mode, (most + 2) * 1000, 1000))


def test_read_header__34_bytes_that_declare_gigabytes():
    side = (16_383 - 1).to_bytes(3, "little")
    chunk = b"VP8X" + (10).to_bytes(4, "little") + bytes(4) + side + side
    frame = b"VP8L" + (5).to_bytes(4, "little") + b"\x2f\xfe\xff\xfe\x0f" + b"\0"
    data = b"WEBP" + chunk + frame
    with pytest.raises(UnusableImageError) as caught:
        read_header(b"RIFF" + len(data).to_bytes(4, "little") + data)
    assert caught.value.reason == "too-large"


def test_estimate_bytes__small_picture_in_a_large_tile():
    small = Header("PNG", "RGB", 100, 100)
    assert estimate_bytes(small) < MOST_BYTES / 1000
