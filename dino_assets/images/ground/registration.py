"""Registration of two overlapping pictures from their pixels: how each was turned after the shot.

Both pictures are drawn on one raster with north up, as their camera views place them, once for each possible
turn. Then they are correlated, with shifts that cover the errors of position and height. Only the correct
turns put the same ground into the same cells. The correlation of wrong turns shows what chance gives on this
ground.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dino_assets.images.ground.camera import place_windows
from dino_assets.images.records import View
from dino_assets.numerics.earth import SPHERE_M_PER_DEGREE

_F32 = NDArray[np.float32]
_F64 = NDArray[np.float64]
TURNS = (0, 90, 180, 270)
# At a finer size, small errors of yaw and height spoil the correlation; at a coarser one, chance dominates.
_GRAY_SIDE_PX = 192
_LEAST_SIDE_M = 0.01  # a smaller footprint comes from a wrong height
_CELLS = 128  # of the raster, along the larger picture's long side
_FLAT_PX, _EVEN_PX = 8, 14  # brightness and contrast are evened out over this many pixels per side
_FLOOR = 2.0  # gray levels: less contrast is noise, and is not amplified
_REACH = 0.15  # of the smaller picture's short side: largest error of position, height and yaw
_LEAST_SHARED = 0.1  # of the smaller picture
# Measured strengths for wrong turns, and for pictures of other ground: 0 to 9, rarely 12.
_LEAST_STRENGTH = 13.0
_LEAST_MARGIN = 1.8


@dataclass(frozen=True)
class ContrastPicture:
    """An upright picture's local contrast (h, w) float32, its camera view, and the turns to try."""

    view: View
    contrast: _F32
    turns: tuple[int, ...]


@dataclass(frozen=True)
class Match:
    """Agreement of two pictures for one turn of each.

    ``strength`` is their correlation times the square root of the number of shared cells. So chance gives
    the same strength for small and large overlaps.
    """

    turns: tuple[int, int]
    strength: float


def draw_gray(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert upright RGB pixels (H, W, 3) to a small gray picture (h, w) for comparisons."""
    luma = Image.fromarray(pixels).convert("L")
    share = min(1.0, _GRAY_SIDE_PX / max(luma.size))
    size = max(1, round(luma.width * share)), max(1, round(luma.height * share))
    return np.asarray(luma.resize(size, Image.Resampling.BOX))


def measure_contrast(gray: NDArray[np.uint8]) -> _F32:
    """Even out brightness and contrast of a gray picture (h, w).

    Only structure remains, as values around -1 to 1.
    """
    values = gray.astype(np.float32)
    values -= _average(values, _FLAT_PX)
    spread = np.sqrt(np.maximum(_average(values * values, _EVEN_PX), 0))
    return np.asarray(np.clip(values / (spread + _FLOOR), -3, 3), np.float32)


def match_turns(one: ContrastPicture, other: ContrastPicture) -> list[Match]:
    """Compare two pictures for all combinations of their possible turns; return the matches, best first.

    The list is empty if the pictures overlap too little.
    """
    origin = one.view.longitude, one.view.latitude
    corners = [
        [_find_corners(picture.view, turn, origin) for turn in picture.turns]
        for picture in (one, other)
    ]
    sides = [np.hypot(*(shapes[0][[1, 2]] - shapes[0][[0, 1]]).T) for shapes in corners]
    if not (np.isfinite(sides).all() and np.min(sides) > _LEAST_SIDE_M):
        return []
    cell_m = float(np.max(sides)) / _CELLS
    reach = max(round(float(np.min(sides)) * _REACH / cell_m), 1)
    low = np.max([np.min(shapes, axis=(0, 1)) for shapes in corners], axis=0) - reach * cell_m
    high = np.min([np.max(shapes, axis=(0, 1)) for shapes in corners], axis=0) + reach * cell_m
    cells = np.ceil((high - low) / cell_m).astype(int)
    if (cells <= 3 * reach).any():
        return []
    laid = [
        [_lay_out(picture.contrast, shape, (low[0], high[1]), cells, cell_m) for shape in shapes]
        for picture, shapes in zip((one, other), corners, strict=True)
    ]
    least = _LEAST_SHARED * min(float(np.prod(side)) for side in sides) / cell_m**2
    size = [int(-(-(n + reach) // 16) * 16) for n in cells[::-1]]
    spectra = [[_transform(values, covered, size) for values, covered in of] for of in laid]
    matches = [
        Match((turn, other_turn), _find_peak(spectrum, other_spectrum, size, reach, least))
        for turn, spectrum in zip(one.turns, spectra[0], strict=True)
        for other_turn, other_spectrum in zip(other.turns, spectra[1], strict=True)
    ]
    return sorted(matches, key=lambda match: (-match.strength, match.turns))


def prove_turn(matches: Sequence[Match]) -> int | None:
    """Return the turn of the first of the two pictures if the matches prove it, else None.

    ``matches`` come from ``match_turns``. A turn is proven if its match is strong, and all other turns of the
    first picture match far worse.
    """
    if not matches:
        return None
    best = matches[0]
    others = [match.strength for match in matches if match.turns[0] != best.turns[0]]
    is_clear = best.strength >= _LEAST_MARGIN * max(others, default=best.strength)
    return best.turns[0] if is_clear and best.strength >= _LEAST_STRENGTH else None


def _find_corners(view: View, turn: int, origin: tuple[float, float]) -> _F64:
    """Find the corners (4, 2) of an upright picture that was turned by ``turn``.

    They are in metres east and north of ``origin``.
    """
    turned = replace(view, turned_deg=turn)
    sides = (view.width, view.height)
    width, height = sides if view.orientation < 5 else sides[::-1]
    degrees = place_windows(turned, [[0, 0, width, height]]).corners[0] - origin
    degrees[:, 0] = (degrees[:, 0] + 180) % 360 - 180
    east = np.cos(np.radians(origin[1]))
    return np.asarray(degrees * SPHERE_M_PER_DEGREE * (east, 1.0))


def _lay_out(
    contrast: _F32,
    corners: _F64,
    north_west: tuple[float, float],
    cells: NDArray[np.int_],
    cell_m: float,
) -> tuple[_F32, _F32]:
    """Draw a picture on the raster; return the cells' values, and whether it covers each cell (1 or 0)."""
    height, width = contrast.shape
    rows, wanted = [], []
    for (x, y), (u, v) in zip(
        (corners - north_west) / (cell_m, -cell_m),
        ((0, 0), (width, 0), (width, height), (0, height)),
        strict=True,
    ):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        wanted += [u, v]
    warp = tuple(np.linalg.solve(np.array(rows, np.float64), np.array(wanted, np.float64)))
    size = int(cells[0]), int(cells[1])
    kind, how = Image.Transform.PERSPECTIVE, Image.Resampling
    values = Image.fromarray(contrast).transform(size, kind, warp, how.BILINEAR)
    inside = Image.new("L", (width, height), 1).transform(size, kind, warp, how.NEAREST)
    return np.asarray(values, np.float32), np.asarray(inside, np.float32)


def _transform(values: _F32, covered: _F32, size: list[int]) -> NDArray[np.complex64]:
    values = values * covered
    spectra = np.fft.rfft2(np.stack([values, values * values, covered]), size)
    return np.asarray(spectra, np.complex64)


def _find_peak(
    one: NDArray[np.complex64],
    other: NDArray[np.complex64],
    size: list[int],
    reach: int,
    least: float,
) -> float:
    """Find the greatest strength among shifts of up to ``reach`` cells.

    A shift with fewer than ``least`` shared cells has strength 0.
    """
    (f, f2, a), (g, g2, b) = np.conj(one), other
    products = np.fft.irfft2(np.stack([f * g, f2 * b, a * g2, a * b]), size)
    around = np.r_[-reach : reach + 1]
    top, energy, other_energy, shared = products[:, around[:, None], around[None, :]]
    below = np.sqrt(np.maximum(energy, 1e-3) * np.maximum(other_energy, 1e-3))
    strengths = np.where(shared >= least, top / below * np.sqrt(np.maximum(shared, 0)), 0.0)
    return float(_average(strengths, 1).max())


def _average(values: NDArray[np.floating], aside: int) -> NDArray[np.floating]:
    """Average over squares of ``2 × aside + 1``, mirrored at the edges."""
    width = 2 * aside + 1
    padded = np.pad(values, aside, mode="symmetric").astype(np.float64)
    for axis in (0, 1):
        sums = np.cumsum(padded, axis=axis)
        sums = np.insert(sums, 0, 0.0, axis=axis)
        size = sums.shape[axis]
        ends = np.take(sums, range(width, size), axis=axis)
        padded = (ends - np.take(sums, range(size - width), axis=axis)) / width
    return padded.astype(values.dtype)
