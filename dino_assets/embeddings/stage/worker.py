"""Worker of the embeddings stage: reads, decodes, crops, encodes and writes shards concurrently.

A shard is stored before the worker waits for the next shard's tiles. So a killed run loses at most
one shard, and the few batches that are computed while that shard is stored.
"""

import logging
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dino_assets.compute.settings import ComputeSettings
from dino_assets.compute.threads import map_ahead
from dino_assets.drops.sources.source import Source
from dino_assets.embeddings.encoder.engine import NetworkSource
from dino_assets.embeddings.encoder.ready import ReadyEncoder, open_encoder
from dino_assets.embeddings.encoder.tokens import TokenName, Tokens, Vectors
from dino_assets.embeddings.options import EmbeddingOptions
from dino_assets.embeddings.regions import REGIONS, pool_regions
from dino_assets.embeddings.rows import make_rows, make_thumb, to_stored
from dino_assets.embeddings.run.shards import Done, Message, Shard, Step, Work, WorkerReady
from dino_assets.embeddings.stage.patch_maps import put_patches
from dino_assets.errors import InvalidCheckpointError
from dino_assets.images.records import Pixels
from dino_assets.store.commits import tables
from dino_assets.store.commits.parts import put_part
from dino_assets.store.commits.protocol import Manifest, OutputId, Part, Receipt
from dino_assets.store.commits.receipts import write_receipt
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.grid import TileGrid, cut_tiles
from dino_assets.tiles.rows import TileRow, open_tiled, read_tile_rows
from dino_assets.weights.stage import checkpoint_folder, checkpoint_of

log = logging.getLogger(__name__)

# Length of the trial for a forecast: seconds, or a share of the whole computation if that is shorter.
TRIAL_S, TRIAL_SHARE = 1.0, 0.02


@dataclass(frozen=True)
class EmbeddingJob:
    """Everything that a worker needs to compute shards of a drop. It can be pickled."""

    store: ObjectStore
    source: Source
    output: OutputId
    schema: pa.Schema
    grid: TileGrid
    weights: Manifest
    compute: ComputeSettings
    options: EmbeddingOptions
    cache: Path
    first_engine: str | None = None
    todo: int = 0  # tiles to compute, by all workers together

    def __call__(self, device: str) -> Work:
        """Open the encoder on a device and return the function that computes shards with it.

        The first message that the returned function yields is ``WorkerReady``: the encoder's facts and speed.
        """
        try:
            ready = self._open(device)
        except InvalidCheckpointError as err:
            if err.reason != "altered":
                raise
            log.warning("%s The store's copy is used instead.", err)
            ready = self._open(device, is_altered=True)
        return _Worker(self, ready).run

    def _open(self, device: str, *, is_altered: bool = False) -> ReadyEncoder:
        outputs: tuple[TokenName, ...] = self.options.columns
        if self.options.with_patches or self.options.regions:
            outputs = (*outputs, "patches")
        folder = checkpoint_folder(
            self.store, self.weights, cache=self.cache, is_altered=is_altered
        )
        source = NetworkSource(folder, checkpoint_of(self.weights), self.grid.side_px, outputs)
        compute = replace(self.compute, device=device)  # type: ignore[arg-type]
        return open_encoder(source, compute, cache=self.cache, first=self.first_engine)


@dataclass(eq=False)
class _OpenShard:
    """A shard in progress: the rows to compute, and their results so far."""

    shard: Shard
    rows: list[int]
    tokens: list[Tokens] = field(default_factory=list)
    regions: list[Vectors] = field(default_factory=list)
    thumbs: list[bytes] = field(default_factory=list)
    patches: list[Part] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Image:
    """One image of a shard, with the windows of its tiles."""

    open_shard: _OpenShard
    tile: TileRow  # its first tile
    windows: NDArray[np.int64]
    spans_px: NDArray[np.int64]  # a box has a span of its own
    is_last: bool


@dataclass(frozen=True, eq=False)
class _Batch:
    open_shard: _OpenShard
    tiles: NDArray[np.uint8]
    first: int  # index among the rows to compute
    is_last: bool


@dataclass(frozen=True, eq=False)
class _Result:
    batch: _Batch
    tokens: Tokens
    regions: Vectors | None
    thumbs: list[bytes]
    patches: list[Part]
    seconds: float


class _Worker:
    """A worker: one thread opens the next image, others encode, the caller's thread cuts and stores."""

    def __init__(self, job: EmbeddingJob, ready: ReadyEncoder) -> None:
        self.job = job
        self.ready = ready
        self.encoder = ready.encoder
        self._read_s = self._cut_s = 0.0
        self._ahead: set[ExitStack] = set()  # images opened ahead and not yet used

    def run(self, shards: Iterable[Shard]) -> Generator[Message, None, None]:
        """Compute the shards in their order and yield messages about them."""
        remaining = iter(shards)
        first = next(remaining, None)
        if first is None:
            return
        yield self._run_trial(first)
        # Compare with the requested batch: the gate or the trial may have reduced it already.
        size, reported_s, threads = self.ready.batch, 0.0, self.encoder.spec.threads
        with (
            closing(self._batches(chain([first], remaining))) as batches,
            closing(map_ahead(self._compute, batches, threads=threads)) as computed,
        ):
            for result in computed:
                shard = result.batch.open_shard
                shard.tokens.append(result.tokens)
                shard.regions += [] if result.regions is None else [result.regions]
                shard.thumbs += result.thumbs
                shard.patches += result.patches
                now_s = self._read_s + self._cut_s
                yield Step(len(result.thumbs), now_s - reported_s, result.seconds)
                reported_s = now_s
                if self.encoder.spec.batch != size:
                    size = self.encoder.spec.batch
                    yield Step(warning=f"out of memory: continuing with {size} tiles per call")
                if result.batch.is_last:
                    yield from self._store(shard)

    def _run_trial(self, shard: Shard) -> WorkerReady:
        """Measure the speed on a few real tiles, for the forecast.

        For a small drop the trial would take longer than computing its tiles. So a small drop uses the speed
        that was measured for an earlier drop, if this encoder has one.
        """
        spec = self.encoder.spec
        image = next(self._images([shard]))
        started = time.perf_counter()
        with open_tiled(self.job.source, image.tile) as pixels:
            image_s = time.perf_counter() - started
            started, count = time.perf_counter(), 2 * spec.threads * spec.batch
            tiles = self._cut(pixels, image, slice(0, count))
            # A mosaic is read while it is cut.
            image_s += (time.perf_counter() - started) / len(tiles) * len(image.windows)
        tiles = tiles[
            np.arange(count) % len(tiles)
        ]  # repeated, so that every thread gets full batches
        tile_s = self.encoder.tile_s
        if not tile_s or TRIAL_SHARE * tile_s * self.job.todo >= TRIAL_S:
            tile_s = self.encoder.tile_s = self._time_tiles(tiles)
        thumbs = [make_thumb(tile) for tile in tiles]
        options, checkpoint = self.job.options, self.encoder.source.checkpoint
        vectors = sum(options.vector_counts.values())
        if options.with_patches:  # compression hardly makes them smaller
            vectors += (tiles.shape[1] // checkpoint.patch_px) ** 2
        vectors_bytes = vectors * checkpoint.dim * {"fp16": 2, "fp32": 4}[options.dtype]
        tile_bytes = sum(map(len, thumbs)) / len(thumbs) + vectors_bytes
        return WorkerReady(self.ready.facts, spec.threads, tile_s, image_s, tile_bytes)

    def _time_tiles(self, tiles: NDArray[np.uint8]) -> float:
        spec, rounds = self.encoder.spec, 0
        batches = [tiles[at : at + spec.batch] for at in range(0, len(tiles), spec.batch)]
        with ThreadPoolExecutor(spec.threads) as pool:
            # The first round allocates every thread's buffers and is not counted.
            list(pool.map(self._run_trial_batch, batches))
            started, spent_s, tile_s = time.perf_counter(), 0.0, 0.0
            while not rounds or spent_s < min(TRIAL_S, TRIAL_SHARE * tile_s * self.job.todo):
                list(pool.map(self._run_trial_batch, batches))
                rounds += 1
                spent_s = time.perf_counter() - started
                tile_s = spent_s / len(tiles) / rounds
        return tile_s

    def _run_trial_batch(self, tiles: NDArray[np.uint8]) -> None:
        self.encoder.encode(tiles)
        for tile in tiles:
            make_thumb(tile)

    def _images(self, shards: Iterable[Shard]) -> Iterator[_Image]:
        for shard in shards:
            ids = shard.tiles["image_id"].to_pylist()
            copied = (
                set()
                if shard.copied_rows is None
                else set(shard.copied_rows["image_id"].to_pylist())
            )
            rows = [number for number, image_id in enumerate(ids) if image_id not in copied]
            open_shard = _OpenShard(shard, rows)
            xywh = np.stack([shard.tiles[name].to_numpy() for name in ("x", "y", "w", "h")], axis=1)
            spans = shard.tiles["span_px"].to_numpy()
            groups = [list(group) for _, group in groupby(rows, key=ids.__getitem__)]
            for group in groups:
                tile = next(read_tile_rows(shard.tiles.slice(group[0], 1)))
                yield _Image(open_shard, tile, xywh[group], spans[group], group is groups[-1])

    def _open_image(self, image: _Image) -> tuple[_Image, Pixels, ExitStack]:
        started = time.perf_counter()
        opened = ExitStack()
        pixels = opened.enter_context(open_tiled(self.job.source, image.tile))
        self._ahead.add(opened)
        self._read_s += time.perf_counter() - started
        return image, pixels, opened

    def _cut(self, pixels: Pixels, image: _Image, which: slice) -> NDArray[np.uint8]:
        side_px, spans = self.job.grid.side_px, image.spans_px[which]
        return cut_tiles(pixels, image.windows[which], side_px, span_px=spans)

    def _batches(self, shards: Iterable[Shard]) -> Generator[_Batch, None, None]:
        """Yield full batches, which may span images but not shards; a shard's last batch may be smaller.

        Each image is decoded once, in another thread, while the tiles of the previous image are computed.
        """
        side_px = self.job.grid.side_px
        empty = np.empty((0, side_px, side_px, 3), np.uint8)
        pieces, first = [empty], 0
        with (
            ExitStack() as stack,
            closing(map_ahead(self._open_image, self._images(shards), threads=1)) as opened,
        ):
            stack.callback(self._close_ahead)
            for image, pixels, opening in opened:
                self._ahead.discard(opening)
                with opening:
                    at = 0
                    while at < len(image.windows):
                        room = max(1, self.encoder.spec.batch - sum(map(len, pieces)))
                        started = time.perf_counter()
                        pieces.append(self._cut(pixels, image, slice(at, at + room)))
                        self._cut_s += time.perf_counter() - started
                        at += room
                        is_full = sum(map(len, pieces)) >= self.encoder.spec.batch
                        if is_full and (at < len(image.windows) or not image.is_last):
                            batch = _Batch(image.open_shard, np.concatenate(pieces), first, False)
                            pieces, first = [empty], first + len(batch.tiles)
                            yield batch
                if image.is_last:
                    yield _Batch(image.open_shard, np.concatenate(pieces), first, True)
                    pieces, first = [empty], 0

    def _close_ahead(self) -> None:
        while self._ahead:
            with suppress(Exception):  # no tile was cut from this image
                self._ahead.pop().close()

    def _compute(self, batch: _Batch) -> _Result:
        started = time.perf_counter()
        tokens = self.encoder.encode(batch.tiles)
        thumbs = [make_thumb(tile) for tile in batch.tiles]
        patches: list[Part] = []
        regions: Vectors | None = None
        if across := self.job.options.regions:
            pooled = pool_regions(tokens["patches"], across)
            regions = pooled.reshape(len(pooled), -1)
        if self.job.options.with_patches:
            # Stored at once, because the patch maps of a shard would be a gigabyte.
            shard = batch.open_shard.shard
            rows = batch.open_shard.rows[batch.first : batch.first + len(thumbs)]
            names = shard.tiles["tile_id"].take(rows).to_pylist()
            stored = to_stored(tokens["patches"], names, "patches", self.job.options)
            places = [shard.first + row for row in rows]
            patches = put_patches(self.job.store, self.job.output, stored, places)
        tokens = replace(tokens, patches=None)
        return _Result(batch, tokens, regions, thumbs, patches, time.perf_counter() - started)

    def _store(self, open_shard: _OpenShard) -> Iterator[Message]:
        started = time.perf_counter()
        job, shard = self.job, open_shard.shard
        vectors: dict[str, NDArray[np.float32]] = {
            column: np.concatenate([tokens[column] for tokens in open_shard.tokens])
            for column in job.options.columns
        }
        if open_shard.regions:
            vectors[REGIONS] = np.concatenate(open_shard.regions)
        rows = make_rows(
            shard.tiles.take(open_shard.rows), vectors, open_shard.thumbs, job.schema, job.options
        )
        if shard.copied_rows is not None:
            rows = pa.concat_tables(
                [rows, shard.copied_rows.select(job.schema.names).cast(job.schema)]
            )
        receipt = store_shard(
            job.store, job.output, shard, rows, facts=self.ready.facts, patches=open_shard.patches
        )
        yield Step(write_s=time.perf_counter() - started)
        yield Done(shard.number, receipt)


def store_shard(
    store: ObjectStore,
    output: OutputId,
    shard: Shard,
    rows: pa.Table,
    *,
    facts: Mapping[str, Any],
    patches: Sequence[Part] = (),
) -> Receipt:
    """Store a shard's rows in the order of its tiles, then its receipt; return the receipt."""
    place = {name: row for row, name in enumerate(rows["tile_id"].to_pylist())}
    rows = rows.take([place[name] for name in shard.tiles["tile_id"].to_pylist()])
    about = {"asset": output.asset, "space": output.space}
    described = tables.with_metadata(rows.schema, about)
    table = rows.combine_chunks().replace_schema_metadata(described.metadata)
    parts = tuple(
        put_part(store, output, data, rows=piece.num_rows) for piece, data in tables.encode(table)
    )
    receipt = Receipt(output, shard.id, (*parts, *patches), facts)
    write_receipt(store, receipt)
    return receipt
