"""Drawn ground that tiles show: each spot looks different, classes differ a little, tiles overlap."""

from dataclasses import dataclass

import numpy as np

from dino_assets.numerics.earth import travel
from dino_assets.probes.records import TrainingSet
from dino_assets.probes.splits import TileGround

SPOT_M, TILE_SPOTS = 5, 4  # a tile is 20 m wide


@dataclass(frozen=True)
class DrawnGround:
    """Labelled tiles of one flight."""

    labelled: TrainingSet
    tiles: TileGround


def draw_overlapping_tiles(seed: int, *, extent_m: int = 300, step_m: int = 5) -> DrawnGround:
    """Draw tiles that are ``step_m`` apart, with a vector each that depends on the ground they show.

    Patches of 60 m have one of two classes. It changes a few of 200 numbers a little; what a spot looks like
    changes all of them.
    """
    rng = np.random.default_rng(seed)
    spots = extent_m // SPOT_M
    looks = rng.normal(0, 1, (spots, spots, 200))
    patches = rng.integers(0, 2, (spots // 12 + 1, spots // 12 + 1))
    classes_of = np.kron(patches, np.ones((12, 12), int))[:spots, :spots]
    looks[..., :3] += 0.12 * (2 * classes_of[..., None] - 1)
    steps = np.arange(0, spots - TILE_SPOTS + 1, step_m // SPOT_M)
    vectors, classes, metres = [], [], []
    for row in steps:
        for column in steps:
            window = (slice(row, row + TILE_SPOTS), slice(column, column + TILE_SPOTS))
            vectors.append(looks[window].mean(axis=(0, 1)) + rng.normal(0, 0.02, 200))
            classes.append(int(classes_of[window].mean() > 0.5))
            metres.append(((column + TILE_SPOTS / 2) * SPOT_M, (row + TILE_SPOTS / 2) * SPOT_M))
    labelled = TrainingSet(
        np.array(vectors, np.float32), np.array(classes, np.int64), ("crop", "grass")
    )
    return DrawnGround(labelled, place_tiles(np.array(metres, float)))


def place_tiles(
    metres: np.ndarray, *, side_m: float = SPOT_M * TILE_SPOTS, drops: list[str] | None = None
) -> TileGround:
    """Place tiles by metres east and north; each is a photograph of its own."""
    count = len(metres)
    images = [f"image-{n}" for n in range(count)]
    centers = travel(11.5, 48.1, np.asarray(metres, float))
    return TileGround(drops or ["a"] * count, images, centers, np.full(count, float(side_m)))
