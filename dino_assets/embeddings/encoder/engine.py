"""The interface of all engines: a fixed batch shape, padded, halved where a device has no room."""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dino_assets.compute.settings import EngineName
from dino_assets.embeddings.encoder.tokens import (
    TokenName,
    Tokens,
    Vectors,
    check_tiles,
)
from dino_assets.embeddings.space import check_side
from dino_assets.errors import DeviceMemoryError
from dino_assets.weights.records import Checkpoint

log = logging.getLogger(__name__)

Numerics = Literal["fp32", "bf16", "fp16"]
# One batch has about as many tokens as a single tile of 518 px: measured, a core is as fast at one such
# tile as at more, and a tile of 224 px alone is 15 % slower than eight.
BATCH_TOKENS = 1600


@dataclass(frozen=True)
class EngineSpec:
    """Which engine, where, in which numbers, how many tiles per call. All of it is in the metadata."""

    engine: EngineName
    device: str  # cpu, cuda, cuda:1, mps
    numerics: Numerics
    batch: int
    threads: int = 1

    def __str__(self) -> str:
        """Reads like ``openvino bf16 on cpu``."""
        return f"{self.engine} {self.numerics} on {self.device}"


@dataclass(frozen=True)
class NetworkSource:
    """What an engine is built from: a checkpoint's files, one side, and the tokens that are asked."""

    folder: Path
    checkpoint: Checkpoint
    side_px: int
    outputs: tuple[TokenName, ...] = ("cls",)


def count_tokens(checkpoint: Checkpoint, side_px: int) -> int:
    """Tokens of one tile: CLS, registers, patches."""
    return 1 + checkpoint.registers + (side_px // checkpoint.patch_px) ** 2


def fit_batch(checkpoint: Checkpoint, side_px: int, *, tokens: int = BATCH_TOKENS) -> int:
    """Tiles per call that keep the device busy."""
    return max(1, min(256, tokens // count_tokens(checkpoint, side_px)))


class Encoder(ABC):
    """uint8 tiles in, named tokens out. Safe to call from ``spec.threads`` threads at once."""

    version: str  # of the library that computes
    tile_s = 0.0  # on the clock, of a tile among others: noted by who has timed it

    def __init__(self, source: NetworkSource, spec: EngineSpec) -> None:
        check_side(source.side_px, source.checkpoint)
        self.source = source
        self.spec = spec
        self._halving = threading.Lock()

    @property
    def outputs(self) -> Sequence[TokenName]:
        """The tokens that it gives."""
        return self.source.outputs

    def encode(self, tiles: NDArray[np.uint8]) -> Tokens:
        """Embed tiles (N, side, side, 3), any number of them.

        Every call of the engine has the same shape, the last one filled up: so what is computed for a
        tile does not depend on how many others there are, and nothing is compiled twice.

        Raises:
            ConfigError: not such tiles.
            DeviceMemoryError: there is no room for a single one.
        """
        check_tiles(tiles, side_px=self.source.side_px)
        outputs: list[tuple[Vectors, ...]] = []
        first = 0
        while first < len(tiles):
            batch = self.spec.batch
            piece = tiles[first : first + batch]
            given = len(piece)
            if given < batch:
                piece = np.concatenate([piece, np.repeat(piece[-1:], batch - given, axis=0)])
            try:
                outputs.append(tuple(each[:given] for each in self.run_batch(piece)))
            except DeviceMemoryError as err:
                self._halve(batch, err)
                continue
            first += given
        if not outputs:
            return Tokens(**{name: self._empty(name) for name in self.outputs})
        if len(outputs) == 1:  # nothing to copy
            return Tokens(**dict(zip(self.outputs, outputs[0], strict=True)))
        joined = zip(*outputs, strict=True)
        return Tokens(**{n: np.concatenate(v) for n, v in zip(self.outputs, joined, strict=True)})

    def _empty(self, name: TokenName) -> Vectors:
        checkpoint = self.source.checkpoint
        patches = (self.source.side_px // checkpoint.patch_px) ** 2
        middle = {"registers": (checkpoint.registers,), "patches": (patches,)}
        return np.empty((0, *middle.get(name, ()), checkpoint.dim), np.float32)

    def _halve(self, batch: int, err: DeviceMemoryError) -> None:
        if batch == 1:
            raise DeviceMemoryError(
                f"{self.spec}: no room for one tile of {self.source.side_px} px. Choose a smaller "
                f"model or tile, or another device. ({err})",
                device_said=str(err),
            ) from None
        with self._halving:
            if self.spec.batch == batch:  # else another thread has just done it
                self.spec = replace(self.spec, batch=batch // 2)
                log.warning(
                    f"{self.spec}: out of memory at {batch} tiles per call, going on with {batch // 2}"
                )

    @abstractmethod
    def run_batch(self, tiles: NDArray[np.uint8]) -> tuple[Vectors, ...]:
        """Compute exactly ``spec.batch`` tiles; DeviceMemoryError where there is no room."""
