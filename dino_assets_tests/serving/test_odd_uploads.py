"""Odd, huge and damaged pictures as uploads: an answer with a reason, never a 500, bounded memory."""

import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dino_assets.store.objects import ObjectStore
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.images.decoding.test_odd_files import STRANGE, WHOLE
from dino_assets_tests.serving.conftest import Serve
from dino_assets_tests.worlds.encoded_pictures import encode, heic, picture
from dino_assets_tests.worlds.serving import SMALL_CHECKPOINT, Served, served_model, serving
from dino_assets_tests.worlds.serving import make_settings as settings_of

SQUARES = served_model(replace(SMALL_CHECKPOINT, patch_px=256), side_px=512)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    with serving(settings_of(folder), ObjectStore.in_memory(), model=SQUARES) as served:
        yield served


@pytest.mark.parametrize("name", STRANGE)
def test_embed__odd_files(served: Served, name):
    answer = served.embed(STRANGE[name])
    members = answer.json()
    assert (answer.status_code, members["slug"]) == (422, "unusable-picture")
    assert members["reason"]
    assert str(Path(__file__).parents[2]) not in answer.text


@pytest.mark.parametrize("name", [*WHOLE, "HEIC"])
def test_embed__every_supported_format(served: Served, name):
    data = {**WHOLE, "HEIC": heic(picture(64, 48))}[name]
    assert served.embed(data).json()["metadata"]["original_size"] == [64, 48]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(WHOLE)),
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 100),
)
def test_embed__damaged_files(served: Served, name, edits, cut):
    data = bytearray(WHOLE[name])
    for position, value in edits:
        data[position % len(data)] = value
    answer = served.embed(bytes(data[: len(data) - cut]))
    assert answer.status_code in (200, 413, 422)


def png_header(width: int, height: int, *, bits: int = 1) -> bytes:
    """Make a PNG whose header declares this size, with almost no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    lines = zlib.compress(bytes((width * bits + 7) // 8 + 1) * min(height, 10**4), 9)
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def peak_mb(reset: bool = False) -> float:
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


BOMBS = {
    "400 MP": png_header(20_000, 20_000),
    "a line of 4 Gpx": png_header(2**31 - 1, 2),
    "100,000 px wide": png_header(100_000, 1),
    "more lines than there are": png_header(9_000, 10_001),
    "a zip bomb for a comment": encode(picture(8, 8), "PNG", icc_profile=bytes(10**7)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_embed__decompression_bombs(served: Served, name):
    served.embed(photo_bytes(1100, 600))
    mb_before = peak_mb(reset=True)
    answer = served.embed(BOMBS[name])
    assert answer.status_code in (200, 413, 422)
    assert peak_mb() - mb_before < 450  # 90 MP are 270 MB when decoded


def test_embed__very_wide_and_low_picture(served: Served):
    answer = served.embed(encode(Image.new("L", (9_000, 1)), "PNG"), tokens="cls").json()
    assert answer["metadata"]["original_size"] == [9000, 1]
    assert answer["num_tiles"] == -(-(9000 - 512) // 256) + 1


def test_embed__whole_header_but_damaged_pixels(serve: Serve):
    """The decoding lane finds the damage."""
    photo = bytearray(photo_bytes(640, 480, kind="PNG"))
    photo[5000:5200] = bytes(200)
    served = serve(model=SQUARES)
    answer = served.embed(bytes(photo))
    assert (answer.status_code, answer.json()["slug"]) == (422, "unusable-picture")
    assert served.service.decoding.small.held_bytes == 0
    assert np.isclose(served.service.admission.forecast_s(), 0)
