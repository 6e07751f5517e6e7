"""Attention weights and patch features of one layer, by transformers' own blocks in float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.encoder.tokens import Vectors, normalise
from dino_assets.errors import ConfigError, DeviceMemoryError
from dino_assets.weights.records import Checkpoint

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Attention:
    """How the CLS token of one layer divides its attention; a head's shares add up to 1."""

    layer: int  # from 0
    patches: Vectors  # (heads, rows, columns)
    registers: Vectors  # (heads, R)
    cls: Vectors  # (heads,), on itself

    def pick(self, head: int | None) -> Vectors:
        """The map (rows, columns) of a head, or the mean over all heads.

        Raises:
            ConfigError: the layer has no such head.
        """
        if head is None:
            return np.asarray(self.patches.mean(axis=0))
        return np.asarray(self.patches[check_index("head", head, len(self.patches))])

    def divide(self, head: int | None) -> dict[str, float]:
        """Say how much goes to patches, registers and CLS itself, of a head or of all on average.

        Raises:
            ConfigError: the layer has no such head.
        """
        heads = slice(None) if head is None else [check_index("head", head, len(self.patches))]
        parts = {
            "patches": self.patches[heads].sum(axis=(1, 2)),
            "registers": self.registers[heads].sum(axis=1),
            "cls": self.cls[heads],
        }
        return {name: float(shares.mean()) for name, shares in parts.items()}


class PatchReader:
    """One picture in, the attention or the patch features of one of the model's layers out.

    Blocks run one after the other up to the layer that is asked, by PyTorch's fused attention; of the
    asked layer only the CLS token's row of weights is computed. So memory grows with the number of
    patches, not with its square.
    """

    def __init__(self, folder: Path, checkpoint: Checkpoint, *, device: str = "cpu") -> None:
        import torch

        from dino_assets.embeddings.encoder.vit import load_model

        self.checkpoint = checkpoint
        self.device = torch.device(device)
        model = load_model(folder, checkpoint)
        # They stay here: a GPU multiplies float32 convolutions in fewer bits unless it is forbidden.
        self._embeddings = model.embeddings
        self._rope = model.rope_embeddings if checkpoint.family == "dinov3_vit" else None
        blocks = model.encoder.layer if hasattr(model, "encoder") else model.model.layer
        norm = model.layernorm if hasattr(model, "layernorm") else model.norm
        self._blocks = [block.to(self.device) for block in blocks]
        self._norm = norm.to(self.device)

    def read_attention(self, pixels: NDArray[np.uint8], *, layer: int = -1) -> Attention:
        """Compute one layer's attention from CLS, of all heads, for a picture (H, W, 3).

        Equals transformers' eager attention to 1e-5. Negative layers count from the last.

        Raises:
            ConfigError: no such layer, or a side that is no multiple of the patch.
            DeviceMemoryError: the device has no room for the picture.
        """
        import torch

        from dino_assets.embeddings.encoder.vit import turn

        layer = check_index("layer", layer, len(self._blocks))
        rows, columns = self._check_sides(pixels)
        with torch.inference_mode(), explaining_memory(pixels):
            hidden, rope = self._run_blocks(pixels, until=layer)
            block = self._blocks[layer]
            attention, normed = block.attention, block.norm1(hidden)
            heads = attention.config.num_attention_heads
            query, key = attention.q_proj(normed[:, :1]), attention.k_proj(normed)
            query, key = (
                each[0].unflatten(-1, (heads, -1)).transpose(0, 1) for each in (query, key)
            )
            ahead = 1 + self.checkpoint.registers
            if rope:
                # CLS has no place, so its query is not turned.
                turned = turn(key[:, ahead:], *rope)
                key = torch.cat([key[:, :ahead], turned], dim=1)
            weights = (query @ key.transpose(1, 2) * attention.scaling).softmax(dim=-1)
            shares: Vectors = weights[:, 0].cpu().numpy()
        return Attention(
            layer=layer,
            patches=shares[:, ahead:].reshape(-1, rows, columns),
            registers=shares[:, 1:ahead],
            cls=shares[:, 0],
        )

    def read_features(self, pixels: NDArray[np.uint8], *, layer: int = -1) -> Vectors:
        """Compute the patch features (rows, columns, D) that leave one layer, for a picture (H, W, 3).

        The model's last norm is applied to those of every layer, as DINOv2's own code does it: so
        layers compare, and those of the last one are the patch tokens that embeddings are made of.

        Raises:
            ConfigError: no such layer, or a side that is no multiple of the patch.
            DeviceMemoryError: the device has no room for the picture.
        """
        import torch

        layer = check_index("layer", layer, len(self._blocks))
        rows, columns = self._check_sides(pixels)
        with torch.inference_mode(), explaining_memory(pixels):
            hidden, _ = self._run_blocks(pixels, until=layer + 1)
            patches = self._norm(hidden[0, 1 + self.checkpoint.registers :])
            features: Vectors = patches.cpu().numpy()
        return features.reshape(rows, columns, -1)

    def _run_blocks(
        self, pixels: NDArray[np.uint8], *, until: int
    ) -> "tuple[Tensor, tuple[Tensor, Tensor] | None]":
        """Hidden states after the first blocks, and DINOv3's positions."""
        import torch

        planes = torch.from_numpy(normalise(pixels[None], self.checkpoint))
        hidden = self._embeddings(planes).to(self.device)
        places: dict[str, Any] = {}
        if self._rope is not None:
            cos, sin = self._rope(planes)
            places["position_embeddings"] = cos.to(self.device), sin.to(self.device)
        for block in self._blocks[:until]:
            hidden = block(hidden, **places)
        return hidden, places.get("position_embeddings")

    def _check_sides(self, pixels: NDArray[np.uint8]) -> tuple[int, int]:
        """Rows and columns of patches."""
        patch_px = self.checkpoint.patch_px
        shape = pixels.shape
        is_picture = pixels.dtype == np.uint8 and pixels.ndim == 3 and shape[2] == 3
        if not is_picture or 0 in shape or shape[0] % patch_px or shape[1] % patch_px:
            raise ConfigError(
                f"pixels are {pixels.dtype} {shape}; uint8 (H, W, 3) is expected, H and W multiples "
                f"of {patch_px}",
                setting="pixels",
                value=(str(pixels.dtype), *shape),
            )
        return shape[0] // patch_px, shape[1] // patch_px


def check_index(name: str, index: int, count: int) -> int:
    """A layer's or a head's number from 0; negative ones count from the last.

    Raises:
        ConfigError: there is none of that number.
    """
    if not -count <= index < count:
        raise ConfigError(
            f"{name} {index} was asked for, and the model has {count}: {-count} to {count - 1} is "
            "expected, where -1 is the last",
            setting=name,
            value=index,
        )
    return index % count


@contextmanager
def explaining_memory(pixels: NDArray[np.uint8]) -> Iterator[None]:
    """Say what to do when a device has no room for a picture.

    Raises:
        DeviceMemoryError: in the place of PyTorch's own error.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as err:
        height, width = pixels.shape[:2]
        raise DeviceMemoryError(
            f"no room for a picture of {width}×{height} px. Choose a smaller max_px, a smaller model, "
            f"or device 'cpu'. ({str(err).splitlines()[0]})",
            device_said=str(err),
        ) from None
