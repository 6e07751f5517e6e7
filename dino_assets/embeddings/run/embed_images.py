"""Pictures in, vectors out: the one way from whole pictures to embeddings, for every face.

Photographs are decoded whole, by the rule of ``images.decoding``. A JPEG decoder can leave out frequencies
(Pillow's ``draft``), which for photographs of 9 MP saves an eighth of the decoding at half the size and
changes pixels of the 224 px square by up to 2 of 255 (by up to 25 at a quarter): too little for vectors
that are no longer comparable.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dino_assets.compute.threads import map_ahead
from dino_assets.embeddings.encoder.engine import Encoder
from dino_assets.embeddings.encoder.tokens import TokenName, Vectors
from dino_assets.embeddings.run.pictures import Picture, Prepared, prepare_picture
from dino_assets.errors import InvalidVectorsError, UnusableImageError

T = TypeVar("T")
READERS = 4
# Pictures that wait for a batch to be full, at most: where most need no model, results still come.
_WAITING = 256


@dataclass(frozen=True, eq=False)
class PictureResult:
    """What became of one picture: its vector, or why it is unusable.

    ``key`` is what ``prepare`` named its content by; ``is_new`` tells that the vector was computed now.
    """

    vector: Vectors | None = None  # (D,)
    refusal: UnusableImageError | None = None
    key: str = ""
    is_new: bool = False


def embed_images(
    pictures: Iterable[Picture],
    encoder: Encoder,
    *,
    column: TokenName = "cls",
    readers: int = READERS,
) -> Generator[PictureResult, None, None]:
    """Embed whole pictures, in their order, each scaled to the encoder's square.

    They are read and decoded in ``readers`` threads ahead of the encoder, a few at a time, so memory does
    not grow with their number. An unusable picture is a reason, not an error.

    Raises:
        InvalidVectorsError: the model gave NaN or infinity.
        DeviceMemoryError: there is no room for a single tile.
    """
    return embed_prepared(
        pictures,
        partial(prepare_picture, side_px=encoder.source.side_px),
        lambda tiles: encoder.encode(tiles)[column],
        batch=encoder.spec.batch,
        threads=encoder.spec.threads,
        readers=readers,
    )


def embed_prepared(
    pictures: Iterable[T],
    prepare: Callable[[T], Prepared],
    encode: Callable[[NDArray[np.uint8]], Vectors],
    *,
    batch: int,
    threads: int,
    readers: int = READERS,
) -> Generator[PictureResult, None, None]:
    """Embed whatever ``prepare`` makes tiles of, ``batch`` at a time, in their order.

    ``prepare`` runs in ``readers`` threads, ``encode`` in ``threads``; with 0 threads in the caller's
    own, one call after the other.

    Raises:
        InvalidVectorsError: ``encode`` gave NaN or infinity.
    """
    embed = partial(_embed, encode)
    with closing(map_ahead(prepare, pictures, threads=readers)) as prepared:
        batches = _gather(prepared, batch)
        if threads:
            with closing(map_ahead(embed, batches, threads=threads)) as embedded:
                for each in embedded:
                    yield from each
        else:
            for waiting in batches:
                yield from embed(waiting)


def _gather(prepared: Iterable[Prepared], batch: int) -> Iterator[list[Prepared]]:
    """Pictures in their order, as soon as ``batch`` of them are tiles."""
    waiting: list[Prepared] = []
    tiles = 0
    for each in prepared:
        waiting.append(each)
        tiles += each.tile is not None
        if tiles == batch or len(waiting) >= max(batch, _WAITING):
            yield waiting
            waiting, tiles = [], 0
    if waiting:
        yield waiting


def _embed(
    encode: Callable[[NDArray[np.uint8]], Vectors], waiting: list[Prepared]
) -> list[PictureResult]:
    tiles = [each.tile for each in waiting if each.tile is not None]
    vectors = encode(np.stack(tiles)) if tiles else np.empty((0, 0), np.float32)
    if len(vectors) != len(tiles):
        raise InvalidVectorsError(f"{len(tiles)} tiles gave {len(vectors)} vectors")
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).reshape(len(tiles), -1).all(axis=1))[0])
        raise InvalidVectorsError(
            "the model gave NaN or infinity; is the checkpoint sound? precision fp32 holds more",
            row=row,
        )
    coming = iter(vectors)
    return [
        PictureResult(next(coming), key=each.key, is_new=True)
        if each.tile is not None
        else PictureResult(each.vector, each.refusal, each.key)
        for each in waiting
    ]
