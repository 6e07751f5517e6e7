"""JPEGs with damaged pixels are refused; what no pixel depends on may be as odd as cameras make it."""

import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding import decode_image
from dino_assets_tests.worlds.encoded_pictures import encode, picture

KINDS = {"baseline": {}, "progressive": {"progressive": True}, "restarts": {"restart_marker_blocks": 4}}  # fmt: skip
SCAN, END = b"\xff\xda", b"\xff\xd9"
STRAY_BYTES = b"left by a camera"


def make(kind: str = "baseline", mode: str = "RGB") -> bytes:
    return encode(picture(320, 240).convert(mode), "JPEG", quality=90, **KINDS[kind])


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """Segments of the head, and all from the first scan on."""
    segments, offset = [], 2
    while data[offset : offset + 2] != SCAN:
        end = offset + 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
        segments.append(data[offset:end])
        offset = end
    return segments, data[offset:]


def join(segments: list[bytes], rest: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments) + rest


def is_refused(data: bytes) -> bool:
    try:
        decode_image(data)
    except UnusableImageError:
        return True
    return False


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", KINDS)
def test_decode_image__overwritten_pixels(kind: str, mode: str):
    """Whatever libjpeg sees is refused, and it sees nearly all."""
    data, rng, refusals = make(kind, mode), np.random.default_rng(len(kind)), []
    start = data.index(SCAN) + 20
    for size in (48, 512, 4096):
        for offset in rng.integers(start, len(data) - size - 2, 8):
            damaged = data[:offset] + rng.bytes(size) + data[offset + size :]
            refusals.append(is_refused(damaged))
            if not refusals[-1]:
                simplejpeg.decode_jpeg(damaged, "CMYK" if mode == "CMYK" else "RGB", strict=True)
    assert np.mean(refusals) > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_decode_image__unused_jpeg_bytes(kind: str):
    assert is_refused(make(kind).removesuffix(END) + STRAY_BYTES + END)


def test_decode_image__late_restart_markers():
    data = make("restarts")
    offset = data.index(b"\xff\xd3", data.index(SCAN))
    assert is_refused(data[:offset] + STRAY_BYTES + data[offset:])


@pytest.mark.parametrize("kind", KINDS)
def test_decode_image__stray_bytes_in_the_head(kind: str):
    segments, scans = split(make(kind))
    note = b"\xff\xfe" + (2 + len(STRAY_BYTES)).to_bytes(2, "big") + STRAY_BYTES
    stray_segments = [STRAY_BYTES + segment for segment in [*segments[1:], note]]
    data = join([segments[0], *stray_segments, STRAY_BYTES], scans)
    np.testing.assert_array_equal(decode_image(data), decode_image(join(segments, scans)))


@pytest.mark.parametrize("kind", KINDS)
def test_decode_image__stray_bytes_in_the_head_hide_no_damage(kind: str):
    segments, scans = split(make(kind))
    middle = len(scans) // 2
    damaged = scans[:middle] + bytes(range(1, 200)) + scans[middle + 199 :]
    assert is_refused(join([segments[0], STRAY_BYTES, *segments[1:]], damaged))


@pytest.mark.parametrize("is_late", [False, True])
def test_decode_image__colour_profile_with_a_part_missing(is_late: bool):
    segments, scans = split(make())
    profile = (
        b"\xff\xe2" + (2 + 14 + 100).to_bytes(2, "big") + b"ICC_PROFILE\0\x01\x02" + bytes(100)
    )
    place = len(segments) if is_late else 1
    data = join([*segments[:place], profile, *segments[place:]], scans)
    with pytest.raises(ValueError, match="ICC"):  # what libjpeg says
        simplejpeg.decode_jpeg(data, "RGB", strict=True)
    np.testing.assert_array_equal(decode_image(data), decode_image(join(segments, scans)))


def test_decode_image__head_without_an_end():
    segments, scans = split(make())
    for data in (
        join([segments[0]], b"\xff\xe1\xff\xff"),
        join([*segments, STRAY_BYTES], scans[:3]),
    ):
        assert is_refused(data)


def test_decode_image__cmyk_equals_pillow():
    data = make(mode="CMYK")
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decode_image(data), np.asarray(image.convert("RGB")))
