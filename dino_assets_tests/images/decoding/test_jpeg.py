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
STRAY = b"left by a camera"


def make(kind: str = "baseline", mode: str = "RGB") -> bytes:
    return encode(picture(320, 240).convert(mode), "JPEG", quality=90, **KINDS[kind])


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """Segments of the head, and all from the first scan on."""
    segments, at = [], 2
    while data[at : at + 2] != SCAN:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append(data[at:end])
        at = end
    return segments, data[at:]


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
    data, rng, refused = make(kind, mode), np.random.default_rng(len(kind)), []
    first = data.index(SCAN) + 20
    for size in (48, 512, 4096):
        for at in rng.integers(first, len(data) - size - 2, 8):
            damaged = data[:at] + rng.bytes(size) + data[at + size :]
            refused.append(is_refused(damaged))
            if not refused[-1]:
                simplejpeg.decode_jpeg(damaged, "CMYK" if mode == "CMYK" else "RGB", strict=True)
    assert np.mean(refused) > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_decode_image__unused_jpeg_bytes(kind: str):
    assert is_refused(make(kind).removesuffix(END) + STRAY + END)


def test_decode_image__late_restart_markers():
    data = make("restarts")
    at = data.index(b"\xff\xd3", data.index(SCAN))
    assert is_refused(data[:at] + STRAY + data[at:])


@pytest.mark.parametrize("kind", KINDS)
def test_decode_image__stray_bytes_in_the_head(kind: str):
    segments, rest = split(make(kind))
    note = b"\xff\xfe" + (2 + len(STRAY)).to_bytes(2, "big") + STRAY
    straying = [STRAY + segment for segment in [*segments[1:], note]]
    odd = join([segments[0], *straying, STRAY], rest)
    np.testing.assert_array_equal(decode_image(odd), decode_image(join(segments, rest)))


@pytest.mark.parametrize("kind", KINDS)
def test_decode_image__stray_bytes_in_the_head_hide_no_damage(kind: str):
    segments, rest = split(make(kind))
    middle = len(rest) // 2
    damaged = rest[:middle] + bytes(range(1, 200)) + rest[middle + 199 :]
    assert is_refused(join([segments[0], STRAY, *segments[1:]], damaged))


@pytest.mark.parametrize("is_late", [False, True])
def test_decode_image__colour_profile_with_a_part_missing(is_late: bool):
    segments, rest = split(make())
    profile = (
        b"\xff\xe2" + (2 + 14 + 100).to_bytes(2, "big") + b"ICC_PROFILE\0\x01\x02" + bytes(100)
    )
    place = len(segments) if is_late else 1
    odd = join([*segments[:place], profile, *segments[place:]], rest)
    with pytest.raises(ValueError, match="ICC"):  # what libjpeg says
        simplejpeg.decode_jpeg(odd, "RGB", strict=True)
    np.testing.assert_array_equal(decode_image(odd), decode_image(join(segments, rest)))


def test_decode_image__head_without_an_end():
    segments, rest = split(make())
    for odd in (join([segments[0]], b"\xff\xe1\xff\xff"), join([*segments, STRAY], rest[:3])):
        assert is_refused(odd)


def test_decode_image__cmyk_equals_pillow():
    data = make(mode="CMYK")
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decode_image(data), np.asarray(image.convert("RGB")))
