"""Regions of a tile: what is averaged, and where they lie."""

import numpy as np
import pytest

from dino_assets.embeddings.regions import (
    check_regions,
    cut_side,
    outline_region,
    pool_regions,
    read_regions,
)
from dino_assets.errors import ConfigError


@pytest.mark.parametrize(("side", "across"), [(32, 4), (37, 4), (16, 2), (37, 8), (8, 8)])
def test_pool_regions__is_the_mean_of_each_square(side: int, across: int):
    patches = np.random.default_rng(0).normal(size=(3, side * side, 5)).astype(np.float32)
    pooled = pool_regions(patches, across)
    assert pooled.shape == (3, across * across, 5)
    edges = cut_side(side, across).tolist()
    assert (edges[0], edges[-1]) == (0, side)
    square = patches.reshape(3, side, side, 5)
    for row in range(across):
        for column in range(across):
            inside = square[:, edges[row] : edges[row + 1], edges[column] : edges[column + 1]]
            expected = inside.mean(axis=(1, 2), dtype=np.float64)
            np.testing.assert_allclose(pooled[:, row * across + column], expected, atol=1e-5)


@pytest.mark.parametrize("across", [2, 3, 4, 7])
def test_outline_region__regions_cover_a_window_once(across: int):
    x, y, width, height = 100, 40, 518, 333
    counted = np.zeros((height, width), int)
    for region in range(across**2):
        left, top, w, h = outline_region(region, across, (x, y, width, height))
        counted[top - y : top - y + h, left - x : left - x + w] += 1
    assert (counted == 1).all()


def test_read_regions__by_hand():
    assert [read_regions(text) for text in ("", "2x2", "4x4", "8x8")] == [0, 2, 4, 8]


@pytest.mark.parametrize("text", ["4", "1x1", "9x9", "4x3", "axa", "-4x-4", "4x4x4"])
def test_read_regions__refusals(text: str):
    with pytest.raises(ConfigError) as caught:
        read_regions(text)
    assert caught.value.setting == "regions"


@pytest.mark.parametrize(
    ("region", "outline"),
    [
        (0, (100, 40, 128, 128)),
        (1, (228, 40, 128, 128)),
        (2, (315, 40, 85, 128)),  # pixels 256 to 299, and 298 to 215 reflected
        (3, (187, 40, 128, 128)),  # only reflected pixels, 214 to 87
        (12, (100, 424, 128, 128)),
    ],
)
def test_outline_region__in_a_padded_tile_is_what_it_shows(region: int, outline: tuple[int, ...]):
    assert outline_region(region, 4, (100, 40, 300, 512), span_px=512) == outline


def test_check_regions__more_than_patches():
    check_regions(4, 4)
    with pytest.raises(ConfigError, match="2×2 patches") as caught:
        check_regions(4, 2)
    assert caught.value.setting == "regions"
