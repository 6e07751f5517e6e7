"""Models of the Python API: found by name, with encoders on one or several devices."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from dino_assets.api.progress import showing_download
from dino_assets.compute.devices import resolve_compute
from dino_assets.compute.settings import ComputeSettings, PrecisionClass
from dino_assets.embeddings.encoder.choosing import list_engines
from dino_assets.embeddings.encoder.engine import NetworkSource
from dino_assets.embeddings.encoder.ready import ReadyEncoder, name_engine, open_encoder
from dino_assets.embeddings.encoder.tokens import TokenName, Tokens
from dino_assets.embeddings.space import check_side
from dino_assets.errors import ConfigError, DeviceUnavailableError
from dino_assets.settings.environment import find_root
from dino_assets.settings.hub import find_engine_cache
from dino_assets.settings.urls import expand_path
from dino_assets.weights.architecture import check_config
from dino_assets.weights.fetching import read_located
from dino_assets.weights.hub.filling import Progress, Watch
from dino_assets.weights.hub.locating import locate_checkpoint
from dino_assets.weights.records import Checkpoint, spell_caveat

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A checkpoint on this machine, with the name that was given for it."""

    name: str
    folder: Path
    checkpoint: Checkpoint


def open_model(
    model_name: str, *, revision: str | None = None, progress: bool | None = None
) -> Model:
    """Find a model as ``find_model`` does, with a progress bar for its download."""
    with showing_download(str(model_name), progress=progress) as count:
        return find_model(model_name, revision=revision, progress=count)


def find_model(model_name: str, *, revision: str | None = None, progress: Progress) -> Model:
    """Find a model by its folder, Hub repository or short name.

    A relative folder is looked for in the current folder, then in the project. A checkpoint that is not on
    this machine is fetched; one that is there is verified.

    Raises:
        CheckpointNotFoundError: the model cannot be found or fetched; the subclasses say why.
        InvalidCheckpointError: the checkpoint is incomplete or not supported.
        ConfigError: the name is empty.
    """
    name = str(model_name)
    if not name.strip():
        raise ConfigError(
            "model_name is empty; give a folder, or a model like dinov2-base",
            setting="model_name",
        )
    local = expand_path(name)
    located = locate_checkpoint(
        str(local.absolute()) if local.is_dir() else name,
        root=find_root(),
        revision=revision,
        watch=Watch(progress, check_early=lambda folder: check_config(folder, name)),
    )
    folder = located.bring()
    checkpoint = read_located(replace(located, model=name), folder)
    if checkpoint.caveat:
        log.warning("%s: %s", name, spell_caveat(checkpoint.caveat))
    return Model(name, folder, checkpoint)


def resolve_devices(
    device: object, *, precision: PrecisionClass, batch_size: int
) -> tuple[ComputeSettings, ...]:
    """Resolve a device's name, or a list of names, to compute settings, one per device.

    A name is ``cuda``, ``cuda:1``, ``cpu``, ``mps`` or ``auto``; None means ``auto``. On a CPU every core
    computes one tile at a time, so the batch is 1, whatever ``batch_size`` is. Measured at 224 px, larger
    batches are not faster, and a single picture needs no padding to a full batch.

    Raises:
        DeviceUnavailableError: this machine does not have a device.
        ConfigError: an unknown device name.
    """
    if isinstance(device, list | tuple):
        if not device:
            raise ConfigError(
                "device is an empty list; give at least one", setting="device", value=device
            )
        each = [resolve_devices(one, precision=precision, batch_size=batch_size) for one in device]
        return tuple(compute for (compute,) in each)
    word = "auto" if device is None else str(device)
    kind, _, number = word.partition(":")
    wanted = ComputeSettings(device=kind, precision=precision)  # type: ignore[arg-type]
    compute = resolve_compute(wanted)
    if number:
        import torch

        cards = torch.cuda.device_count() if compute.device == "cuda" else 0
        if not number.isdecimal() or int(number) >= cards:
            raise DeviceUnavailableError(
                f"device {word!r} is not on this machine: PyTorch finds {cards} of this kind here. Give "
                "another device, or auto.",
                setting="device",
                value=word,
            )
        compute = replace(compute, device=word)  # type: ignore[arg-type]
    return (replace(compute, batch=1 if compute.device == "cpu" else batch_size),)


class Engines:
    """Encoders of one model for tiles of one size, one encoder per device; opened on first use."""

    def __init__(
        self,
        model: Model,
        computes: Sequence[ComputeSettings],
        *,
        side_px: int,
        outputs: tuple[TokenName, ...] = ("cls",),
    ) -> None:
        check_side(side_px, model.checkpoint)
        self._model = model
        self._source = NetworkSource(model.folder, model.checkpoint, side_px, outputs)
        self._computes = tuple(computes)
        self._lock = threading.Lock()
        self._ready: tuple[ReadyEncoder, ...] = ()
        self._free: SimpleQueue[ReadyEncoder] = SimpleQueue()
        specs = [next(list_engines(c, model.checkpoint, side_px=side_px)) for c in computes]
        self.batch = specs[0].batch  # tiles per call
        self.threads = sum(spec.threads for spec in specs)  # calls at a time

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the arguments only: unpickled engines are opened again, on the machine that uses them."""
        side_px, outputs = self._source.side_px, self._source.outputs
        make = partial(Engines, side_px=side_px, outputs=outputs)
        return make, (self._model, self._computes)

    def open(self) -> tuple[ReadyEncoder, ...]:
        """Open the encoders; each is compared with PyTorch in float32, once per machine.

        Raises:
            EngineRefusedError: no engine's results agree with PyTorch's.
        """
        with self._lock:
            if not self._ready:
                cache = find_engine_cache()
                ready = tuple(open_encoder(self._source, c, cache=cache) for c in self._computes)
                for number in range(max(each.encoder.spec.threads for each in ready)):
                    for each in ready:  # alternately, so that a few calls already use all devices
                        if number < each.encoder.spec.threads:
                            self._free.put(each)
                self._ready = ready
        return self._ready

    @property
    def name(self) -> str:
        """The engines' names, for example ``openvino bf16 on cpu``; empty before they are open."""
        return ", ".join(dict.fromkeys(name_engine(each.encoder.spec) for each in self._ready))

    def encode(self, tiles: NDArray[np.uint8]) -> Tokens:
        """Embed tiles in one call on a free device.

        As many threads as the attribute ``threads`` says may call this method at the same time.
        """
        self.open()
        ready = self._free.get()
        try:
            return ready.encoder.encode(tiles)
        finally:
            self._free.put(ready)

    def encode_all(self, tiles: NDArray[np.uint8]) -> Tokens:
        """Embed tiles in parallel calls on all devices."""
        if len(tiles) <= self.batch:
            return self.encode(tiles)
        pieces = [tiles[first : first + self.batch] for first in range(0, len(tiles), self.batch)]
        with ThreadPoolExecutor(min(self.threads, len(pieces))) as pool:
            return Tokens.join(list(pool.map(self.encode, pieces)))
