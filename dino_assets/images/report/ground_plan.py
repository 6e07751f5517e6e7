"""Plan of footprints in metres, and the ground area that they cover."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image, ImageDraw

from dino_assets.images.records import OBLIQUE
from dino_assets.images.report.findings import order_flight
from dino_assets.images.report.shots import Shot
from dino_assets.numerics.earth import SPHERE_M_PER_DEGREE

# Footprints farther away are left out: on one plan with them, all footprints would be too small.
FAR_M = 20_000.0
AREA_SIDE_PX = 600
# Pixels across a typical footprint when areas are measured; a third of them above MAX_FOOTPRINTS footprints.
FOOTPRINT_PX = 150
MAX_FOOTPRINTS = 3000  # drawn at most; areas of more footprints are measured at lower resolution
MAX_SHEETS = 2000


@dataclass(frozen=True)
class Ground:
    """Footprints on a plane: ``corners`` (N, 4, 2) in metres east and north, in the order of flight.

    ``rows`` are the indices of their shots. ``far`` are the indices of shots too far away to be included.
    """

    rows: list[int]
    corners: np.ndarray
    far: list[int]


def project_footprints(shots: Sequence[Shot]) -> Ground:
    """Project footprints to a plane around their median, also across the antimeridian."""
    placed = [
        i
        for i in order_flight(shots)
        if (c := shots[i].corners) is not None and len(c) == 4 and np.isfinite(c).all()
    ]
    if not placed:
        return Ground([], np.zeros((0, 4, 2)), [])
    degrees = np.array([shots[i].corners for i in placed], np.float64)
    turns = np.radians(degrees[:, 0, 0])
    around = math.degrees(math.atan2(np.sin(turns).sum(), np.cos(turns).sum()))
    degrees[..., 0] = (degrees[..., 0] - around + 180) % 360 - 180
    middle = np.median(degrees.mean(axis=1), axis=0)
    metres = (degrees - middle) * SPHERE_M_PER_DEGREE
    metres[..., 0] *= math.cos(math.radians(middle[1]))
    near = np.hypot(*metres.mean(axis=1).T) <= FAR_M
    if not near.any():  # two equally large places, with the median between them
        near = np.hypot(*(metres - metres[0]).mean(axis=1).T) <= FAR_M
    rows = [row for row, is_near in zip(placed, near, strict=True) if is_near]
    far = [row for row, is_near in zip(placed, near, strict=True) if not is_near]
    return Ground(rows, metres[near], far)


def measure_area(shots: Sequence[Shot], ground: Ground) -> float:
    """Measure the ground area in m², to a few percent, that is covered by pictures taken straight down.

    Overlaps are counted once. Oblique pictures are left out.
    """
    down = [i for i, row in enumerate(ground.rows) if shots[row].quality not in OBLIQUE]
    if not down:
        return 0.0
    corners = ground.corners[down]
    low, high = corners.min(axis=1), corners.max(axis=1)
    # The resolution follows the footprints' size. The plane is cut into sheets, because flights may be far apart.
    across_px = FOOTPRINT_PX if len(down) <= MAX_FOOTPRINTS else FOOTPRINT_PX / 3
    pixel_m = max(float(np.median((high - low).max(axis=1))) / across_px, 1e-3)
    sheet_m = pixel_m * AREA_SIDE_PX
    first, last = (np.floor(edge / sheet_m).astype(int) for edge in (low, high))
    # A footprint smaller than a sheet touches four sheets at most.
    while np.prod(last - first + 1, axis=1).sum() > 4 * len(corners) + MAX_SHEETS:
        pixel_m, sheet_m = 2 * pixel_m, 2 * sheet_m
        first, last = (np.floor(edge / sheet_m).astype(int) for edge in (low, high))
    sheets: dict[tuple[int, int], list[int]] = {}
    for number, ((x0, y0), (x1, y1)) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        for place in product(range(x0, x1 + 1), range(y0, y1 + 1)):
            sheets.setdefault(place, []).append(number)
    covered = 0
    for place, numbers in sheets.items():
        mask = Image.new("1", (AREA_SIDE_PX, AREA_SIDE_PX))
        draw = ImageDraw.Draw(mask)
        # A pixel is drawn if its middle is inside, so errors of half a pixel cancel on average.
        for shape in (corners[numbers] - np.array(place) * sheet_m) / pixel_m - 0.5:
            draw.polygon([tuple(point) for point in shape.tolist()], fill=1)
        covered += int(np.asarray(mask).sum())
    return covered * pixel_m**2
