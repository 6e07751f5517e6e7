"""Embedding of whole pictures: the only path from pictures to vectors, for API, service and CLI.

Photographs are decoded whole, as in ``images.decoding``. Pillow's ``draft`` could decode a JPEG at half
size by leaving out frequencies. For photographs of 9 MP this saves an eighth of the decoding time. But it
changes pixels of the 224 px square by up to 2 of 255 (at a quarter of the size by up to 25). So the
vectors of one picture, decoded in both ways, would differ.
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
# At most this many pictures wait for a full batch. So results come steadily even if few of them need a model.
_WAITING = 256


@dataclass(frozen=True, eq=False)
class PictureResult:
    """The result for one picture: its vector, or the reason why it is unusable.

    ``key`` is the picture's ``Prepared.key``. ``is_new`` is true if the vector was computed now.
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
    """Embed whole pictures, in their order, each resized to the encoder's square.

    ``readers`` threads read and decode a few pictures ahead of the encoder, so memory does not grow with
    the number of pictures. An unusable picture gives a result with a reason, not an error.

    Raises:
        InvalidVectorsError: the model gave NaN or infinity.
        DeviceMemoryError: the device has no memory for a single tile.
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
    """Embed the tiles that ``prepare`` makes of pictures, ``batch`` at a time, in their order.

    ``prepare`` runs in ``readers`` threads and ``encode`` in ``threads`` threads. If ``threads`` is 0,
    ``encode`` runs in the caller's thread. If ``prepare`` gives no tile for a picture, but a vector or a
    refusal, that is the picture's result.

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
    """Group prepared pictures into batches of at most ``batch`` tiles, in their order.

    A batch also holds the pictures without a tile that come in between.
    """
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
        raise InvalidVectorsError(
            f"the encoder returned {len(vectors)} vectors for {len(tiles)} tiles; one vector per tile is "
            "expected"
        )
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).reshape(len(tiles), -1).all(axis=1))[0])
        raise InvalidVectorsError(
            "the model gave NaN or infinity; finite numbers are expected. Try precision fp32. To check a "
            "checkpoint folder: `dino-assets check-model FOLDER --reference MODEL`.",
            row=row,
        )
    remaining = iter(vectors)
    return [
        PictureResult(next(remaining), key=each.key, is_new=True)
        if each.tile is not None
        else PictureResult(each.vector, each.refusal, each.key)
        for each in waiting
    ]
