"""Preparation of pixels for a network: the forms that a model may expect, and common mistakes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.checking import faults
from dino_assets.embeddings.checking.candidates import InputForm
from dino_assets.embeddings.checking.faults import Fault
from dino_assets.embeddings.encoder.tokens import normalise
from dino_assets.weights.checkpoint import STATISTICS
from dino_assets.weights.records import Checkpoint

Tiles = NDArray[np.uint8]
Planes = NDArray[np.float32]
Triple = tuple[float, float, float]

_HALVES: Triple = (0.5, 0.5, 0.5)
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True)
class Feed:
    """A form of pixels that a model may expect, with the function that makes it from tiles."""

    words: str
    prepare: Callable[[Tiles], NDArray[np.generic]]


def list_feeds(form: InputForm, checkpoint: Checkpoint) -> list[Feed]:
    """List the forms of pixels that an input of this type may expect, the usual one first.

    A float input does not declare whether it expects normalised pixels. The expected form is the one in
    which the model agrees with the reference.
    """
    if form.takes_bytes:
        return [Feed("bytes", lambda tiles: tiles)]
    return [
        Feed("normalised", lambda tiles: normalise(tiles, checkpoint)),
        Feed("in 0…1, not normalised", lambda tiles: _to_planes(tiles) / np.float32(255)),
        Feed("in 0…255, not normalised", _to_planes),
    ]


@dataclass(frozen=True)
class PixelFault:
    """A wrong way to prepare pixels, with the function that does it."""

    words: str
    fault: Fault
    prepare: Callable[[Tiles], Planes]


def list_pixel_faults(form: InputForm, checkpoint: Checkpoint) -> Iterator[PixelFault]:
    """List common mistakes in preparing pixels for the network.

    Missing normalisation is a fault only if the model takes bytes. For other models the caller may be meant
    to normalise.
    """
    mean, std = checkpoint.mean, checkpoint.std

    def with_statistics(mean: Triple, std: Triple) -> Callable[[Tiles], Planes]:
        return lambda tiles: _standardise(_to_planes(tiles) / np.float32(255), mean, std)

    def right(tiles: Tiles) -> Planes:
        return normalise(tiles, checkpoint)

    yield PixelFault("", faults.BGR, lambda tiles: right(tiles[..., ::-1]))
    yield PixelFault(
        "mean and std too", faults.BGR, lambda tiles: np.ascontiguousarray(right(tiles)[:, ::-1])
    )
    yield PixelFault("", faults.MEAN_AND_STD_SWAPPED, with_statistics(std, mean))
    yield PixelFault(
        "not divided by 255", faults.RANGE, lambda tiles: _standardise(_to_planes(tiles), mean, std)
    )
    yield PixelFault(
        "divided by 255 twice",
        faults.RANGE,
        lambda tiles: _standardise(_to_planes(tiles) / np.float32(255**2), mean, std),
    )
    if form.takes_bytes:
        yield PixelFault(
            "0…1, not normalised", faults.RANGE, lambda tiles: _to_planes(tiles) / np.float32(255)
        )
        yield PixelFault("0…255, not normalised", faults.RANGE, _to_planes)
    yield PixelFault("−1…1", faults.RANGE, with_statistics(_HALVES, _HALVES))
    yield PixelFault(
        "normalised twice",
        faults.RANGE,
        lambda tiles: _standardise(right(tiles), mean, std),
    )
    yield PixelFault("", faults.TRANSPOSED, lambda tiles: right(tiles.transpose(0, 2, 1, 3)))
    yield PixelFault(
        "",
        faults.MISREAD_LAYOUT,
        lambda tiles: _standardise(
            tiles.reshape(len(tiles), 3, *tiles.shape[1:3]).astype(np.float32) / np.float32(255),
            mean,
            std,
        ),
    )
    yield PixelFault("", faults.UPSIDE_DOWN, lambda tiles: right(tiles[:, ::-1]))
    yield PixelFault("", faults.MIRRORED, lambda tiles: right(tiles[:, :, ::-1]))
    for words, statistics in (*STATISTICS.items(), ("CLIP", _CLIP)):
        if statistics != (mean, std):
            yield PixelFault(words, faults.OTHER_STATISTICS, with_statistics(*statistics))


def _to_planes(tiles: Tiles) -> Planes:
    return tiles.transpose(0, 3, 1, 2).astype(np.float32)


def _standardise(planes: Planes, mean: Triple, std: Triple) -> Planes:
    middle, spread = (np.array(each, np.float32).reshape(1, 3, 1, 1) for each in (mean, std))
    standardised: Planes = (planes - middle) / spread
    return standardised
