"""Reader of one layer's attention weights and patch features, computed by transformers' blocks in float32."""

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
    """The share of the CLS token's attention that each token gets in one layer.

    The shares of one head add up to 1.
    """

    layer: int  # from 0
    patches: Vectors  # (heads, rows, columns)
    registers: Vectors  # (heads, R)
    cls: Vectors  # (heads,), attention of CLS to itself

    def pick(self, head: int | None) -> Vectors:
        """Return the map (rows, columns) of a head, or the mean over all heads if ``head`` is None.

        Raises:
            ConfigError: the layer has no head of this number.
        """
        if head is None:
            return np.asarray(self.patches.mean(axis=0))
        return np.asarray(self.patches[check_index("head", head, len(self.patches))])

    def divide(self, head: int | None) -> dict[str, float]:
        """Return how the attention of CLS is divided among ``patches``, ``registers`` and ``cls`` itself.

        The three shares are those of a head, or the means over all heads if ``head`` is None.

        Raises:
            ConfigError: the layer has no head of this number.
        """
        heads = slice(None) if head is None else [check_index("head", head, len(self.patches))]
        parts = {
            "patches": self.patches[heads].sum(axis=(1, 2)),
            "registers": self.registers[heads].sum(axis=1),
            "cls": self.cls[heads],
        }
        return {name: float(shares.mean()) for name, shares in parts.items()}


class PatchReader:
    """Reader of the attention or the patch features of one layer, for one picture at a time.

    The blocks before the requested layer use PyTorch's fused attention. In the requested layer only the
    CLS token's row of weights is computed. So memory grows with the number of patches, not its square.
    """

    def __init__(self, folder: Path, checkpoint: Checkpoint, *, device: str = "cpu") -> None:
        import torch

        from dino_assets.embeddings.encoder.vit import load_model

        self.checkpoint = checkpoint
        self.device = torch.device(device)
        model = load_model(folder, checkpoint)
        # The embeddings stay on the CPU: by default a GPU computes float32 convolutions with fewer bits.
        self._embeddings = model.embeddings
        self._rope = model.rope_embeddings if checkpoint.family == "dinov3_vit" else None
        blocks = model.encoder.layer if hasattr(model, "encoder") else model.model.layer
        norm = model.layernorm if hasattr(model, "layernorm") else model.norm
        self._blocks = [block.to(self.device) for block in blocks]
        self._norm = norm.to(self.device)

    def read_attention(self, pixels: NDArray[np.uint8], *, layer: int = -1) -> Attention:
        """Compute the attention of the CLS token in one layer, for all heads and a picture (H, W, 3).

        The shares equal those of transformers' eager attention to 1e-5. Negative layers count from the last.

        Raises:
            ConfigError: the model has no layer of this number, or a side is not a multiple of the patch.
            DeviceMemoryError: the device has not enough memory for the picture.
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
            first_patch = 1 + self.checkpoint.registers
            if rope:
                # CLS has no position, so its query is not rotated.
                turned = turn(key[:, first_patch:], *rope)
                key = torch.cat([key[:, :first_patch], turned], dim=1)
            weights = (query @ key.transpose(1, 2) * attention.scaling).softmax(dim=-1)
            shares: Vectors = weights[:, 0].cpu().numpy()
        return Attention(
            layer=layer,
            patches=shares[:, first_patch:].reshape(-1, rows, columns),
            registers=shares[:, 1:first_patch],
            cls=shares[:, 0],
        )

    def read_features(self, pixels: NDArray[np.uint8], *, layer: int = -1) -> Vectors:
        """Compute the patch features (rows, columns, D) after one layer, for a picture (H, W, 3).

        The model's last norm is applied to the output of the layer, whichever it is, as in DINOv2's own
        code. So layers are comparable, and the last layer gives the patch tokens of which embeddings are
        made. Negative layers count from the last.

        Raises:
            ConfigError: the model has no layer of this number, or a side is not a multiple of the patch.
            DeviceMemoryError: the device has not enough memory for the picture.
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
        """Compute the hidden states after the first ``until`` blocks, and DINOv3's rotary positions.

        The rotary positions are None for other families.
        """
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
        """Check the picture's type and sides; return the rows and columns of patches."""
        patch_px = self.checkpoint.patch_px
        shape = pixels.shape
        is_picture = pixels.dtype == np.uint8 and pixels.ndim == 3 and shape[2] == 3
        if not is_picture or 0 in shape or shape[0] % patch_px or shape[1] % patch_px:
            raise ConfigError(
                f"pixels are {pixels.dtype} {shape}; uint8 (H, W, 3) is expected, with H and W multiples "
                f"of {patch_px}",
                setting="pixels",
                value=(str(pixels.dtype), *shape),
            )
        return shape[0] // patch_px, shape[1] // patch_px


def check_index(name: str, index: int, count: int) -> int:
    """Check the number of a layer or head and return it counted from 0; -1 is the last.

    Raises:
        ConfigError: the model has no layer or head of this number.
    """
    if not -count <= index < count:
        raise ConfigError(
            f"{name} {index} does not exist, because the number of {name}s is {count}. A number from "
            f"{-count} to {count - 1} is expected, where -1 is the last",
            setting=name,
            value=index,
        )
    return index % count


@contextmanager
def explaining_memory(pixels: NDArray[np.uint8]) -> Iterator[None]:
    """Replace PyTorch's out-of-memory error by one that says what to do.

    Raises:
        DeviceMemoryError: the device has not enough memory for the picture.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as err:
        height, width = pixels.shape[:2]
        raise DeviceMemoryError(
            f"not enough device memory for a picture of {width}×{height} px. Choose a smaller max_px, a "
            f"smaller model, or device 'cpu'. ({str(err).splitlines()[0]})",
            device_said=str(err),
        ) from None
