"""Stores with many embedded tiles: drawn vectors, and the tables that a run would have committed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits.protocol import Draft, OutputId, OutputWriter, Recipe
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import open_store
from dino_assets.tiles.rows import SCHEMA
from dino_assets_tests.worlds.histories import SPACE

SIDE_PX, ACROSS = 512, 10
TILES_OF_AN_IMAGE = ACROSS * ACROSS
THUMB = b"RIFF" + bytes(600)
_BATCH = 4096


class DrawnVectors:
    """Vectors of drawn clusters, of the same numbers at each reading."""

    def __init__(self, dims: int, *, clusters: int = 200) -> None:
        self.dims = dims
        rng = np.random.default_rng(0)
        self.centres = 1.5 * rng.standard_normal((clusters, dims), np.float32)

    def draw(self, count: int, *, seed: int) -> np.ndarray:
        """Draw (count, dims) float32."""
        rng = np.random.default_rng(seed + 1)
        noise = rng.standard_normal((count, self.dims), np.float32)
        return noise + self.centres[rng.integers(0, len(self.centres), count)]


def write_embedded(root: Path, *, drops: int, tiles_per_drop: int, vectors: DrawnVectors) -> None:
    """Commit ``tiles`` and ``embeddings`` of some drops into the store of a project's folder."""
    store = open_store(StorageSettings(url="data", root=root))
    stored = pa.schema(
        [
            pa.field("tile_id", pa.string(), nullable=False),
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("cls", pa.list_(pa.float16(), vectors.dims), nullable=False),
            pa.field("thumb", pa.binary(), nullable=False),
        ]
    )
    for number in range(drops):
        drop = f"drop-{number:05d}"
        tiles = _draw_tiles(number, tiles_per_drop)

        def produce(out: OutputWriter, number: int = number, tiles: pa.Table = tiles) -> None:
            for seed, batch in _cut(number, tiles):
                numbers = vectors.draw(batch.num_rows, seed=seed).astype(np.float16)
                flat = pa.array(numbers.ravel())
                columns = [
                    batch["tile_id"],
                    batch["image_id"],
                    pa.FixedSizeListArray.from_arrays(flat, vectors.dims),
                    pa.array([THUMB] * batch.num_rows, pa.binary()),
                ]
                out.rows(pa.record_batch(columns, schema=stored))

        def produce_tiles(out: OutputWriter, tiles: pa.Table = tiles) -> None:
            for batch in tiles.to_batches():
                out.rows(batch)

        commit(store, Draft(Recipe(OutputId("tiles", drop), "2"), produce_tiles, SCHEMA))
        output = OutputId("embeddings", drop, SPACE)
        commit(store, Draft(Recipe(output, "1", {"columns": ["cls"]}), produce, stored))


def _cut(number: int, tiles: pa.Table) -> Iterator[tuple[int, pa.RecordBatch]]:
    for place, batch in enumerate(tiles.combine_chunks().to_batches(max_chunksize=_BATCH)):
        yield number * 10_000 + place, batch


def _draw_tiles(number: int, count: int) -> pa.Table:
    """Draw the rows of tiles that do not overlap; their places are not known."""
    row = np.arange(count)
    inside = row % TILES_OF_AN_IMAGE
    x, y = inside % ACROSS * SIDE_PX, inside // ACROSS * SIDE_PX
    images = [f"{number:08x}{n:08x}{'0' * 48}" for n in (row // TILES_OF_AN_IMAGE).tolist()]
    ids = [
        f"{image[:16]}-x{left:05d}y{top:05d}w{SIDE_PX:05d}h{SIDE_PX:05d}-g1"
        for image, left, top in zip(images, x.tolist(), y.tolist(), strict=True)
    ]
    side = np.full(count, SIDE_PX)
    no = np.zeros(count, bool)
    given = {
        "tile_id": ids,
        "image_id": images,
        "path": [f"{image[:16]}.jpg" for image in images],
        "x": x,
        "y": y,
        **dict.fromkeys(("w", "h", "side_px", "span_px"), side),
        **dict.fromkeys(("is_whole", "is_padded", "is_mosaic"), no),
    }
    columns = [
        pa.array(given[each.name]).cast(each.type)
        if each.name in given
        else pa.nulls(count, each.type)
        for each in SCHEMA
    ]
    return pa.table(columns, schema=SCHEMA)
