"""Computation of one uploaded picture: decode, cut into tiles, encode, collect tokens in a spool."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.encoder.tokens import Tokens, Vectors, to_half
from dino_assets.errors import InvalidVectorsError
from dino_assets.serving.computing.decoding import Decoded, Decoding
from dino_assets.serving.computing.scheduling import PictureJob, Scheduler
from dino_assets.serving.computing.spool import Spool
from dino_assets.serving.keeping.embedding_file import Piece, stream_file
from dino_assets.serving.requests.admission import Share
from dino_assets.serving.requests.planning import ServedModel, UploadPlan
from dino_assets.tiles.grid import cut_tiles

_DTYPES: dict[str, np.dtype[Any]] = {"fp16": np.dtype("<f2"), "fp32": np.dtype("<f4")}


class PictureTokens:
    """Tokens of one picture's tiles: small arrays in memory, the large ``embeddings`` in a spool."""

    def __init__(
        self,
        plan: UploadPlan,
        folder: Path,
        *,
        round_half: Callable[[Vectors], NDArray[np.float16]] = to_half,
    ) -> None:
        self.plan = plan
        self._round_half = round_half
        self.dtype = _DTYPES[plan.options.dtype]
        self.cls = np.zeros((plan.tiles, plan.dim), self.dtype)
        self.mean = np.zeros_like(self.cls)
        row_bytes = int(np.prod(plan.shape[1:])) * self.dtype.itemsize
        self._spool = Spool(plan.tiles, row_bytes, folder)

    def keep(self, tile: int, tokens: Tokens) -> None:
        """Store one tile's tokens; may be called by several threads at once.

        Raises:
            InvalidVectorsError: a token has NaN, infinity, or a number outside the range of fp16.
        """
        self.cls[tile] = self._convert(tile, tokens["cls"])[0]
        self.mean[tile] = self._convert(tile, tokens["mean"])[0]
        self._spool.write(tile, self._convert(tile, tokens[self.plan.options.tokens])[0])

    def stream(self, model: ServedModel, space: str) -> Iterator[Piece]:
        """Yield the embedding file in pieces."""
        plan = self.plan
        small = {
            "cls": self.cls,
            "mean": self.mean,
            "windows": plan.windows.astype("<i4"),
            "tile_ids": np.array(plan.tile_ids),
        }
        about = {
            "space": space,
            "model": model.name,
            "tokens": plan.options.tokens,
            "image_sha256": plan.image_id,
            "original_size": list(plan.size),
            **({"caveat": model.checkpoint.caveat} if model.checkpoint.caveat else {}),
        }
        pieces = self._spool.pieces()
        return stream_file(small, shape=plan.shape, dtype=self.dtype, pieces=pieces, about=about)

    def close(self) -> None:
        """Free memory and disk."""
        self._spool.close()

    def _convert(self, tile: int, values: Vectors) -> NDArray[Any]:
        with np.errstate(over="ignore"):
            is_half = self.dtype == np.float16
            converted = self._round_half(values) if is_half else values.astype(self.dtype)
            # If minimum and maximum are finite, all numbers are: with a NaN both would be NaN. Checking
            # every 16-bit number takes ten times as long.
            extremes = np.array([values.min(), values.max()])
            if np.isfinite(extremes.astype(self.dtype)).all():
                return converted
        raise InvalidVectorsError(
            "the model gave numbers outside the range of fp16; send dtype=fp32"
            if np.isfinite(extremes).all()
            else "the model gave NaN or infinity; check its weights with `dino-assets check-model`",
            row=tile,
        )


async def compute_picture(
    data: bytes,
    plan: UploadPlan,
    *,
    drop: Callable[[], object],
    decoding: Decoding,
    scheduler: Scheduler,
    share: Share,
    folder: Path,
    side_px: int,
) -> PictureTokens:
    """Decode one picture, and compute and return the tokens of its tiles.

    ``drop`` is called as soon as the file's bytes are not needed any more. If this call is cancelled, queued
    work is removed; a model call that runs is not interrupted.

    Raises:
        UnusableImageError: the pixels cannot be decoded.
        InvalidVectorsError, DeviceMemoryError, DiskFullError: the computation failed.
    """
    coming = decoding.submit(data, plan.pixel_bytes)
    del data  # the lane holds it until it is decoded
    try:
        decoded = await asyncio.wrap_future(coming)
    except asyncio.CancelledError:
        coming.add_done_callback(_release_late)
        raise
    drop()
    share.decoded()
    tokens = PictureTokens(plan, folder, round_half=scheduler.computer.to_half)
    loop = asyncio.get_running_loop()
    job = _make_job(
        plan, decoded, tokens, side_px, lambda: loop.call_soon_threadsafe(share.computed, 1)
    )
    del decoded
    scheduler.submit(job)
    try:
        await asyncio.wrap_future(job.done)
    except asyncio.CancelledError:
        if not scheduler.give_up(job):
            tokens.close()  # the job had just finished
        raise
    return tokens


def _release_late(coming: Any) -> None:
    """Release a picture that was decoded after its request was cancelled."""
    if not coming.cancelled() and not coming.exception():
        coming.result().release()


def _make_job(
    plan: UploadPlan,
    decoded: Decoded,
    tokens: PictureTokens,
    side_px: int,
    count: Callable[[], object],
) -> PictureJob:
    held = [decoded.pixels]

    def cut(number: int) -> NDArray[np.uint8]:
        window = plan.windows[number : number + 1]
        return np.asarray(cut_tiles(held[0], window, side_px, span_px=plan.span_px)[0])

    def keep(number: int, computed: Tokens) -> None:
        tokens.keep(number, computed)
        count()

    def release() -> None:
        held.clear()
        decoded.release()

    return PictureJob(plan.tiles, cut, keep, release, tokens.close)
