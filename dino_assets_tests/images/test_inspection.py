import hashlib
import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from dino_assets.errors import UnusableImageError
from dino_assets.images.decoding import FORMATS, MAX_PIXELS, decode_image
from dino_assets.images.inspection import inspect_image, judge_quarantine
from dino_assets_tests.conftest import photo_bytes

# As the module itself sets them; pytest puts its own `error` in front of them.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]
FUZZ = settings(max_examples=300, deadline=None)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def smooth(width: int, height: int) -> Image.Image:
    """Draw a picture whose file is small: the hard case for truncation."""
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    return Image.fromarray(np.dstack([np.tile(ramp, (height, 1))] * 3))


def png(width: int, height: int, *, depth: int = 8, color: int = 2, body: bytes = b"") -> bytes:
    """Make a PNG with a given header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def refusal(data: bytes, **options: int) -> UnusableImageError:
    """Return the error of inspecting or decoding a file."""
    try:
        inspect_image(data, **options)
    except UnusableImageError as error:
        return error
    with pytest.raises(UnusableImageError) as caught:
        decode_image(data)
    return caught.value


# --- good pictures --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_inspect_image__every_format(kind: str):
    data = encode(smooth(70, 30), kind)
    facts = inspect_image(data)
    assert vars(facts) == {
        "image_id": hashlib.sha256(data).hexdigest(),
        "format": kind,
        "mode": "RGB",
        "width": 70,
        "height": 30,
        "stored_width": 70,
        "stored_height": 30,
        "orientation": 1,
        "note": None,
    }


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("P", "PNG"),
        ("1", "PNG"),
        ("LA", "PNG"),
        ("RGBA", "PNG"),
        ("I;16", "PNG"),
        ("I;16", "TIFF"),
        ("CMYK", "TIFF"),
    ],
)
def test_inspect_image__every_mode(mode: str, kind: str):
    facts = inspect_image(encode(Image.new(mode, (20, 10)), kind))
    assert (facts.mode, facts.width, facts.height) == (mode, 20, 10)


def test_inspect_image__unsupported_mode():
    error = refusal(encode(Image.new("LAB", (20, 10)), "TIFF"))
    assert (error.reason, error.detail) == ("unsupported-mode", "pixels are 'LAB'")


def test_inspect_image__one_pixel():
    assert inspect_image(encode(Image.new("RGB", (1, 1)), "JPEG")).width == 1


def test_inspect_image__progressive_jpeg():
    assert inspect_image(encode(smooth(500, 300), "JPEG", progressive=True)).width == 500


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_inspect_image__upright_frame_equals_pillow(kind: str, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(smooth(50, 30), kind, exif=exif)
    facts = inspect_image(data)
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image).size
    assert (facts.width, facts.height) == upright
    assert upright == ((30, 50) if orientation >= 5 else (50, 30))
    assert (facts.stored_width, facts.stored_height, facts.orientation) == (50, 30, orientation)


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_inspect_image__invalid_orientation_counts_as_upright(orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    facts = inspect_image(encode(smooth(50, 30), "JPEG", exif=exif))
    assert (facts.width, facts.height, facts.orientation) == (50, 30, 1)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"M",
        b"MM",
        b"MM\0*",
        b"MMT*\0\0\0\x08",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"\0" * 64,
        b"garbage" * 9,
    ],
)
def test_inspect_image__broken_exif_is_accepted(block: bytes):
    for kind in ("JPEG", "PNG", "WEBP"):
        facts = inspect_image(encode(smooth(50, 30), kind, exif=b"Exif\0\0" + block))
        assert (facts.width, facts.height, facts.orientation) == (50, 30, 1)


def test_inspect_image__preview_pages_are_not_an_animation():
    pages = [smooth(50, 30), smooth(5, 3)]
    for kind in ("TIFF", "MPO"):  # DJI writes JPEGs with a preview inside: Pillow calls them MPO
        data = encode(pages[0], kind, save_all=True, append_images=pages[1:])
        assert inspect_image(data).width == 50
        assert inspect_image(data).note == ("first of 2 pages" if kind == "TIFF" else None)


def test_inspect_image__reads_no_pixels():
    data = photo_bytes(640, 480)
    assert inspect_image(data[: len(data) // 2]).width == 640


# --- bad files ------------------------------------------------------------------------------


def test_inspect_image__empty():
    assert str(refusal(b"")) == "empty: the file has no bytes"


def test_inspect_image__text_named_jpg():
    error = refusal(b"not a picture at all")
    assert error.reason == "not-an-image"
    assert error.detail == (
        "no complete header of JPEG, PNG, BMP, TIFF, WEBP, HEIC, DNG; the file starts with b'not a pi'"
    )


@pytest.mark.parametrize("kind", ["GIF", "PPM", "ICO", "TGA", "JPEG2000"])
def test_inspect_image__other_formats_are_not_tried(kind: str):
    assert refusal(encode(smooth(50, 30), kind)).reason == "not-an-image"


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_inspect_image__animated(kind: str):
    frames = [Image.new("RGB", (50, 30), color) for color in ("red", "blue")]
    error = refusal(encode(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert (error.reason, "several frames" in error.detail) == ("animated", True)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_decode_image__truncated(kind: str, share: float):
    data = photo_bytes(kind=kind)
    error = refusal(data[: int(len(data) * share)])
    assert error.reason in ("truncated", "undecodable", "not-an-image")


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9, 0.97])
@pytest.mark.parametrize("is_progressive", [False, True])
def test_decode_image__truncated_jpeg_has_its_own_reason(share: float, is_progressive: bool):
    data = photo_bytes(640, 480, progressive=is_progressive)
    assert refusal(data[: int(len(data) * share)]).reason == "truncated"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}])
def test_decode_image__refuses_what_pillow_refuses(options: dict[str, object]):
    data = encode(smooth(256, 200), "JPEG", quality=90, **options)
    for end in range(len(data) - 300, len(data) + 1, 7):
        truncated = data[:end]
        try:
            with Image.open(io.BytesIO(truncated)) as image:
                image.load()
            is_whole = True
        except OSError:
            is_whole = False
        if is_whole:
            inspect_image(truncated)
            decode_image(truncated)
        else:
            refusal(truncated)


def test_inspect_image__decompression_bomb_is_refused_by_its_header():
    error = refusal(png(50_000, 50_000))
    assert (error.reason, error.detail) == ("too-large", f"more than {MAX_PIXELS:,} pixels")


def test_inspect_image__text_that_unpacks_to_too_much():
    data = encode(smooth(50, 30), "PNG")
    text = b"zTXt" + b"Comment\0\0" + zlib.compress(b"\0" * 10**8)
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    error = refusal(data[:33] + chunk + data[33:])  # after the header: 8 + 25 bytes
    assert error.reason == "undecodable"
    assert "Decompressed data too large" in error.detail


def test_inspect_image__pixel_limit():
    data = encode(smooth(50, 30), "PNG")
    assert inspect_image(data, max_pixels=1500).width == 50
    error = refusal(data, max_pixels=1499)
    assert (error.reason, error.detail) == ("too-large", "50×30 px, the limit is 1,499 pixels")


def test_inspect_image__sides_fit_a_tile_id():
    black = zlib.compress(b"\0" * (1 + 99_999 // 8 + 1))
    assert inspect_image(png(99_999, 1, depth=1, color=0, body=black)).width == 99_999
    error = refusal(png(100_000, 1, depth=1, color=0, body=black))
    assert (error.reason, error.detail) == (
        "too-large",
        "100000×1 px, the limit is 99,999 px per side",
    )


def test_inspect_image__prints_nothing():
    damaged = encode(smooth(50, 30), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    large = png(12_000, 12_000, depth=1, color=0)
    script = f"""
from dino_assets.images.decoding import decode_image
from dino_assets.images.inspection import inspect_image
from dino_assets.errors import UnusableImageError
for data in ({damaged!r}, {large!r}):
    try:
        inspect_image(data)
        print(decode_image(data).shape[1])
    except UnusableImageError as error:
        print(error.reason)
"""
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert (process.stdout, process.stderr) == ("50\ntruncated\n", "")


# --- fuzz -----------------------------------------------------------------------------------

SEEDS = {kind: photo_bytes(24, 16, kind=kind) for kind in FORMATS}


REASONS = {
    "empty", "not-an-image", "too-large", "animated", "unsupported-mode", "truncated", "undecodable",
    "missing-extra",
}  # fmt: skip


def outcome(data: bytes) -> str:
    """Facts or a refusal, as text; any other exception escapes."""
    try:
        facts = inspect_image(data, max_pixels=10**6)
        assert decode_image(data).shape == (facts.height, facts.width, 3)
        return str(facts)
    except UnusableImageError as error:
        return str(error)


def check(data: bytes) -> None:
    text = outcome(data)
    assert text.startswith("ImageFacts(") or text.partition(":")[0] in REASONS
    assert len(text) < 500
    # It goes into a committed row, so it must be the same every time.
    assert text == outcome(data)


@FUZZ
@given(data=st.binary(max_size=400))
@example(data=b"\xff\xd8\xff")
@example(data=b"BM")
@example(data=b"II*\0")
def test_inspect_image__random_bytes(data: bytes):
    check(data)


@FUZZ
@given(
    kind=st.sampled_from(FORMATS),
    edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.integers(0, 3000),
)
def test_inspect_image__damaged_files_never_raise_anything_else(
    kind: str, edits: list[tuple[int, int]], cut: int
):
    data = bytearray(SEEDS[kind])
    for position, value in edits:
        data[position % len(data)] = value
    check(bytes(data[: max(1, cut)]))


def test_inspect_image__in_many_threads():
    files = [photo_bytes(40 + n, 30, seed=n, kind=FORMATS[n % 5]) for n in range(60)]
    with ThreadPoolExecutor(8) as pool:
        all_facts = list(pool.map(inspect_image, files))
    assert [facts.width for facts in all_facts] == [40 + n for n in range(60)]
    assert [facts.image_id for facts in all_facts] == [hashlib.sha256(f).hexdigest() for f in files]


# --- verdicts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usable", "quarantined", "passed", "warns"),
    [
        (10, 0, True, False),
        (9, 1, True, True),
        (8, 2, True, True),
        (7, 3, False, False),
        (1, 2, True, True),
        (95, 5, True, True),
        (94, 6, False, False),
        (56, 3, False, False),
        (57, 3, True, True),
        (0, 0, False, False),
        (0, 1, False, False),
    ],
)
def test_judge_quarantine__thresholds(usable: int, quarantined: int, passed: bool, warns: bool):
    verdict = judge_quarantine("d", usable=usable, quarantined=quarantined)
    assert (verdict.subject, verdict.passed, verdict.warns) == ("d", passed, warns)
    assert f"{usable} of {usable + quarantined} files are usable" in verdict.sentence


def test_judge_quarantine__sentences():
    assert judge_quarantine("d", usable=0, quarantined=4).sentence.endswith(
        "at least one usable photograph"
    )
    assert judge_quarantine("d", usable=4, quarantined=3).sentence.endswith(
        "3 quarantined: more than the 2 allowed. Copy the bad files again, or remove them"
    )
