"""What regions are for: an object of a sixteenth of a tile, in 1 of 10,000 drawn tiles.

The query is another picture of such an object, elsewhere in a tile. Once both fill a region of their tiles, and once
both lie anywhere, so that a region shows about half of an object. The weights are random: this shows what averaging
over small squares keeps compared with one vector per tile, not what a trained network knows.
"""

import numpy as np
import pytest
from PIL import Image

from dino_assets.compute.settings import ComputeSettings
from dino_assets.embeddings.encoder.engine import Encoder, NetworkSource
from dino_assets.embeddings.encoder.ready import open_encoder
from dino_assets.embeddings.regions import pool_regions
from dino_assets.numerics.search import Search
from dino_assets.weights.checkpoint import read_checkpoint
from dino_assets_tests.worlds.networks import write_sample

pytestmark = pytest.mark.bench
SIDE_PX, OBJECT_PX, PATCH_PX, ACROSS = 256, 64, 16, 4
TILES, TRIALS, TOP = 10_000, 200, 10
BATCH = 200


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    place = tmp_path_factory.mktemp("encoder")
    write_sample(place / "w", "dinov3_vit", dim=96, layers=4, native_px=SIDE_PX)
    checkpoint = read_checkpoint(place / "w", model="drawn")
    source = NetworkSource(place / "w", checkpoint, SIDE_PX, ("cls", "patches"))
    return open_encoder(source, ComputeSettings(device="cpu"), cache=place).encoder


def draw_blotches(rng: np.random.Generator, side_px: int, size_px: int) -> np.ndarray:
    cells = rng.normal(0, 1, (side_px // size_px + 2, side_px // size_px + 2, 3))
    layers = [Image.fromarray(cells[..., n].astype(np.float32)) for n in range(3)]
    scaled = [layer.resize((side_px, side_px), Image.Resampling.BICUBIC) for layer in layers]
    return np.stack([np.asarray(layer) for layer in scaled], axis=2)


def draw_tile(rng: np.random.Generator) -> np.ndarray:
    """Draw ground: blotches of two sizes around a colour of its own."""
    colour = np.array([90, 110, 80]) + rng.normal(0, 15, 3)
    pixels = colour + 25 * draw_blotches(rng, SIDE_PX, 64) + 18 * draw_blotches(rng, SIDE_PX, 8)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def plant(
    tile: np.ndarray, rng: np.random.Generator, *, fills_region: bool
) -> tuple[np.ndarray, tuple[int, int]]:
    """Put an object into a tile: stripes of two bright colours; return its left upper corner, too."""
    x, y = rng.integers(0, SIDE_PX - OBJECT_PX, 2).tolist()
    if fills_region:
        x, y = (rng.integers(0, ACROSS, 2) * OBJECT_PX).tolist()
    stripes = (np.arange(OBJECT_PX) // 8 % 2).astype(bool)
    pixels = np.where(stripes[:, None, None], [225, 205, 190], [120, 70, 60])
    pixels = pixels + rng.normal(0, 8, (OBJECT_PX, OBJECT_PX, 3))
    planted = tile.copy()
    planted[y : y + OBJECT_PX, x : x + OBJECT_PX] = np.clip(pixels, 0, 255).astype(np.uint8)
    return planted, (x, y)


def embed(encoder: Encoder, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Embed tiles; return their CLS vectors (N, D) and their regions (N, 16, D)."""
    tokens = encoder.encode(tiles)
    return tokens["cls"], pool_regions(tokens["patches"], ACROSS)


def embed_object(encoder: Encoder, tile: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    side = SIDE_PX // PATCH_PX
    patches = encoder.encode(tile[None])["patches"].reshape(side, side, -1)
    first = [round(each / PATCH_PX) for each in corner]
    last = [round((each + OBJECT_PX) / PATCH_PX) for each in corner]
    return patches[first[1] : last[1], first[0] : last[0]].mean(axis=(0, 1))


def find_rank(vectors: np.ndarray, row: int, query: np.ndarray, *, per_tile: int) -> int:
    """Find the rank of a tile, by its most similar vector."""
    search = Search(query[None], TOP * per_tile)
    search.add(vectors)
    tiles = list(dict.fromkeys((search.hits()[0].rows // per_tile).tolist()))
    return tiles.index(row) + 1 if row in tiles else TILES


@pytest.fixture(scope="module")
def drawn(encoder) -> tuple[np.ndarray, np.ndarray]:
    """CLS vectors and regions of the drawn tiles."""
    rng = np.random.default_rng(0)
    batches = [
        embed(encoder, np.stack([draw_tile(rng) for _ in range(BATCH)]))
        for _ in range(TILES // BATCH)
    ]
    return np.concatenate([batch[0] for batch in batches]), np.concatenate(
        [batch[1] for batch in batches]
    )


@pytest.mark.parametrize(("fills_region", "least"), [(True, 0.95), (False, 0.1)])
def test_regions__find_what_whole_tiles_do_not(encoder, drawn, fills_region: bool, least: float):
    rng = np.random.default_rng(1)
    cls, regions = drawn
    ranks = np.empty((2, TRIALS), int)
    for trial in range(TRIALS):
        row = int(rng.integers(TILES))
        planted, _ = plant(draw_tile(rng), rng, fills_region=fills_region)
        own_cls, own_regions = embed(encoder, planted[None])
        example, corner = plant(draw_tile(rng), rng, fills_region=fills_region)
        example_cls, _ = embed(encoder, example[None])
        with_object = regions.copy()
        with_object[row] = own_regions[0]
        flat = with_object.reshape(TILES * ACROSS**2, -1)
        query = embed_object(encoder, example, corner)
        ranks[0, trial] = find_rank(flat, row, query, per_tile=ACROSS**2)
        with_cls = cls.copy()
        with_cls[row] = own_cls[0]
        ranks[1, trial] = find_rank(with_cls, row, example_cls[0], per_tile=1)
    by_regions, by_cls = (ranks <= TOP).mean(axis=1).tolist()
    print(
        f"\n{'filling a region' if fills_region else 'anywhere'}: rank ≤ {TOP} of {TILES:,}: {by_regions:.1%} by regions, {by_cls:.1%} by CLS"
    )
    assert by_regions >= least
    assert by_cls <= 0.02
