"""Engines of the served model: find the checkpoint, build an engine for each batch shape, check it."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_assets.compute.devices import resolve_compute
from dino_assets.compute.settings import ComputeSettings
from dino_assets.embeddings.encoder.choosing import DEVICE_TOKENS
from dino_assets.embeddings.encoder.engine import Encoder, NetworkSource, fit_batch
from dino_assets.embeddings.encoder.ready import name_engine, open_encoder
from dino_assets.embeddings.encoder.tokens import TokenName, Tokens, Vectors
from dino_assets.embeddings.space import make_space
from dino_assets.errors import CheckpointNotFoundError, ChecksumError
from dino_assets.serving.requests.planning import ServedModel
from dino_assets.settings.environment import find_cache
from dino_assets.settings.hub import find_engine_cache
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.grid import make_grid
from dino_assets.weights.architecture import check_config
from dino_assets.weights.catalogue import full_name
from dino_assets.weights.fetching import read_located
from dino_assets.weights.hub.filling import Progress, Watch
from dino_assets.weights.hub.locating import locate_checkpoint
from dino_assets.weights.records import Checkpoint, spell_caveat
from dino_assets.weights.stage import checkpoint_folder, checkpoint_of, find_stored_weights

log = logging.getLogger(__name__)

OUTPUTS: tuple[TokenName, ...] = ("cls", "mean", "patches")
# The middle of three batch shapes on an accelerator: one tile, a few, and as many as keep it busy. A CPU has
# only batches of one tile: larger ones are not faster, and tiles would wait until a batch is full.
MIDDLE_SHAPE = 8


class EngineSet:
    """The engines of one model, one for each batch shape (the number of tiles per call)."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        self._encoders = {each.spec.batch: each for each in encoders}
        self.shapes = tuple(sorted(self._encoders))
        self.threads = min(each.spec.threads for each in encoders)
        self.name = name_engine(encoders[0].spec)
        self.device = encoders[0].spec.device
        self.side_px = encoders[0].source.side_px

    def encode(self, tiles: NDArray[np.uint8], *, is_alone: bool = False) -> Tokens:
        """Encode tiles (N, side, side, 3) with the smallest batch shape that holds them."""
        fitting = [shape for shape in self.shapes if shape >= len(tiles)]
        encoder = self._encoders[fitting[0] if fitting else self.shapes[-1]]
        return encoder.encode(tiles, is_alone=is_alone)

    def to_half(self, values: Vectors) -> NDArray[np.float16]:
        """Round numbers to 16 bits."""
        return self._encoders[self.shapes[0]].to_half(values)

    def widen(self) -> bool:
        """Let a tile that is alone have all threads, if its engine can do that; return whether it can."""
        return self._encoders[self.shapes[0]].widen()

    def measure_tile_s(self) -> float:
        """Measure the seconds of one tile, in the second of two calls, because the first makes buffers."""
        tile = np.zeros((1, self.side_px, self.side_px, 3), np.uint8)
        self.encode(tile)
        started = time.perf_counter()
        self.encode(tile)
        return time.perf_counter() - started


def locate_model(
    settings: Settings, store: ObjectStore, *, progress: Progress = lambda done, total: None
) -> tuple[Path, Checkpoint]:
    """Find the configured checkpoint: in a folder, on the Hub, or else as the copy in the store.

    Raises:
        CheckpointNotFoundError: none of these places has it.
        InvalidCheckpointError: the checkpoint is incomplete, or not a DINOv2 or DINOv3 model.
    """
    try:
        located = locate_checkpoint(
            settings.model,
            root=settings.root,
            revision=settings.model_revision,
            watch=Watch(progress, check_early=lambda folder: check_config(folder, settings.model)),
        )
        folder = located.bring()
        return folder, read_located(located, folder)
    except ChecksumError:
        raise
    except CheckpointNotFoundError as err:
        stored = find_stored_weights(store, settings.model, settings.model_revision)
        if stored is None:
            raise
        log.warning("the model cannot be found or fetched; using its copy in the store: %s", err)
        folder = checkpoint_folder(store, stored, cache=find_cache(settings.root))
        return folder, checkpoint_of(stored)


def name_model(settings: Settings) -> str:
    """Return the model's name for clients: a repository's name, or the last part of a folder's path."""
    name = full_name(settings.model)
    folder = settings.root / expand_path(name)
    return folder.resolve().name if folder.is_dir() else name


def open_engines(settings: Settings, store: ObjectStore) -> tuple[ServedModel, EngineSet]:
    """Find the model and build its engines.

    Each engine has passed the numerics check: its results agree with PyTorch's in float32.

    Raises:
        CheckpointError: the model was not found or is damaged.
        EngineRefusedError: no engine passes the numerics check.
        ConfigError: the device or a setting is invalid.
    """
    folder, checkpoint = locate_model(settings, store)
    if checkpoint.caveat:
        log.warning("%s: %s", name_model(settings), spell_caveat(checkpoint.caveat))
    compute = resolve_compute(ComputeSettings(device=settings.device))  # type: ignore[arg-type]
    grid = make_grid(checkpoint.tile_px, patch_px=checkpoint.patch_px)
    source = NetworkSource(folder, checkpoint, grid.side_px, OUTPUTS)
    cache = find_engine_cache(settings.root)
    ready = [
        open_encoder(source, replace(compute, batch=shape), cache=cache)
        for shape in choose_shapes(compute.device, checkpoint, grid.side_px)
    ]
    model = ServedModel(
        name_model(settings),
        checkpoint,
        make_space(checkpoint, compute, side_px=grid.side_px),
        grid,
    )
    return model, EngineSet([each.encoder for each in ready])


def choose_shapes(device: str, checkpoint: Checkpoint, side_px: int) -> tuple[int, ...]:
    """Choose the batch shapes, ascending: 1 on a CPU, else 1, ``MIDDLE_SHAPE`` and the most that fit."""
    if device == "cpu":
        return (1,)
    most = fit_batch(checkpoint, side_px, tokens=DEVICE_TOKENS)
    return tuple(sorted({1, min(MIDDLE_SHAPE, most), most}))
