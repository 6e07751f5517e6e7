"""Stage *embeddings*: shards of whole images, each with a receipt, resumed where a kill left off."""

import io
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from dino_assets.core.encoder import PREPROCESSING_VERSION, Tokens, TorchEncoder
from dino_assets.core.tiling import Pixels, cut_tiles
from dino_assets.errors import CommitRefusedError
from dino_assets.records import (
    Checkpoint,
    ComputeSettings,
    Draft,
    Facts,
    Manifest,
    OutputId,
    Part,
    Receipt,
    Recipe,
    Space,
    Spent,
    TileGrid,
    Verdict,
)
from dino_assets.stages.compute import map_ahead
from dino_assets.stages.pixels import open_tiled
from dino_assets.stages.sources import Source
from dino_assets.stages.tiles import grid_of
from dino_assets.stages.weights import checkpoint_of
from dino_assets.store import tables
from dino_assets.store.checkpoints import checkpoint_folder
from dino_assets.store.manifests import content_hash
from dino_assets.store.objects import ObjectStore
from dino_assets.store.parts import put_part
from dino_assets.store.readers import CommittedTable, open_table
from dino_assets.store.receipts import find_receipt, write_receipt
from dino_assets.store.sealing import digest

log = logging.getLogger(__name__)

CODE_VERSION = "2"
SHARD_TILES = 256
BATCH_TILES = 4  # as fast as 16 on a CPU, and a quarter of the activations
THUMB_PX = 48
Encode = Callable[[NDArray[np.uint8]], Tokens]


def name_space(space: Space) -> str:
    """A space's id: equal ids, comparable vectors (in the same column)."""
    return digest(asdict(space))[:16]


def make_space(checkpoint: Checkpoint, compute: ComputeSettings, *, side_px: int) -> Space:
    """The space of vectors made by this checkpoint at this side and precision class."""
    return Space(
        weights_sha256=checkpoint.weights_sha256,
        preprocessing=PREPROCESSING_VERSION,
        side_px=side_px,
        layer=checkpoint.layers,
        precision=compute.precision,
    )


def current_space(checkpoint: Checkpoint, compute: ComputeSettings, *, tile_px: int = 0) -> str:
    """The id of the space readers ask for; 0 px takes the family's own side."""
    return name_space(make_space(checkpoint, compute, side_px=tile_px or checkpoint.tile_px))


def make_schema(dim: int) -> pa.Schema:
    """Ids travel with the vectors; the thumbnail saves every later page from reading photographs."""
    vector = pa.list_(pa.float16(), dim)
    return pa.schema(
        [
            pa.field("tile_id", pa.string(), nullable=False),
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("cls", vector, nullable=False),
            pa.field("mean", vector, nullable=False),
            pa.field("thumb", pa.binary(), nullable=False),
        ]
    )


def make_encoder(
    store: ObjectStore, weights: Manifest, compute: ComputeSettings, *, cache: Path
) -> Callable[[], Encode]:
    """A function that loads the committed checkpoint when it is first called, and once."""

    @lru_cache(maxsize=1)
    def load() -> Encode:
        started = time.perf_counter()
        folder = checkpoint_folder(store, weights, cache=cache)
        encoder = TorchEncoder(folder, checkpoint_of(weights), device=compute.device)
        seconds = time.perf_counter() - started
        log.info("loaded %s on %s in %.1f s", encoder.engine, compute.device, seconds)
        return encoder.encode

    return load


@dataclass(frozen=True)
class Shard:
    """Whole images whose tiles are embedded together; ``id`` names its input, not its place."""

    id: str
    tiles: pa.Table


@dataclass
class _Progress:
    """What a drop's shards cost so far."""

    tiles: int = 0
    reused: int = 0
    made: int = 0
    read_s: float = 0.0
    compute_s: float = 0.0


def cut_shards(tiles: pa.Table, *, recipe_id: str, shard_tiles: int = SHARD_TILES) -> list[Shard]:
    """Group a drop's tiles (sorted by id) into shards of whole images."""
    ids = tiles["image_id"].to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]) if len(ids) else np.empty(0, int)
    bounds = [*starts.tolist(), len(ids)]
    shards: list[Shard] = []
    first = 0
    for begin, end in pairwise(bounds):
        if end - first > shard_tiles and begin > first:
            shards.append(_shard(tiles.slice(first, begin - first), recipe_id))
            first = begin
    if len(ids):
        shards.append(_shard(tiles.slice(first), recipe_id))
    return shards


def _shard(tiles: pa.Table, recipe_id: str) -> Shard:
    return Shard(digest([recipe_id, tiles["tile_id"].to_pylist()])[:32], tiles)


def draft_embeddings(
    store: ObjectStore,
    tiles: CommittedTable,
    drop: str,
    *,
    source: Source,
    checkpoint: Checkpoint,
    compute: ComputeSettings,
    make_encode: Callable[[], Encode],
    shard_tiles: int = SHARD_TILES,
) -> Draft:
    """Embed a drop's tiles, in the space their side gives; a model is loaded only if one is needed.

    Raises:
        NotCommittedError: the drop's tiles are not committed.
    """
    manifest = tiles.manifest(drop)
    grid = grid_of(manifest)
    space = make_space(checkpoint, compute, side_px=grid.side_px)
    output = OutputId("embeddings", drop, name_space(space))
    recipe = Recipe(
        output,
        CODE_VERSION,
        config={"space": asdict(space), "dtype": "fp16", "shard_tiles": shard_tiles},
        inputs={"tiles": content_hash(manifest)},
    )
    schema = make_schema(checkpoint.dim)
    workers = compute.threads if compute.device == "cpu" else 1

    def produce() -> Iterator[Part | Facts | Spent]:
        rows = tiles.read(drop)
        shards = cut_shards(rows, recipe_id=f"{CODE_VERSION} fp16", shard_tiles=shard_tiles)
        progress = _Progress()
        started = time.perf_counter()
        encode: Encode | None = None
        for number, shard in enumerate(shards, start=1):
            receipt = find_receipt(store, output, shard.id)
            if receipt is not None:
                progress.reused += 1
            else:
                encode = encode or make_encode()
                batch = embed_shard(shard, source, grid, encode, schema, progress, workers=workers)
                receipt = _put(store, output, shard, batch)
            progress.tiles += shard.tiles.num_rows
            _report(drop, number, len(shards), progress, time.perf_counter() - started)
            yield from receipt.parts
        yield Facts({"images": len(set(rows["image_id"].to_pylist())), "shards": len(shards)})
        yield Spent(
            progress.read_s,
            progress.compute_s,
            {"shards_reused": progress.reused, "shards_made": progress.made},
        )

    return Draft(recipe, produce, schema)


def embed_shard(
    shard: Shard,
    source: Source,
    grid: TileGrid,
    encode: Encode,
    schema: pa.Schema,
    progress: _Progress,
    *,
    workers: int,
) -> pa.RecordBatch:
    """Read, cut and encode one shard's images; the next one is read while workers encode.

    Raises:
        SourceError: a photograph is gone, or is not the one that was tiled.
        UnusableImageError: a block of a mosaic does not decode any more.
        CommitRefusedError: the model gave a number that fp16 cannot hold.
    """

    def work(batch: NDArray[np.uint8]) -> tuple[Tokens, list[bytes], float]:
        started = time.perf_counter()
        found = encode(batch)
        return found, [make_thumb(tile) for tile in batch], time.perf_counter() - started

    tokens: list[Tokens] = []
    thumbs: list[bytes] = []
    for found, small, seconds in map_ahead(
        work, _batches(shard.tiles, source, grid, progress), threads=workers
    ):
        tokens.append(found)
        thumbs += small
        progress.compute_s += seconds
    progress.made += 1
    names = shard.tiles["tile_id"].to_pylist()
    vectors = [
        _to_half(np.concatenate([getattr(t, column) for t in tokens]), names, column)
        for column in ("cls", "mean")
    ]
    return pa.RecordBatch.from_arrays(
        [
            pa.array(names, pa.string()),
            shard.tiles["image_id"].combine_chunks().cast(pa.string()),
            *vectors,
            pa.array(thumbs, pa.binary()),
        ],
        schema=schema,
    )


def _batches(
    tiles: pa.Table, source: Source, grid: TileGrid, progress: _Progress
) -> Iterator[NDArray[np.uint8]]:
    """A shard's tiles (N, side, side, 3), in batches that never span two images.

    So a batch's shape depends on its image alone, and a resumed run computes the same numbers. Each
    image is decoded once, in a thread of its own, while the tiles of the one before are computed.
    """
    ids = tiles["image_id"].to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]).tolist()
    xywh = np.stack([tiles[name].to_numpy() for name in ("x", "y", "w", "h")], axis=1)
    bounds = list(zip(starts, [*starts[1:], len(ids)], strict=True))
    images = [tiles.slice(begin, 1).to_pylist()[0] for begin, _ in bounds]

    def open_image(row: dict[str, Any]) -> tuple[ExitStack, Pixels]:
        started = time.perf_counter()
        stack = ExitStack()
        pixels = stack.enter_context(open_tiled(source, row))
        progress.read_s += time.perf_counter() - started
        return stack, pixels

    opened = map_ahead(open_image, images, threads=1)
    for row, (begin, end), (stack, pixels) in zip(images, bounds, opened, strict=True):
        with stack:
            for first in range(begin, end, BATCH_TILES):
                windows = xywh[first : min(first + BATCH_TILES, end)]
                yield cut_tiles(pixels, windows, grid.side_px, span_px=row["span_px"])


def _to_half(vectors: NDArray[np.float32], names: list[str], column: str) -> pa.Array:
    with np.errstate(over="ignore"):
        half = vectors.astype(np.float16)
    bad = np.flatnonzero(~np.isfinite(half).all(axis=1))
    if len(bad):
        raise CommitRefusedError(
            f"{len(bad)} tiles have a {column!r} vector with NaN, infinity or a value beyond fp16, "
            f"{names[bad[0]]!r} first. Is the checkpoint sound? Nothing was stored."
        )
    return pa.FixedSizeListArray.from_arrays(pa.array(half.ravel()), half.shape[1])


def make_thumb(tile: NDArray[np.uint8]) -> bytes:
    """A tile as a small WebP (about 0.6 KB), for pages."""
    sink = io.BytesIO()
    small = Image.fromarray(tile).resize((THUMB_PX, THUMB_PX), Image.Resampling.BOX)
    small.save(sink, "WEBP", quality=60, method=2)
    return sink.getvalue()


def _put(store: ObjectStore, output: OutputId, shard: Shard, batch: pa.RecordBatch) -> Receipt:
    described = tables.with_metadata(batch.schema, {"asset": output.asset, "space": output.space})
    table = pa.Table.from_batches([batch]).replace_schema_metadata(described.metadata)
    parts = tuple(
        put_part(store, output, data, rows=piece.num_rows) for piece, data in tables.encode(table)
    )
    receipt = Receipt(output, shard.id, parts)
    write_receipt(store, receipt)
    return receipt


def _report(drop: str, number: int, total: int, progress: _Progress, seconds: float) -> None:
    log.info(
        "%s: shard %d of %d, %d tiles, %d shards reused, %.1f tiles/s, read %.1f s, compute %.1f s",
        drop,
        number,
        total,
        progress.tiles,
        progress.reused,
        progress.tiles / max(seconds, 1e-9),
        progress.read_s,
        progress.compute_s,
    )


def open_embeddings(
    store: ObjectStore, tiles: CommittedTable, checkpoint: Checkpoint, compute: ComputeSettings
) -> dict[str, CommittedTable]:
    """Per drop, its embeddings in the space that its own tiles' side gives."""
    found: dict[str, CommittedTable] = {}
    for manifest in tiles.manifests:
        drop = str(manifest.recipe.output.drop)
        space = make_space(checkpoint, compute, side_px=grid_of(manifest).side_px)
        found[drop] = open_table(store, "embeddings", space=name_space(space), drops=[drop])
    return found


def judge_embeddings(tiles: CommittedTable, embeddings: CommittedTable, drop: str) -> Verdict:
    """One finite vector per tile, under the tile's own id, in one space."""
    if drop not in embeddings.drops:
        return Verdict(drop, False, f"nothing is committed in space {embeddings.space}")
    wanted = tiles.read(drop, ["tile_id"])["tile_id"].to_pylist()
    seen: list[str] = []
    for manifest, part in embeddings.parts():
        seen += part["tile_id"].to_pylist()
        spaces = {manifest.recipe.output.space, tables.read_metadata(part.schema).get("space")}
        if len(spaces) != 1:
            return Verdict(
                drop, False, f"vectors of {len(spaces)} spaces: {sorted(map(str, spaces))}"
            )
        for column in ("cls", "mean"):
            values = part[column].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            vectors = values.reshape(part.num_rows, -1)
            bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
            if len(bad):
                name = part["tile_id"][int(bad[0])].as_py()
                return Verdict(
                    drop, False, f"{len(bad)} {column} vectors are not finite, {name} first"
                )
    twice = len(seen) - len(set(seen))
    missing, foreign = set(wanted) - set(seen), set(seen) - set(wanted)
    if twice or missing or foreign:
        return Verdict(
            drop,
            False,
            f"{twice} tiles embedded twice, {len(missing)} not at all, {len(foreign)} unknown to tiles",
        )
    return Verdict(drop, True, f"{len(seen)} vectors for {len(wanted)} tiles, finite, one space")
