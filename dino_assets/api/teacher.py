"""``DinoV3Teacher``: a frozen DINOv3 or DINOv2 as the teacher in a distillation.

This module imports torch. ``import dino_assets`` does not import this module; the first use of
``DinoV3Teacher`` or ``DinoV3Config`` does.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dino_assets.api.frozen import FrozenSpec, FrozenVit
from dino_assets.compute.devices import resolve_device
from dino_assets.errors import ConfigError
from dino_assets.settings.urls import expand_path
from dino_assets.weights.fetching import check_checkpoint
from dino_assets.weights.input_size import LARGEST_PX, floor_to_patch, read_input_size
from dino_assets.weights.records import Checkpoint

Numerics = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class DinoV3Config:
    """Settings of a teacher: folder, input size, precision.

    ``root`` is a checkpoint folder in the Hugging Face layout. Pictures are resized to squares of ``side``
    pixels, or to ``size`` (height, width). If neither is given, the size is that in the folder's
    ``preprocessor_config.json``. The size is rounded down to whole patches. ``dtype`` is ``"fp32"``,
    ``"bf16"``, ``"fp16"``, or the torch dtype of one of them.

    >>> from dino_assets import DinoV3Config
    >>> DinoV3Config("models/demo", side=224).side
    224

    Raises:
        ConfigError: the path, the size or the precision is invalid.
    """

    root: Path
    side: int | None = None
    size: tuple[int, int] | None = None
    dtype: Numerics | torch.dtype = "fp32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", expand_path(self.root))
        if self.side is not None and self.size is not None:
            raise ConfigError(
                f"side={self.side} and size={self.size} are both given; give only one",
                setting="size",
                value=self.size,
            )
        if self.side is not None and not _is_side(self.side):
            raise ConfigError(
                f"side is {self.side!r}; a number of pixels from 1 to {LARGEST_PX:,} is expected",
                setting="side",
                value=self.side,
            )
        if self.size is not None:
            sides = tuple(self.size)
            if len(sides) != 2 or not all(map(_is_side, sides)):
                raise ConfigError(
                    f"size is {self.size!r}; (height, width), each from 1 to {LARGEST_PX:,} px, is expected",
                    setting="size",
                    value=self.size,
                )
            object.__setattr__(self, "size", sides)
        if self.dtype not in (*_DTYPES, *_DTYPES.values()):
            raise ConfigError(
                f"dtype is {self.dtype!r}; {', '.join(_DTYPES)} or their torch dtypes are expected",
                setting="dtype",
                value=self.dtype,
            )


class TeacherFeatures(NamedTuple):
    """The features of a batch of pictures: ``cls`` (B, D) and ``map`` (B, D, rows, columns)."""

    cls: Tensor
    map: Tensor


class DinoV3Teacher(nn.Module):
    """A frozen teacher: pictures (B, 3, H, W) of any size in, features in float32 out.

    Pictures are tensors or arrays on any device: uint8, or floats from 0 to 1 (values outside are not
    clipped). Features are on the teacher's device. With ``normalized=True`` the pictures are already
    normalised with mean and standard deviation.

    A module that contains the teacher can neither train nor change it. The teacher has no parameters, is
    always in eval mode, computes no gradients, and keeps its precision under ``half()`` and autocast. It
    moves with the module's ``to(device)``. Its weights are in no ``state_dict``, so a student's checkpoint
    holds only the student. Deep copies share the weights; a pickle stores only the path of their folder.

    >>> import torch
    >>> from dino_assets import DinoV3Config, DinoV3Teacher
    >>> teacher = DinoV3Teacher(DinoV3Config("models/demo", side=224), "cpu")
    >>> teacher.extract_feature_map(torch.rand(1, 3, 480, 640)).shape[2:]
    torch.Size([14, 14])

    Raises:
        CheckpointError: the root, or a file in it, is missing, broken, or of another model.
        ConfigError: the size is less than one patch.
        DeviceUnavailableError: this machine does not have the device.
    """

    def __init__(self, config: DinoV3Config, device: torch.device | str = "auto") -> None:
        super().__init__()
        self.config = replace(config, root=config.root.absolute())
        self.checkpoint = check_checkpoint(self.config.root)
        size_px = _find_size(self.config, self.checkpoint)
        patch = self.checkpoint.patch_px
        self.size_px = size_px  # (height, width) that the network sees
        # Rows and columns of the feature map.
        self.grid = (size_px[0] // patch, size_px[1] // patch)
        self._frozen = FrozenVit.load(
            FrozenSpec(
                self.config.root,
                size_px,
                _DTYPES.get(config.dtype, config.dtype),  # type: ignore[arg-type]
                self.checkpoint.weights_sha256,
            ),
            self.checkpoint,
            _find_device(device),
        )
        self.eval()

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self._frozen.device

    @property
    def hidden_size(self) -> int:
        """The length of a feature vector."""
        return self.checkpoint.dim

    def extract_features(
        self, images: Tensor | NDArray[Any], *, normalized: bool = False
    ) -> Tensor:
        """Compute the CLS token of the last layer (B, D), which describes a whole picture.

        Raises:
            ConfigError: ``images`` is not a batch of pictures.
        """
        (cls,) = self._frozen.compute(images, ("cls",), is_normalized=normalized)
        return cls

    def extract_feature_map(
        self, images: Tensor | NDArray[Any], *, normalized: bool = False
    ) -> Tensor:
        """Compute the patch tokens of the last layer as a map (B, D, rows, columns).

        CLS and registers have no position and are left out.

        Raises:
            ConfigError: ``images`` is not a batch of pictures.
        """
        (patches,) = self._frozen.compute(images, ("patches",), is_normalized=normalized)
        return self._lay_out(patches)

    def forward(
        self, images: Tensor | NDArray[Any], *, normalized: bool = False
    ) -> TeacherFeatures:
        """Compute CLS and patch tokens in one pass.

        Raises:
            ConfigError: ``images`` is not a batch of pictures.
        """
        cls, patches = self._frozen.compute(images, ("cls", "patches"), is_normalized=normalized)
        return TeacherFeatures(cls, self._lay_out(patches))

    def _lay_out(self, patches: Tensor) -> Tensor:
        rows, columns = self.grid
        return patches.reshape(-1, rows, columns, self.hidden_size).permute(0, 3, 1, 2)

    def hash_weights(self) -> str:
        """Hash all weights in use (sha256), to verify that training does not change them."""
        return self._frozen.hash_tensors()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode for any ``mode``: in training mode DINOv3 shifts patch positions at random."""
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move to another device with ``to(device)`` of this or a containing module; change nothing else."""
        device = fn(torch.empty(1, device=self.device)).device
        if device not in (self.device, torch.device("meta")):
            self._frozen = self._frozen.moved_to(device)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def extra_repr(self) -> str:
        """Describe model, size, precision and device."""
        height, width = self.size_px
        return f"{self.checkpoint.label}, {height}×{width} px, {self.config.dtype}, {self.device}"


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_PX


def _find_size(config: DinoV3Config, checkpoint: Checkpoint) -> tuple[int, int]:
    """Find height and width in whole patches: as configured, else from the checkpoint folder.

    Raises:
        ConfigError: the configured size is less than a patch.
    """
    asked = config.size
    if config.side is not None:
        asked = config.side, config.side
    if asked is None:
        return read_input_size(config.root, checkpoint)
    size_px = floor_to_patch(asked, checkpoint.patch_px)
    if 0 in size_px:
        raise ConfigError(
            f"{asked[0]}×{asked[1]} px is less than a patch of {checkpoint.patch_px} px; give a larger size",
            setting="size" if config.side is None else "side",
            value=config.size or config.side,
        )
    return size_px


def _find_device(device: torch.device | str) -> torch.device:
    """Resolve a device's name to a torch device; ``cuda`` gets its number, for example ``cuda:0``.

    Raises:
        DeviceUnavailableError: this machine does not have the device.
        ConfigError: an unknown device name.
    """
    if device == "auto":
        device = resolve_device("auto")
    try:
        wanted = torch.device(device)
    except RuntimeError as err:
        raise ConfigError(
            f"device is {device!r}; use auto, cpu, cuda, cuda:1 or mps",
            setting="device",
            value=device,
        ) from err
    if wanted.type in ("cuda", "mps"):
        resolve_device("cuda" if wanted.type == "cuda" else "mps")
    return torch.empty(0, device=wanted).device
