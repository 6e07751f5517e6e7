"""Scores that move the way a person would say: blur down, light up, the same picture alike."""

import io
import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from dino_assets.demo.flights.draw import draw_flights
from dino_assets.images.decoding import decode_image
from dino_assets.images.report.findings import LEAST_CONTRAST
from dino_assets.images.scores import (
    BLOCK_PX,
    GRID,
    LOOK_MAX_BITS,
    find_near_duplicates,
    measure_exposure,
    score_pixels,
)

Pixels = np.ndarray


def blur(pixels: Pixels, sigma: float) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))


def expose(pixels: Pixels, stops: float) -> Pixels:
    """More or less light on the sensor, clipped as it clips."""
    value = np.arange(256) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear * 2**stops, 0, 1)
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(srgb * 255).astype(np.uint8)[pixels]


def encode(pixels: Pixels, quality: int) -> Pixels:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG", quality=quality)
    return decode_image(sink.getvalue())


def texture(
    width: int = 700, height: int = 500, *, seed: int = 0, grain: float = 5, coarse_px: int = 6
) -> Pixels:
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for size in (coarse_px * 16, coarse_px * 4, coarse_px):
        cells = rng.normal(0, 18, (height // size + 2, width // size + 2)).astype(np.float32)
        layer = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(layer)[..., None]
    noise = rng.normal(0, grain, total.shape) if grain else 0
    return np.clip(110 + total + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def flight(tmp_path_factory: pytest.TempPathFactory) -> list[Pixels]:
    """Neighbours of a drawn flight."""
    folder = tmp_path_factory.mktemp("flights")
    draw_flights(folder, scale=0.25)
    files = sorted((folder / "ridge-north").rglob("*.JPG"))
    return [decode_image(path.read_bytes()) for path in files]


PICTURES = {
    "grainy": texture(),
    "clean": texture(grain=0),
    "fine": texture(coarse_px=2, grain=0),
    "coarse": texture(coarse_px=20),
    "noise": np.random.default_rng(0).normal(128, 30, (400, 500, 3)).clip(0, 255).astype(np.uint8),
    "edges": ((np.indices((400, 500)).sum(0) // 40 % 2)[..., None] * [150, 140, 90] + 40).astype(
        np.uint8
    ),
}


# --- sharpness ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PICTURES)
def test_score_pixels__sharpness_falls_with_blur(name: str):
    scores = [score_pixels(PICTURES[name]).sharpness]
    scores += [score_pixels(blur(PICTURES[name], sigma)).sharpness for sigma in (1, 2, 4)]
    assert scores[0] > scores[1] > scores[2] > scores[3] >= 0


def test_score_pixels__sharpness_falls_with_blur_in_a_flight(flight: list[Pixels]):
    for pixels in flight:
        scores = [
            score_pixels(p).sharpness for p in (pixels, *(blur(pixels, s) for s in (1, 2, 4)))
        ]
        assert scores[0] > 3 * scores[1] > 9 * scores[2] > 18 * scores[3]


def test_score_pixels__finds_the_blurred_picture_of_a_flight(flight: list[Pixels]):
    sharp = [score_pixels(pixels).sharpness for pixels in flight]
    median = float(np.median(sharp))
    for sigma in (2, 4):
        for pixels in flight:
            assert score_pixels(blur(pixels, sigma)).sharpness < 0.2 * median


@pytest.mark.parametrize("stops", [-2, -1, -0.5, 0.5, 1])
def test_score_pixels__sharpness_is_independent_of_exposure(stops: float):
    sharpness = score_pixels(PICTURES["grainy"]).sharpness
    assert score_pixels(expose(PICTURES["grainy"], stops)).sharpness == pytest.approx(
        sharpness, rel=0.25
    )


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_score_pixels__flat_pictures_are_not_sharp(level: int):
    scores = score_pixels(np.full((200, 300, 3), level, np.uint8))
    assert (scores.sharpness, scores.contrast) == (0, pytest.approx(0, abs=1e-3))


def test_score_pixels__sharpness_covers_every_corner():
    far = 1500 - 60
    for top, left in ((0, 0), (0, far), (far, 0), (far, far)):
        pixels = np.full((1500, 1500, 3), 90, np.uint8)
        pixels[top : top + 60, left : left + 60] = texture(60, 60)
        assert score_pixels(pixels).sharpness > 0.1


def test_score_pixels__a_checkerboard_by_hand():
    """Laplacian ±200 at one pixel and none at four, over a variance of 25² and the floor of 4."""
    board = (np.indices((50, 50)).sum(0) % 2 * 50 + 100).astype(np.uint8)
    pixels = np.repeat(board[..., None], 3, 2)
    rounding = 20 / 12 * (0.299**2 + 0.587**2 + 0.114**2)
    expected = (200**2 - rounding) / (25**2 + 4)
    scores = score_pixels(pixels)
    assert scores.sharpness == pytest.approx(expected, rel=1e-4)
    assert scores.contrast == pytest.approx(25)


def smooth(*, falls: float, levels: float, brightness: float, seed: int = 0) -> Pixels:
    """Shades without edges, and a little noise: calm water, sand, snow or fog from above."""
    height, width = 1200, 1600
    rng = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = 1
    noise = np.fft.rfft2(rng.normal(size=(height, width)))
    shades = np.fft.irfft2(noise * frequency**-falls, s=(height, width))
    shades *= levels / shades.std()
    gray = brightness + shades + rng.normal(0, 0.7, shades.shape)
    return np.repeat(np.clip(gray, 0, 255).astype(np.uint8)[..., None], 3, 2)


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize(
    ("falls", "levels", "brightness"), [(1.5, 6, 70), (1.7, 10, 170), (2, 5, 235), (2.2, 25, 150)]
)
def test_score_pixels__smooth_scenes_have_no_contrast(quality, falls, levels, brightness):
    pixels = smooth(falls=falls, levels=levels, brightness=brightness)
    assert score_pixels(encode(pixels, quality)).contrast < LEAST_CONTRAST


def test_score_pixels__blur_leaves_contrast(flight: list[Pixels]):
    for pixels in flight:
        for sigma in (0, 2, 4, 8):
            assert score_pixels(encode(blur(pixels, sigma), 90)).contrast > 2 * LEAST_CONTRAST


# --- exposure -------------------------------------------------------------------------------


def test_measure_exposure__by_hand():
    gray = np.full((4, 5, 3), 118, np.uint8)  # 18 % gray is 117.6 in sRGB
    assert measure_exposure(gray) == pytest.approx(0, abs=0.02)
    assert measure_exposure(np.full((4, 5, 3), 255, np.uint8)) == pytest.approx(np.log2(1 / 0.18))
    assert np.isfinite(measure_exposure(np.zeros((4, 5, 3), np.uint8)))
    green = np.array([[[0, 255, 0]]], np.uint8)
    assert measure_exposure(green) == pytest.approx(np.log2(0.7152 / 0.18))


@pytest.mark.parametrize("name", PICTURES)
def test_score_pixels__exposure_rises_with_light(name: str):
    exposures = [score_pixels(expose(PICTURES[name], s)).exposure_ev for s in (-2, -1, 0, 1, 2)]
    assert exposures == sorted(set(exposures))
    assert exposures[1] - exposures[0] == pytest.approx(1, abs=0.1)


def test_score_pixels__shares_by_hand():
    pixels = np.full((10, 10, 3), 100, np.uint8)
    pixels[0], pixels[1], pixels[2:5], pixels[5] = 2, 3, 253, 252
    scores = score_pixels(pixels)
    assert (scores.dark_share, scores.bright_share) == (0.1, 0.3)


def test_score_pixels__clipped_shares_follow_the_light(flight: list[Pixels]):
    scores = [score_pixels(expose(flight[0], stops)) for stops in (-6, 0, 4)]
    assert scores[0].dark_share > 0.1 > scores[1].dark_share >= scores[2].dark_share
    assert scores[2].bright_share > 0.1 > scores[1].bright_share >= scores[0].bright_share


# --- looks ----------------------------------------------------------------------------------


def distance(one: Pixels, other: Pixels) -> int:
    looks = [np.frombuffer(score_pixels(p).look, np.uint8) for p in (one, other)]
    return int(np.unpackbits(looks[0] ^ looks[1]).sum())


def test_score_pixels__look_by_hand():
    ramp = np.repeat(np.repeat(np.arange(17, dtype=np.uint8) * 10, 10)[None, :, None], 160, 0)
    rising = np.repeat(ramp, 3, 2)
    assert score_pixels(rising).look == b"\xff" * 32
    assert score_pixels(rising[:, ::-1]).look == bytes(32)
    assert score_pixels(np.full((50, 60, 3), 77, np.uint8)).look == bytes(32)


def test_score_pixels__same_picture_is_a_near_duplicate(flight: list[Pixels]):
    for pixels in (*flight[:3], PICTURES["coarse"]):
        height, width = pixels.shape[:2]
        halved = np.asarray(Image.fromarray(pixels).resize((width // 2, height // 2)))
        variants = [encode(pixels, 60), encode(pixels, 95), halved, expose(pixels, 0.5)]
        variants += [expose(pixels, -0.5)]
        for variant in variants:
            assert distance(pixels, variant) <= LOOK_MAX_BITS // 2


def test_score_pixels__neighbours_are_not_near_duplicates(flight: list[Pixels]):
    for one, other in itertools.pairwise(flight):
        assert distance(one, other) > 2 * LOOK_MAX_BITS
    wide = flight[0]
    height = wide.shape[0] // 2
    assert distance(wide[:height], wide[height // 5 : height // 5 + height]) > 2 * LOOK_MAX_BITS


def hashes_with(*flipped: int) -> Pixels:
    """Make a hash of 128 ones, and copies with some bits inverted."""
    rng = np.random.default_rng(0)
    base = rng.permutation(np.repeat([0, 1], 128)).astype(np.uint8)
    rows = []
    for count in flipped:
        row = base.copy()
        row[:count] ^= 1
        rows.append(np.packbits(row))
    return np.array(rows)


def test_find_near_duplicates__by_hand():
    looks = hashes_with(0, 100, 10, 60)
    assert find_near_duplicates(looks, max_bits=10) == [(0, 2)]
    assert find_near_duplicates(looks, max_bits=50) == [(0, 2), (1, 3)]  # 3 is like 2 too
    assert find_near_duplicates(looks, max_bits=0) == []
    assert find_near_duplicates(hashes_with(0, 100, 24)) == [(0, 2)]
    assert find_near_duplicates(hashes_with(0, 25)) == []
    assert find_near_duplicates(hashes_with(5, 5), max_bits=0) == [(0, 1)]


@pytest.mark.parametrize("count", [0, 1])
def test_find_near_duplicates__none_to_compare(count: int):
    assert find_near_duplicates(np.zeros((count, 32), np.uint8)) == []


def test_find_near_duplicates__no_pairs_without_structure():
    bits = np.zeros(256, np.uint8)
    bits[:23] = 1
    looks = np.concatenate([np.zeros((2, 32), np.uint8), np.full((2, 32), 255, np.uint8)])
    looks = np.concatenate([looks, np.packbits([bits, bits, 1 - bits, 1 - bits], axis=1)])
    assert find_near_duplicates(looks) == []
    bits[23] = 1
    assert find_near_duplicates(np.packbits([bits, bits], axis=1)) == [(0, 1)]


def test_score_pixels__skies_have_no_structure():
    rng = np.random.default_rng(0)
    # Darker towards both edges, as every lens makes it: the same steps in every such picture.
    gradient = 160 - np.abs(np.linspace(-10, 10, 600))[None, :, None] + np.zeros((400, 1, 1))
    skies = [
        np.clip(gradient + rng.normal(0, 3, (400, 600, 3)), 0, 255).astype(np.uint8) for _ in "ab"
    ]
    looks = np.stack([np.frombuffer(score_pixels(sky).look, np.uint8) for sky in skies])
    assert find_near_duplicates(looks) == []


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(2, 40), max_bits=st.integers(0, 130))
def test_find_near_duplicates__equals_the_naive_definition(seed: int, count: int, max_bits: int):
    rng = np.random.default_rng(seed)
    looks = rng.integers(0, 256, (count, 32), dtype=np.uint8)
    looks[count // 2 :] = looks[: count - count // 2] ^ rng.choice([0, 0, 1, 128], (1, 32)).astype(
        np.uint8
    )
    bits = np.unpackbits(looks, axis=1)
    places, reach = rng.integers(0, 4, (count, 2)).astype(float), rng.choice([1.0, 1.2, 3], count)
    places[rng.random(count) < 0.2] = np.nan

    def alike(i: int, j: int) -> bool:
        are_structured = all(24 <= bits[n].sum() <= 232 for n in (i, j))
        return are_structured and (bits[i] != bits[j]).sum() <= max_bits

    def share_ground(i: int, j: int) -> bool:
        are_unknown = [bool(np.isnan(places[n, 0])) for n in (i, j)]
        if any(are_unknown):
            return all(are_unknown)
        shorter, longer = sorted((reach[i], reach[j]))
        return bool(np.hypot(*(places[i] - places[j])) <= shorter >= 0.8 * longer)

    def first_of(j: int, *, is_placed: bool) -> list[tuple[int, int]]:
        matches = (i for i in range(j) if alike(i, j) and (not is_placed or share_ground(i, j)))
        return [(i, j) for i in itertools.islice(matches, 1)]

    expected = [pair for j in range(count) for pair in first_of(j, is_placed=False)]
    assert find_near_duplicates(looks, max_bits=max_bits) == expected
    expected = [pair for j in range(count) for pair in first_of(j, is_placed=True)]
    pairs = find_near_duplicates(looks, max_bits=max_bits, places_m=places, reach_m=reach)
    assert pairs == expected


def test_find_near_duplicates__series_is_paired_with_its_first():
    """Pairs grow with the pictures, not with their square: 12 million of these would be alike."""
    looks = np.repeat(hashes_with(0), 5000, axis=0)
    assert find_near_duplicates(looks) == [(0, j) for j in range(1, 5000)]
    places = np.repeat([[0.0, 0.0], [9.0, 0.0]], 2500, axis=0)
    pairs = find_near_duplicates(looks, places_m=places, reach_m=np.ones(5000))
    assert pairs == [(0, j) for j in range(1, 2500)] + [(2500, j) for j in range(2501, 5000)]


def test_find_near_duplicates__memory_is_limited():
    looks = np.repeat(hashes_with(0), 9000, axis=0)
    places, reach = np.zeros((9000, 3)), np.ones(9000)
    tracemalloc.start()
    try:
        assert len(find_near_duplicates(looks, places_m=places, reach_m=reach)) == 8999
        assert (
            tracemalloc.get_traced_memory()[1] < 200e6
        )  # all distances are 320 MB, all pairs 4 GB
    finally:
        tracemalloc.stop()


def test_find_near_duplicates__of_the_same_ground():
    looks = np.repeat(hashes_with(0), 6, axis=0)
    places = np.array([[0, 0], [10, 0], [0, 1], [10, 1.1], [np.nan, 0], [np.nan, np.nan]])
    reach = np.array([1, 1, 1.25, 1, np.nan, 5])
    pairs = find_near_duplicates(looks, places_m=places, reach_m=reach)
    assert pairs == [(0, 2), (4, 5)]
    reach[2] = 1.26  # from so much higher it is another picture
    assert find_near_duplicates(looks, places_m=places, reach_m=reach) == [(4, 5)]
    assert len(find_near_duplicates(looks)) == 5


def test_find_near_duplicates__beyond_one_block_of_rows():
    rng = np.random.default_rng(0)
    looks = rng.integers(0, 256, (5000, 32), dtype=np.uint8)
    for i, j in ((2047, 2048), (4096, 4097), (0, 4999)):
        looks[j] = looks[i]
    assert find_near_duplicates(looks) == [(2047, 2048), (4096, 4097), (0, 4999)]


# --- any picture ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width"),
    [
        (1, 1),
        (1, 2),
        (2, 1),
        (3, 200),
        (200, 3),
        (1, 30_000),
        (200, 30_000),
        (30_000, 200),
        (97, 1153),
    ],
)
def test_score_pixels__odd_sizes(height: int, width: int):
    rng = np.random.default_rng(0)
    scores = score_pixels(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    numbers = [
        scores.sharpness,
        scores.contrast,
        scores.exposure_ev,
        scores.dark_share,
        scores.bright_share,
    ]
    assert np.isfinite(numbers).all()
    assert len(scores.look) == 32
    with Image.open(io.BytesIO(scores.thumb)) as thumb:
        thumb.load()
        assert thumb.format == "WEBP"
        assert max(thumb.size) == min(128, max(width, height)) or max(width, height) > 128


def test_score_pixels__thumb():
    scores = score_pixels(texture(3000, 2000))
    with Image.open(io.BytesIO(scores.thumb)) as thumb:
        assert thumb.size == (128, 85)
        thumb_pixels = np.asarray(thumb.convert("RGB")).astype(int)
    expected = np.asarray(
        Image.fromarray(texture(3000, 2000)).resize((128, 85), Image.Resampling.BOX)
    )
    assert np.abs(thumb_pixels - expected).mean() < 8
    assert len(scores.thumb) < 8000


def test_score_pixels__is_deterministic_and_keeps_the_pixels():
    pixels = texture()
    pixels.flags.writeable = False
    assert score_pixels(pixels) == score_pixels(pixels.copy())
    transposed = np.ascontiguousarray(pixels.transpose(1, 0, 2)).transpose(1, 0, 2)
    assert score_pixels(transposed) == score_pixels(pixels)


def test_score_pixels__blocks_are_end_to_end_or_spread():
    assert BLOCK_PX * GRID == 1152  # what a change would make slower, or blind
