"""Frozen vision transformer for use inside a training: pictures of any size in, tokens out.

This module imports torch, so it is imported inside functions only.
"""

import copy
import hashlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dino_assets.embeddings.encoder.tokens import TokenName
from dino_assets.embeddings.encoder.vit import PER_HEAD, FixedVit, load_model
from dino_assets.errors import ConfigError, InvalidCheckpointError
from dino_assets.weights.fetching import check_checkpoint
from dino_assets.weights.records import Checkpoint

log = logging.getLogger(__name__)
# The largest value of float pictures without a warning. Pictures from 0 to 1 with added noise stay below it;
# pictures with values up to 255 are far above it.
WIDEST = 16.0


class PictureVit(nn.Module):
    """A network that scales and normalises pictures (B, 3, height, width) and returns float32 tokens."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: FixedVit, checkpoint: Checkpoint, *, size_px: tuple[int, int]
    ) -> None:
        super().__init__()
        self.network = network
        self.size_px = size_px
        for name in ("mean", "std"):
            values = torch.tensor(getattr(checkpoint, name), dtype=torch.float32)
            self.register_buffer(name, values.view(1, 3, 1, 1))

    def prepare(self, images: Tensor, *, is_normalized: bool) -> Tensor:
        """Resize pictures to the network's size and normalise them, all in float32.

        uint8 values are divided by 255 first. With ``is_normalized``, pictures are not normalised again.
        """
        # Contiguous: with AVX2, kernels for other layouts round the last bit differently.
        planes = images.to(torch.float32).contiguous()
        if images.dtype == torch.uint8:
            planes = planes / 255
        if tuple(planes.shape[2:]) != self.size_px:
            planes = functional.interpolate(
                planes, size=self.size_px, mode="bilinear", align_corners=False, antialias=True
            )
        return planes if is_normalized else (planes - self.mean) / self.std

    def forward(
        self, images: Tensor, outputs: Sequence[TokenName], *, is_normalized: bool = False
    ) -> tuple[Tensor, ...]:
        """Compute the tokens that ``outputs`` names, one tensor each."""
        return self.network.compute(self.prepare(images, is_normalized=is_normalized), outputs)


@dataclass(frozen=True)
class FrozenSpec:
    """The settings from which a frozen network is built."""

    folder: Path
    size_px: tuple[int, int]
    dtype: torch.dtype
    weights_sha256: str


class FrozenVit:
    """A network whose weights a training cannot change.

    The class is not an ``nn.Module``, so a module that holds the network does not own its parameters.
    Therefore optimisers, ``half()``, ``load_state_dict`` and gradients do not affect it. A deep copy of the
    module has the same ``FrozenVit``. A pickle holds the path of the weights; unpickling reads the weights
    again.
    """

    def __init__(self, spec: FrozenSpec, vit: PictureVit, device: torch.device) -> None:
        self.spec = spec
        self.device = device
        self._copies = {device: vit}
        self._copying = threading.Lock()
        self._is_range_checked = False

    @classmethod
    def load(cls, spec: FrozenSpec, checkpoint: Checkpoint, device: torch.device) -> "FrozenVit":
        """Build the network that ``spec`` describes on a device, with the weights from its folder.

        Raises:
            InvalidCheckpointError: a tensor is missing from the files.
        """
        attention = "sdpa" if spec.dtype == torch.float32 else PER_HEAD
        with torch.device("cpu"):  # the containing module may be built on the meta device
            model = load_model(spec.folder, checkpoint, attention=attention)
            network = FixedVit(model, checkpoint, size_px=spec.size_px, outputs=("cls", "patches"))
            # The last norm stays in float32: it costs nothing, and its output is the result.
            norm, network.norm = network.norm, nn.Identity()
            network = network.to(spec.dtype)
            network.norm = norm
            vit = PictureVit(network, checkpoint, size_px=spec.size_px)
        vit = vit.to(device).eval().requires_grad_(False)
        return cls(spec, vit, device)

    def moved_to(self, device: torch.device) -> "FrozenVit":
        """Copy the network to another device; the copy shares no tensors with this one."""
        return FrozenVit(self.spec, _copy_to(self._copies[self.device], device), device)

    def __deepcopy__(self, memo: dict[int, object]) -> "FrozenVit":
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return _read_again, (self.spec, str(self.device))

    @torch.no_grad()  # not inference mode: a loss keeps its target for the backward pass
    def compute(
        self, images: Tensor | NDArray[Any], outputs: Sequence[TokenName], *, is_normalized: bool
    ) -> tuple[Tensor, ...]:
        """Compute the tokens that ``outputs`` names, one tensor each, in the network's own precision.

        Images on another GPU are computed on that GPU, by a copy of the network that is made once. So
        ``DataParallel`` works, which sends each GPU its part of the batch.

        Raises:
            ConfigError: ``images`` is not a batch of pictures.
        """
        if not isinstance(images, Tensor):
            images = torch.tensor(images)
        _check_images(images, is_normalized=is_normalized)
        device = images.device if images.device.type == self.device.type else self.device
        if not (is_normalized or self._is_range_checked or torch.compiler.is_compiling()):
            self._check_range(images)
        vit = self._copies.get(device)
        if vit is None:
            vit = self._copy_for(device)
        # The training step may run under autocast, which would change the precision.
        with torch.autocast(device.type, enabled=False):
            images = images.to(device, non_blocking=True)
            tokens: tuple[Tensor, ...] = vit(images, outputs, is_normalized=is_normalized)
        return tokens

    def _copy_for(self, device: torch.device) -> PictureVit:
        with self._copying:
            if device not in self._copies:
                self._copies[device] = _copy_to(self._copies[self.device], device)
        return self._copies[device]

    def _check_range(self, images: Tensor) -> None:
        """Warn once about float pictures with values up to 255; nothing else would show this mistake."""
        self._is_range_checked = True
        if images.dtype == torch.uint8 or not images.numel():
            return
        largest = float(images.detach().abs().max())
        if largest > WIDEST:
            log.warning(
                "float images have values up to %.0f; 0 to 1 is expected. Divide them by 255, or give uint8.",
                largest,
            )

    def hash_tensors(self) -> str:
        """Hash all parameters and buffers of the network (sha256)."""
        vit = self._copies[self.device]
        digest = hashlib.sha256()
        for name, tensor in sorted([*vit.named_parameters(), *vit.named_buffers()]):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def _copy_to(vit: PictureVit, device: torch.device) -> PictureVit:
    """Copy a network to a device, without a second copy in between."""
    moved: dict[int, object] = {}
    for parameter in vit.parameters():
        moved[id(parameter)] = nn.Parameter(parameter.detach().to(device), requires_grad=False)
    for buffer in vit.buffers():
        moved[id(buffer)] = buffer.to(device)
    return copy.deepcopy(vit, moved)


def _read_again(spec: FrozenSpec, device: str) -> FrozenVit:
    """Build a pickled network again, from the weights in its folder.

    Raises:
        CheckpointError: the folder is missing, or holds other weights.
    """
    checkpoint = check_checkpoint(spec.folder)
    if checkpoint.weights_sha256 != spec.weights_sha256:
        raise InvalidCheckpointError(
            f"{str(spec.folder)!r} has weights with sha256 {checkpoint.weights_sha256[:12]}…, but the "
            f"pickled teacher needs {spec.weights_sha256[:12]}…. Put the old weights back.",
            file="model.safetensors",
            reason="altered",
        )
    place = torch.device(device)
    if place.type != "cpu" and not torch.get_device_module(place).is_available():
        log.warning(
            "this machine has no device %s; loading the pickled teacher on the CPU instead", device
        )
        place = torch.device("cpu")
    return FrozenVit.load(spec, checkpoint, place)


def _check_images(images: Tensor, *, is_normalized: bool) -> None:
    """Check shape and type of images; unchecked, they could give wrong results without an error.

    Raises:
        ConfigError: the shape is not (B, 3, H, W), the batch is empty, or the type is neither float nor uint8
            (for normalised images: not float).
    """
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise ConfigError(
            f"images have the shape {tuple(images.shape)}; (B, 3, height, width) is expected",
            setting="images",
            value=tuple(images.shape),
        )
    if not (images.is_floating_point() or images.dtype == torch.uint8):
        raise ConfigError(
            f"images have the type {images.dtype}; uint8 from 0 to 255, or floats from 0 to 1, are expected",
            setting="images",
            value=str(images.dtype),
        )
    if is_normalized and images.dtype == torch.uint8:
        raise ConfigError(
            "normalized=True is for images that are already normalised, but uint8 images never are; give "
            "floats, or omit normalized=True",
            setting="normalized",
            value=True,
        )
