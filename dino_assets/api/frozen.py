"""A frozen vision transformer inside somebody's training: pictures of any size in, tokens out.

This module imports torch; whoever needs a network imports it inside a function.
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
# Beyond what normal noise reaches; pictures that somebody forgot to divide by 255 are far above.
WIDEST = 16.0


class PictureVit(nn.Module):
    """Pictures (B, 3, any height, any width) in, the asked tokens out, each in float32."""

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
        """Scale to 0 to 1 and to the network's size, and normalise, in float32 all the time."""
        # Kernels of some processors round another way for another layout (AVX2: the last bit).
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
        """Give the tokens in the order of ``outputs``."""
        return self.network.compute(self.prepare(images, is_normalized=is_normalized), outputs)


@dataclass(frozen=True)
class FrozenSpec:
    """All that a frozen network is built from."""

    folder: Path
    size_px: tuple[int, int]
    dtype: torch.dtype
    weights_sha256: str


class FrozenVit:
    """A network whose weights no training can reach.

    It is no ``nn.Module``, so a module that holds it has no parameter of it: optimisers, ``half()``,
    ``load_state_dict`` and gradients pass it by. Deep copies share it. A pickle holds where its
    weights are, not the weights, and reading one reads them again.
    """

    def __init__(self, spec: FrozenSpec, vit: PictureVit, device: torch.device) -> None:
        self.spec = spec
        self.device = device
        self._copies = {device: vit}
        self._copying = threading.Lock()
        self._is_range_checked = False

    @classmethod
    def load(cls, spec: FrozenSpec, checkpoint: Checkpoint, device: torch.device) -> "FrozenVit":
        """Read the weights.

        Raises:
            InvalidCheckpointError: a tensor is not in the files.
        """
        attention = "sdpa" if spec.dtype == torch.float32 else PER_HEAD
        with torch.device("cpu"):  # somebody builds the module around it on the meta device
            model = load_model(spec.folder, checkpoint, attention=attention)
            network = FixedVit(model, checkpoint, size_px=spec.size_px, outputs=("cls", "patches"))
            # The last norm stays in float32: it costs nothing, and what it gives is the answer.
            norm, network.norm = network.norm, nn.Identity()
            network = network.to(spec.dtype)
            network.norm = norm
            vit = PictureVit(network, checkpoint, size_px=spec.size_px)
        vit = vit.to(device).eval().requires_grad_(False)
        return cls(spec, vit, device)

    def moved_to(self, device: torch.device) -> "FrozenVit":
        """The same network on another device, which shares nothing with this one."""
        return FrozenVit(self.spec, _copy_to(self._copies[self.device], device), device)

    def __deepcopy__(self, memo: dict[int, object]) -> "FrozenVit":
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return _read_again, (self.spec, str(self.device))

    @torch.no_grad()  # not inference mode: a loss keeps its target for the backward pass
    def compute(
        self, images: Tensor | NDArray[Any], outputs: Sequence[TokenName], *, is_normalized: bool
    ) -> tuple[Tensor, ...]:
        """Give the tokens in the order of ``outputs``, in the network's own precision.

        Images on another card of the same kind are computed there, by a copy that is made once:
        ``DataParallel`` sends each card its part of the batch.

        Raises:
            ConfigError: images that are none.
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
        # Around a training step there may be an autocast, which would compute in its precision.
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
        """Warn once of pictures from 0 to 255 in floats: nothing else would ever show it."""
        self._is_range_checked = True
        if images.dtype == torch.uint8 or not images.numel():
            return
        largest = float(images.detach().abs().max())
        if largest > WIDEST:
            log.warning(
                "float images reach %.0f; 0 to 1 is expected. Divide them by 255, or give uint8.",
                largest,
            )

    def hash_tensors(self) -> str:
        """One sha256 over everything that is computed with."""
        vit = self._copies[self.device]
        digest = hashlib.sha256()
        for name, tensor in sorted([*vit.named_parameters(), *vit.named_buffers()]):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def _copy_to(vit: PictureVit, device: torch.device) -> PictureVit:
    """A copy on a device, without a second one on the way."""
    moved: dict[int, object] = {}
    for parameter in vit.parameters():
        moved[id(parameter)] = nn.Parameter(parameter.detach().to(device), requires_grad=False)
    for buffer in vit.buffers():
        moved[id(buffer)] = buffer.to(device)
    return copy.deepcopy(vit, moved)


def _read_again(spec: FrozenSpec, device: str) -> FrozenVit:
    """Build what was pickled, from the folder that it was built from.

    Raises:
        CheckpointError: the folder is gone, or holds other weights.
    """
    checkpoint = check_checkpoint(spec.folder)
    if checkpoint.weights_sha256 != spec.weights_sha256:
        raise InvalidCheckpointError(
            f"{str(spec.folder)!r} holds other weights (sha256 {checkpoint.weights_sha256[:12]}) than "
            f"what was pickled was made with ({spec.weights_sha256[:12]}). Put those back.",
            file="model.safetensors",
            reason="altered",
        )
    place = torch.device(device)
    if place.type != "cpu" and not torch.get_device_module(place).is_available():
        log.warning("%s is not here: the teacher that was pickled there is on the CPU", device)
        place = torch.device("cpu")
    return FrozenVit.load(spec, checkpoint, place)


def _check_images(images: Tensor, *, is_normalized: bool) -> None:
    """Refuse what would be computed silently and wrong.

    Raises:
        ConfigError: not (B, 3, H, W), no pictures, or numbers of no known range.
    """
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise ConfigError(
            f"images are {tuple(images.shape)}; (B, 3, height, width) is expected",
            setting="images",
            value=tuple(images.shape),
        )
    if not (images.is_floating_point() or images.dtype == torch.uint8):
        raise ConfigError(
            f"images are {images.dtype}; uint8 from 0 to 255, or floats from 0 to 1, are expected",
            setting="images",
            value=str(images.dtype),
        )
    if is_normalized and images.dtype == torch.uint8:
        raise ConfigError(
            "uint8 images cannot be normalised already; leave normalized=True out",
            setting="normalized",
            value=True,
        )
