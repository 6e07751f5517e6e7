"""Common interface of all engines: fixed batch shape, padding, smaller batches when out of memory."""

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
    to_half,
)
from dino_assets.embeddings.space import check_side
from dino_assets.errors import DeviceMemoryError
from dino_assets.weights.records import Checkpoint

log = logging.getLogger(__name__)

Numerics = Literal["fp32", "bf16", "fp16"]
# About as many tokens as one tile of 518 px has. Measured: a core is as fast with one such tile as with
# more; single tiles of 224 px are 15 % slower than batches of eight.
BATCH_TOKENS = 1600


@dataclass(frozen=True)
class EngineSpec:
    """What an engine is and how it computes: library, device, number type, tiles per call and threads."""

    engine: EngineName
    device: str  # cpu, cuda, cuda:1, mps
    numerics: Numerics
    batch: int
    threads: int = 1

    def __str__(self) -> str:
        """The spec as a phrase, for example ``openvino bf16 on cpu``."""
        return f"{self.engine} {self.numerics} on {self.device}"


@dataclass(frozen=True)
class NetworkSource:
    """What an engine is built from: a checkpoint's files, the tile side and the requested tokens."""

    folder: Path
    checkpoint: Checkpoint
    side_px: int
    outputs: tuple[TokenName, ...] = ("cls",)


def count_tokens(checkpoint: Checkpoint, side_px: int) -> int:
    """Count the tokens of one tile: CLS, registers and patches."""
    return 1 + checkpoint.registers + (side_px // checkpoint.patch_px) ** 2


def fit_batch(checkpoint: Checkpoint, side_px: int, *, tokens: int = BATCH_TOKENS) -> int:
    """Choose how many tiles per call keep the device busy: 1 to 256, with about ``tokens`` tokens in all."""
    return max(1, min(256, tokens // count_tokens(checkpoint, side_px)))


class Encoder(ABC):
    """An engine: uint8 tiles in, named tokens out. ``spec.threads`` threads may call it at the same time."""

    version: str  # of the library that computes
    tile_s = 0.0  # wall seconds per tile at full load, set by the code that measures it

    def __init__(self, source: NetworkSource, spec: EngineSpec) -> None:
        check_side(source.side_px, source.checkpoint)
        self.source = source
        self.spec = spec
        self._halving = threading.Lock()

    @property
    def outputs(self) -> Sequence[TokenName]:
        """The tokens that the engine returns."""
        return self.source.outputs

    def encode(self, tiles: NDArray[np.uint8], *, is_alone: bool = False) -> Tokens:
        """Embed any number of tiles (N, side, side, 3).

        With ``is_alone`` no other call runs meanwhile: a widened engine then uses all its threads for it.

        Every call of ``run_batch`` gets the same number of tiles; the last call is padded. So a tile's
        tokens do not depend on the number of tiles, and nothing is compiled twice. If the device runs out of
        memory, this and all later calls get half as many tiles.

        Raises:
            ConfigError: the tiles have another shape or type.
            DeviceMemoryError: the device has no memory for a single tile.
        """
        check_tiles(tiles, side_px=self.source.side_px)
        run = self.run_alone if is_alone else self.run_batch
        outputs: list[tuple[Vectors, ...]] = []
        first = 0
        while first < len(tiles):
            batch = self.spec.batch
            piece = tiles[first : first + batch]
            count = len(piece)
            if count < batch:
                piece = np.concatenate([piece, np.repeat(piece[-1:], batch - count, axis=0)])
            try:
                outputs.append(tuple(each[:count] for each in run(piece)))
            except DeviceMemoryError as err:
                self._halve(batch, err)
                continue
            first += count
        if not outputs:
            return Tokens(**{name: self._empty(name) for name in self.outputs})
        if len(outputs) == 1:  # nothing to copy
            return Tokens(**dict(zip(self.outputs, outputs[0], strict=True)))
        joined = zip(*outputs, strict=True)
        return Tokens(**{n: np.concatenate(v) for n, v in zip(self.outputs, joined, strict=True)})

    def widen(self) -> bool:
        """Prepare for calls that use all threads, and return whether the engine can make them now."""
        return False

    def run_alone(self, tiles: NDArray[np.uint8]) -> tuple[Vectors, ...]:
        """Compute one batch while no other call runs; by default as any other batch."""
        return self.run_batch(tiles)

    def to_half(self, values: Vectors) -> NDArray[np.float16]:
        """Round numbers to 16 bits. Engines override this, because their libraries do it faster than numpy."""
        return to_half(values)

    def _empty(self, name: TokenName) -> Vectors:
        checkpoint = self.source.checkpoint
        patches = (self.source.side_px // checkpoint.patch_px) ** 2
        middle = {"registers": (checkpoint.registers,), "patches": (patches,)}
        return np.empty((0, *middle.get(name, ()), checkpoint.dim), np.float32)

    def _halve(self, batch: int, err: DeviceMemoryError) -> None:
        if batch == 1:
            raise DeviceMemoryError(
                f"{self.spec}: not enough memory for one tile of {self.source.side_px} px. Choose a "
                f"smaller model or tile, or another device. ({err})",
                device_said=str(err),
            ) from None
        with self._halving:
            if self.spec.batch == batch:  # otherwise another thread has already halved it
                self.spec = replace(self.spec, batch=batch // 2)
                log.warning(
                    f"{self.spec}: out of memory at {batch} tiles per call, continuing with {batch // 2}"
                )

    @abstractmethod
    def run_batch(self, tiles: NDArray[np.uint8]) -> tuple[Vectors, ...]:
        """Compute the tokens of exactly ``spec.batch`` tiles, in the order of ``outputs``.

        Raises:
            DeviceMemoryError: the device has not enough memory.
        """
