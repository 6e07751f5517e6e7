"""One picture's way through the machine: decoded in its lane, cut and computed in turns, kept in a spool."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.encoder.tokens import Tokens
from dino_assets.errors import InvalidVectorsError
from dino_assets.serving.computing.decoding import Decoded, Decoding
from dino_assets.serving.computing.scheduling import PictureJob, Scheduler
from dino_assets.serving.computing.spool import Spool
from dino_assets.serving.keeping.embedding_file import stream_file
from dino_assets.serving.requests.admission import Share
from dino_assets.serving.requests.planning import ServedModel, UploadPlan
from dino_assets.tiles.grid import cut_tiles

_DTYPES: dict[str, np.dtype[Any]] = {"fp16": np.dtype("<f2"), "fp32": np.dtype("<f4")}


class PictureTokens:
    """Tokens of one picture's tiles: the small arrays in memory, ``embeddings`` in a spool."""

    def __init__(self, plan: UploadPlan, folder: Path) -> None:
        self.plan = plan
        self.dtype = _DTYPES[plan.options.dtype]
        self.cls = np.zeros((plan.tiles, plan.dim), self.dtype)
        self.mean = np.zeros_like(self.cls)
        row_bytes = int(np.prod(plan.shape[1:])) * self.dtype.itemsize
        self._spool = Spool(plan.tiles, row_bytes, folder)

    def keep(self, tile: int, tokens: Tokens) -> None:
        """Put one tile's tokens in their place; safe from several threads.

        Raises:
            InvalidVectorsError: NaN, infinity, or a number that the wanted type cannot hold.
        """
        self.cls[tile] = self._convert(tile, tokens["cls"])[0]
        self.mean[tile] = self._convert(tile, tokens["mean"])[0]
        self._spool.write(tile, self._convert(tile, tokens[self.plan.options.tokens])[0])

    def stream(self, model: ServedModel, space: str) -> Iterator[bytes]:
        """Give the file, piece by piece."""
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
        """Give memory and disk back."""
        self._spool.close()

    def _convert(self, tile: int, values: NDArray[np.float32]) -> NDArray[Any]:
        with np.errstate(over="ignore"):
            converted = values.astype(self.dtype)
            # All are finite where the least and the largest are: NaN would be either. Looking at
            # every 16-bit number takes ten times as long.
            extremes = np.array([values.min(), values.max()])
            if np.isfinite(extremes.astype(self.dtype)).all():
                return converted
        raise InvalidVectorsError(
            "the model gave numbers that fp16 cannot hold; dtype=fp32 holds them"
            if np.isfinite(extremes).all()
            else "the model gave NaN or infinity; is the checkpoint sound?",
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
    """Decode and compute one picture; cancelled, what waits never starts and what runs is left alone.

    ``drop`` is called when its file is not needed any more.

    Raises:
        UnusableImageError: what only decoding finds.
        InvalidVectorsError, DeviceMemoryError, DiskFullError: it could not be computed.
    """
    coming = decoding.submit(data, plan.pixel_bytes)
    del data  # the lane has it until it is decoded
    try:
        decoded = await asyncio.wrap_future(coming)
    except asyncio.CancelledError:
        coming.add_done_callback(_release_late)
        raise
    drop()
    share.decoded()
    tokens = PictureTokens(plan, folder)
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
            tokens.close()  # it was finished a moment ago
        raise
    return tokens


def _release_late(coming: Any) -> None:
    """Give back the room of a picture that was decoded for somebody who is gone."""
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
