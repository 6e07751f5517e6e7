"""Scores of a picture from its pixels: sharpness, exposure, and a hash that finds near duplicates."""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dino_assets.images.records import PixelScores

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_LINEAR_WEIGHTS = (0.2126, 0.7152, 0.0722)
MIDDLE_GRAY = 0.18
DARK, BRIGHT = 2, 253
# Sharpness is measured at full size, but only in a grid of blocks: 20 MP cost as much as 1 MP.
GRID, BLOCK_PX = 12, 96
STRONGEST_SHARE = 0.1
# Exposure, hash and thumbnail come from a regular sample of about this many pixels.
SAMPLE_PIXELS = 1_000_000
LOOK_SIDE = 16
LOOK_BYTES = LOOK_SIDE * LOOK_SIDE // 8
# A smaller step in brightness is not structure but sky, snow or a lens cap.
LOOK_STEP = 1.5
# A hash with fewer bits set, or unset, than this has too little structure to be compared.
LOOK_MIN_BITS = 24
LOOK_MAX_BITS = 24
THUMB_PX, THUMB_QUALITY = 128, 60
# In a blurred picture, rounding exceeds the finest detail. So a little coarser detail is added, which keeps
# blurred pictures in the order of their sharpness.
COARSE_PX, COARSE_WEIGHT = 4, 1 / 64
# Rounding to 8 bit alone makes this much Laplacian energy per pixel (20 × 1/12 × the squared luma
# weights). If it were not subtracted, a blurred faint picture would score sharper than a less blurred one.
_ROUNDING = 20 / 12 * float(np.square(LUMA).sum())
_FLOOR = 4.0
# Of two near duplicates, the smaller reach is at least this share of the larger one. Otherwise the pictures
# were taken from different heights.
SIMILAR_REACH = 0.8
_PAIR_ROWS = 2048
_EXPANDED = np.arange(256) / 255
_TO_LINEAR = np.where(_EXPANDED <= 0.04045, _EXPANDED / 12.92, ((_EXPANDED + 0.055) / 1.055) ** 2.4)


def score_pixels(pixels: NDArray[np.uint8]) -> PixelScores:
    """Score upright RGB pixels (H, W, 3).

    ``sharpness`` has no unit. It is the energy of the finest detail divided by the energy of all contrast,
    and depends on blur but hardly on exposure. ``contrast`` says whether the picture has anything that could
    be sharp. Both are measured at full size, in blocks. In a picture above a megapixel, the other scores are
    measured in a regular sample of its pixels. ``dark_share`` is the share of pixels with a brightness of at
    most 2, ``bright_share`` that of pixels with at least 253.
    """
    height, width = pixels.shape[:2]
    step = max(1, round(math.sqrt(height * width / SAMPLE_PIXELS)))
    sample = np.ascontiguousarray(pixels[step // 2 :: step, step // 2 :: step])
    if not sample.size:  # a side of one or two pixels
        sample = np.ascontiguousarray(pixels[::step, ::step])
    small = Image.fromarray(sample)
    luma = small.convert("L")
    counts = np.array(luma.histogram())
    sharpness, contrast = measure_sharpness(pixels)
    return PixelScores(
        sharpness=sharpness,
        contrast=contrast,
        exposure_ev=measure_exposure(sample),
        dark_share=float(counts[: DARK + 1].sum() / counts.sum()),
        bright_share=float(counts[BRIGHT:].sum() / counts.sum()),
        look=_hash_structure(luma),
        thumb=draw_thumb(small),
    )


def measure_sharpness(pixels: NDArray[np.uint8]) -> tuple[float, float]:
    """Measure sharpness and contrast of pixels (H, W, 3) on a fixed grid of blocks; 0 for a flat picture.

    Sharpness is the energy of the Laplacian divided by the variance of brightness. Contrast is the standard
    deviation of brightness, in levels, in the tenth of the blocks where it is largest. Where there are edges,
    blur reduces contrast by a third at most. The contrast of calm water, sand and snow is only a few levels.

    Above a sharpness of 0.02, more blur always means lower sharpness. Below 0.02, rounding to 8 bit weighs as
    much as the remaining detail: a picture can score a few percent above a less blurred one.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < 3:
        return 0.0, 0.0
    detail, variances = 0.0, list[float]()
    for top in _block_starts(height):
        for left in _block_starts(width):
            # In one order in memory, since the product adds up in another way for another order.
            colours = pixels[top : top + BLOCK_PX, left : left + BLOCK_PX].astype(np.float32, "C")
            block = colours @ LUMA
            detail += _measure_detail(block, step_px=1) + COARSE_WEIGHT * _measure_detail(
                block, step_px=COARSE_PX
            )
            variances.append(float(block.var(dtype=np.float64)))
    strongest = sorted(variances)[-max(1, round(STRONGEST_SHARE * len(variances))) :]
    contrast = math.sqrt(sum(strongest) / len(strongest))
    return detail / sum(variance + _FLOOR for variance in variances), contrast


def _measure_detail(block: NDArray[np.float32], *, step_px: int) -> float:
    """Measure the mean squared Laplacian over a distance of ``step_px``, minus the energy of rounding."""
    if min(block.shape) <= 2 * step_px:
        return 0.0
    here, near, far = slice(step_px, -step_px), slice(None, -2 * step_px), slice(2 * step_px, None)
    laplace = block[near, here] + block[far, here] + block[here, near] + block[here, far]
    laplace -= 4 * block[here, here]
    return max(0.0, float(np.square(laplace).mean(dtype=np.float64)) - _ROUNDING)


def measure_exposure(pixels: NDArray[np.uint8]) -> float:
    """Measure the mean linear luminance of pixels (H, W, 3), in stops from middle gray.

    A mean below a quarter of level 1 counts as that quarter, so that a black picture has a finite value.
    """
    counts = np.array(Image.fromarray(pixels).histogram(), np.float64).reshape(3, 256)
    linear = float(np.array(_LINEAR_WEIGHTS) @ counts @ _TO_LINEAR) / (pixels.size // 3)
    return math.log2(max(linear, float(_TO_LINEAR[1]) / 4) / MIDDLE_GRAY)


def find_near_duplicates(
    hashes: NDArray[np.uint8],
    *,
    max_bits: int = LOOK_MAX_BITS,
    places_m: NDArray[np.float64] | None = None,
    reach_m: NDArray[np.float64] | None = None,
) -> list[tuple[int, int]]:
    """Pair each picture with the first similar one before it; return pairs i < j, at most one per j.

    ``hashes`` (N, 32) are the pictures' ``look``. Two pictures are similar if at most ``max_bits`` bits of
    their hashes differ. If ``places_m`` (N, any axes) and ``reach_m`` (N,) are given, similar pictures must
    also show the same ground. Their places must not be farther apart than the smaller of the two reaches. The
    larger reach must be at most a quarter more than the smaller. NaN means that a place or reach is unknown.
    A picture with an unknown place or reach is paired only with another such picture.

    All hashes are compared, so the result is exact. Similar pictures of one scene are all paired with the
    first of them. A hash with fewer than 24 ones, or fewer than 24 zeros, belongs to a picture without
    structure (black, sky, snow). Such a picture has no pair. Memory holds 2,048 x 2,048 distances at a time.
    """
    bits = np.unpackbits(np.ascontiguousarray(hashes, np.uint8), axis=1)
    ones = bits.sum(1, dtype=np.int64)
    structured = np.flatnonzero(np.minimum(ones, bits.shape[1] - ones) >= LOOK_MIN_BITS)
    signs = bits[structured].astype(np.float32) * 2 - 1
    ground = None
    if places_m is not None and reach_m is not None:
        ground = np.column_stack([reach_m, places_m]).astype(np.float64)[structured]
    # Agreeing bits minus differing ones: exact, since whole numbers up to 256 are exact in float32.
    enough = np.float32(bits.shape[1] - 2 * max_bits)
    pairs: list[tuple[int, int]] = []
    for top in range(0, len(structured), _PAIR_ROWS):
        later = np.arange(top, min(top + _PAIR_ROWS, len(structured)))
        first = np.full(len(later), -1)
        for left in range(0, top + 1, _PAIR_ROWS):
            rows = np.flatnonzero(first < 0)  # rows without a pair so far
            before = slice(left, left + _PAIR_ROWS)
            is_alike = signs[later[rows]] @ signs[before].T >= enough
            if left == top:
                is_alike &= np.arange(is_alike.shape[1]) < (later[rows] - top)[:, None]
            is_hit = is_alike.any(1)
            rows, is_alike = rows[is_hit], is_alike[is_hit]
            if ground is not None and len(rows):
                is_alike &= _share_ground(ground[later[rows]], ground[before])
                is_hit = is_alike.any(1)
                rows, is_alike = rows[is_hit], is_alike[is_hit]
            if len(rows):
                first[rows] = left + is_alike.argmax(1)
        has_like = first >= 0
        earlier, later = structured[first[has_like]], structured[later[has_like]]
        pairs.extend(zip(earlier.tolist(), later.tolist(), strict=True))
    return pairs


def _share_ground(ones: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Compare each (reach, place) of one list with each of another; return bool (N, M).

    True means that both pictures show the same ground, or that the place or reach of both is unknown.
    """
    smaller = np.minimum(ones[:, None, 0], others[None, :, 0])
    is_near = SIMILAR_REACH * np.maximum(ones[:, None, 0], others[None, :, 0]) <= smaller
    squares = np.zeros_like(smaller)
    for axis in range(1, ones.shape[1]):
        squares += np.square(ones[:, None, axis] - others[None, :, axis])
    is_near &= squares <= np.square(smaller)  # NaN is never near
    return is_near | np.logical_and.outer(np.isnan(ones).any(1), np.isnan(others).any(1))


def _block_starts(length: int) -> list[int]:
    """List where blocks start along one side: end to end on a short side, else evenly spread."""
    if length <= BLOCK_PX * GRID:
        return list(range(0, max(1, length - 2), BLOCK_PX))
    return [round(n * (length - BLOCK_PX) / (GRID - 1)) for n in range(GRID)]


def _hash_structure(luma: Image.Image) -> bytes:
    size = LOOK_SIDE + 1, LOOK_SIDE
    cells = np.asarray(luma.convert("F").resize(size, Image.Resampling.BOX))
    return np.packbits(np.diff(cells, axis=1) > LOOK_STEP).tobytes()


def draw_thumb(image: Image.Image) -> bytes:
    """Draw a picture as a small WebP thumbnail."""
    scale = min(1.0, THUMB_PX / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    sink = io.BytesIO()
    image.resize(size, Image.Resampling.BOX).save(sink, "WEBP", quality=THUMB_QUALITY)
    return sink.getvalue()
