"""From tiles to embeddings: our own preprocessing, transformers' own model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dino_assets.errors import ConfigError, InvalidCheckpointError
from dino_assets.records import Checkpoint, Device

if TYPE_CHECKING:
    import torch

# Part of every space: raise it when the numbers that reach the model change.
PREPROCESSING_VERSION = 1
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Tokens:
    """What the model's last layer says about N tiles: (N, D) each."""

    cls: Vectors
    mean: Vectors  # over patch tokens; cls and registers excluded


def normalise(tiles: NDArray[np.uint8], checkpoint: Checkpoint) -> NDArray[np.float32]:
    """uint8 tiles (N, H, W, 3) → float32 planes (N, 3, H, W), ``(x / 255 − mean) / std``.

    Nothing is resized or cropped: the Hub's own processors lose 23 % of a tile (DINOv2) or four
    fifths of its pixels (DINOv3).
    """
    planes = np.empty((tiles.shape[0], 3, *tiles.shape[1:3]), np.float32)
    statistics = list(zip(checkpoint.mean, checkpoint.std, strict=True))
    for tile, out in zip(tiles, planes, strict=True):
        # One multiply and one add per plane, in place: 8× faster than the tensor expression, and
        # another 2 to 9× than all tiles at once, whose planes do not fit the cache.
        for channel, (mean, std) in enumerate(statistics):
            np.multiply(tile[..., channel], np.float32(1 / (255 * std)), out=out[channel])
            out[channel] -= np.float32(mean / std)
    return planes


class TorchEncoder:
    """transformers' model in float32: the reference every other engine is held against.

    On a CPU one call uses one thread, and callers run several calls at a time: measured 1.4× as fast
    on two cores as two OpenMP threads per call, up to 4× when other work is there to be waited for
    at every layer's barrier, and the numbers do not depend on how many threads there are.
    """

    engine = "torch"
    precision = "fp32"

    def __init__(self, folder: Path, checkpoint: Checkpoint, *, device: Device) -> None:
        import torch

        self.checkpoint = checkpoint
        self._torch = torch
        self._device = torch.device(device)
        if device == "cpu":
            torch.set_num_threads(1)
        self._model = _load(folder, checkpoint).to(self._device)

    def encode(self, tiles: NDArray[np.uint8]) -> Tokens:
        """Embed uint8 tiles (N, side, side, 3)."""
        check_tiles(tiles, self.checkpoint)
        pixels = self._torch.from_numpy(normalise(tiles, self.checkpoint)).to(self._device)
        with self._torch.inference_mode():
            hidden = self._model(pixel_values=pixels).last_hidden_state.float()
        patches = hidden[:, 1 + self.checkpoint.registers :]
        return Tokens(hidden[:, 0].cpu().numpy(), patches.mean(dim=1).cpu().numpy())


def _load(folder: Path, checkpoint: Checkpoint) -> "torch.nn.Module":
    import torch
    from transformers import AutoModel

    # Only from_pretrained knows the renamed keys of older checkpoints.
    with quiet_progress():
        model, report = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            # Not what the files have: bfloat16 ones would compute in bfloat16 under the name fp32.
            dtype=torch.float32,
        )
    absent = sorted(key for key in report["missing_keys"] if "mask_token" not in key)
    if absent:
        raise InvalidCheckpointError(
            f"{checkpoint.model!r}: {len(absent)} tensors of the model are not in the weights, "
            f"{absent[0]!r} among them; they would be random. Fetch or copy the checkpoint again."
        )
    return model.eval().requires_grad_(False)  # type: ignore[no-any-return]


def check_tiles(tiles: NDArray[np.uint8], checkpoint: Checkpoint) -> None:
    """Refuse what the model would take silently and get wrong.

    Raises:
        ConfigError: not uint8 RGB squares, or a side that cuts patches.
    """
    if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[3] != 3:
        raise ConfigError(
            f"tiles are {tiles.dtype} {tiles.shape}; uint8 (N, side, side, 3) is expected"
        )
    height, width = tiles.shape[1:3]
    if height != width or height % checkpoint.patch_px:
        raise ConfigError(
            f"tiles are {width}×{height} px; squares with a side that is a multiple of "
            f"{checkpoint.patch_px} px are expected"
        )


@contextmanager
def quiet_progress() -> Iterator[None]:
    """No progress bars of transformers: in a log they are noise."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
