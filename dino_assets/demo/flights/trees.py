"""Trees of a drawn map: positions, and crowns from above, drawn into height and colour."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dino_assets.demo.flights.terrain import Canvas, Colour, F, Outline, Plane, Window, lies_inside

Kind = Literal["broadleaf", "conifer", "scorched", "snag", "bush"]
PALETTE: dict[Kind, tuple[Colour, ...]] = {
    "broadleaf": ((0.28, 0.38, 0.16), (0.33, 0.43, 0.18), (0.39, 0.47, 0.22), (0.36, 0.42, 0.25)),
    "conifer": ((0.22, 0.35, 0.22), (0.25, 0.39, 0.24), (0.30, 0.40, 0.29)),
    "scorched": ((0.40, 0.26, 0.13), (0.46, 0.32, 0.17), (0.30, 0.22, 0.15)),
    "snag": ((0.10, 0.09, 0.09), (0.16, 0.14, 0.13)),
    "bush": ((0.33, 0.42, 0.17), (0.38, 0.46, 0.22)),
}
HEIGHT_PER_RADIUS: dict[Kind, float] = {
    "broadleaf": 2.9,
    "conifer": 2.9,
    "scorched": 2.7,
    "snag": 5.0,
    "bush": 1.3,
}
_VARIANTS = 5


@dataclass(frozen=True)
class Tree:
    """One tree in map metres."""

    x: float
    y: float
    radius_m: float
    kind: Kind


def scatter_trees(
    rng: np.random.Generator,
    outline: Outline,
    *,
    spacing_m: float,
    radii_m: tuple[float, float],
    kinds: tuple[Kind, ...],
    gaps: float = 0.06,
) -> list[Tree]:
    """Scatter trees over a randomised grid inside an outline; trees of one kind form groups.

    The share ``gaps`` of the places stays empty.
    """
    low, high = outline.min(0), outline.max(0)
    steps = np.maximum(1, ((high - low) / spacing_m).astype(int))
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in steps)), -1).reshape(-1, 2).astype(float)
    grid[:, 0] += 0.5 * (grid[:, 1] % 2)
    points = low + (grid + rng.uniform(0.0, 0.85, grid.shape)) * spacing_m
    size = rng.beta(1.7, 2.2, len(points))
    stands = lies_inside(points, outline) & (rng.random(len(points)) > gaps)
    wave = (
        np.sin(points[:, 0] / 13 + 1.3)
        + np.sin(points[:, 1] / 17)
        + rng.normal(0, 0.7, len(points))
    )
    rank = np.clip((wave + 2.4) / 4.8, 0, 0.999) * len(kinds)
    return [
        Tree(float(x), float(y), float(radii_m[0] + s * (radii_m[1] - radii_m[0])), kinds[int(k)])
        for (x, y), s, k, ok in zip(points, size, rank, stands, strict=True)
        if ok
    ]


def plant_trees(rng: np.random.Generator, canvas: Canvas, trees: Iterable[Tree]) -> None:
    """Draw every crown; where crowns overlap, the higher one is visible."""
    shapes, variation = rng.spawn(2)
    stamps: dict[tuple[Kind, int], list[Plane]] = {}
    for tree in trees:
        pick = int(variation.integers(64))
        dark, tall = variation.normal(0, 0.09), variation.uniform(0.8, 1.2)
        # Sizes are in steps of a fifth, so a few dozen shapes are enough for thousands of trees.
        step = round(np.log(tree.radius_m * canvas.raster.px_per_m) / 0.18)
        key = tree.kind, step
        if key not in stamps:
            stamps[key] = [
                grow_crown(shapes, tree.kind, float(np.exp(step * 0.18))) for _ in range(_VARIANTS)
            ]
        stamp = stamps[key][pick % _VARIANTS]
        stamp = np.rot90(stamp, pick // 4 % 4)[:, :: 1 if pick % 2 else -1]
        palette = PALETTE[tree.kind]
        tint = np.array(palette[pick % len(palette)], F) * F(1 + dark)
        high = tree.radius_m * HEIGHT_PER_RADIUS[tree.kind] * tall
        _stamp(canvas, (tree.x, tree.y), stamp, high=float(high), tint=tint)


def grow_crown(rng: np.random.Generator, kind: Kind, radius_px: float) -> Plane:
    """Draw a crown from above, height 0..1 in a square; 0 is open ground."""
    half = max(1, int(np.ceil(radius_px * 1.15)))
    axis = np.arange(-half, half + 1, dtype=F) / F(max(radius_px, 0.7))
    xs, ys = np.meshgrid(axis, axis)
    far, angle = np.hypot(xs, ys), np.arctan2(ys, xs)
    if kind == "snag":
        return _grow_skeleton(rng, far, angle, thin=0.09)
    if kind in ("conifer", "scorched"):
        return _grow_whorls(rng, far, angle)
    crown = np.zeros_like(far)
    for _ in range(150 if kind == "broadleaf" else 30):
        # Clumps of leaves on a dome.
        reach, turn = np.sqrt(rng.random()) * 0.88, rng.uniform(0, 2 * np.pi)
        size, base = (
            rng.uniform(0.08, 0.22),
            0.45 + 0.4 * np.sqrt(1 - reach**2) + rng.normal(0, 0.05),
        )
        columns, rows = (
            slice(*np.searchsorted(axis, (at - size, at + size)))
            for at in (reach * np.cos(turn), reach * np.sin(turn))
        )
        part = crown[rows, columns]
        aside, ahead = axis[columns] - F(reach * np.cos(turn)), axis[rows] - F(reach * np.sin(turn))
        clump = size**2 - aside[None, :] ** 2 - ahead[:, None] ** 2
        leaves = np.where(clump > 0, F(base) + np.sqrt(np.maximum(clump, 0)) * F(0.7), 0)
        np.maximum(part, leaves, out=part)
    return np.asarray(np.minimum(crown, F(1)))


def _grow_whorls(rng: np.random.Generator, far: Plane, angle: Plane) -> Plane:
    """Draw branches like spokes, in rings that get shorter towards the top."""
    crown = np.zeros_like(far)
    for ring in range(6):
        spokes = int(rng.integers(14, 22))
        reach = (1 - 0.155 * ring) * rng.uniform(0.93, 1.05)
        star = np.abs(
            np.cos(angle * F(spokes / 2) + F(rng.uniform(0, 6)) + F(0.5) * np.sin(2 * angle))
        )
        edge = F(reach) * (F(0.74) + F(0.26) * star)
        layer = F(0.22 + 0.13 * ring) + F(0.20) * (1 - far / edge) + F(0.05) * star
        np.maximum(crown, np.where(far < edge, layer, 0), out=crown)
    return np.minimum(crown, F(1))


def _grow_skeleton(rng: np.random.Generator, far: Plane, angle: Plane, *, thin: float) -> Plane:
    """Draw a dead trunk from above, with a few bare branches.

    Branches get 5 to 15 % of the trunk's height. A height map is solid below them, so high branches would
    cast shadows like walls.
    """
    crown = np.where(far < F(1.6 * thin), F(1), F(0))
    for turn in rng.uniform(0, 2 * np.pi, 7):
        aside, ahead = far * np.sin(angle - F(turn)), far * np.cos(angle - F(turn))
        branch = (np.abs(aside) < thin * 0.4) & (ahead > 0) & (ahead < F(rng.uniform(0.4, 1.0)))
        np.maximum(crown, branch * F(rng.uniform(0.05, 0.15)), out=crown)
    return crown


def _stamp(
    canvas: Canvas, at: tuple[float, float], stamp: Plane, *, high: float, tint: Plane
) -> None:
    half = stamp.shape[0] // 2
    column, row = np.rint(canvas.raster.to_px(np.array([at]))[0]).astype(int)
    rows, columns = canvas.raster.shape
    top, left = max(0, half - row), max(0, half - column)
    bottom, right = min(2 * half + 1, rows - row + half), min(2 * half + 1, columns - column + half)
    if bottom <= top or right <= left:
        return
    stamp = stamp[top:bottom, left:right]
    window: Window = (
        slice(row - half + top, row - half + bottom),
        slice(column - half + left, column - half + right),
    )
    grain = canvas.grain[window]
    grown = stamp * F(high) + F(0.1) * grain  # single leaves
    ground = canvas.height[window]
    visible = (stamp > 0) & (grown > ground)
    ground[visible] = grown[visible]
    # Less light reaches the inside of a crown than its top.
    lit = (F(0.45) + F(0.65) * stamp) * (1 + F(0.13) * grain)
    for plane, value in zip(canvas.colour, tint, strict=True):
        part = plane[window]
        part[visible] = (lit * value)[visible]
