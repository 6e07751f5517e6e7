"""Two networks to export; both return all tokens, and the second one also normalises its input.

This module imports torch, so it must be imported inside a function.
"""

import torch
from torch import Tensor, nn

from dino_assets.embeddings.encoder.vit import FixedVit
from dino_assets.weights.records import Checkpoint


class AllTokens(nn.Module):
    """A network that takes normalised planes (N, 3, side, side) and returns all tokens (N, T, D)."""

    def __init__(self, vit: FixedVit) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Compute the CLS, register and patch tokens after the last layer and the final norm."""
        return self.vit.compute_hidden(pixel_values)


class AllTokensOfPixels(nn.Module):
    """A network that takes uint8 pixels (N, side, side, 3) and returns all tokens (N, T, D)."""

    scale: Tensor
    shift: Tensor

    def __init__(self, vit: FixedVit, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.vit = vit
        # The same constants as in `encoder.tokens.normalise`, in the same precision.
        statistics = list(zip(checkpoint.mean, checkpoint.std, strict=True))
        scale = torch.tensor([1 / (255 * std) for _, std in statistics]).view(1, 3, 1, 1)
        shift = torch.tensor([mean / std for mean, std in statistics]).view(1, 3, 1, 1)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Normalise pixels, then compute all tokens."""
        planes = pixel_values.permute(0, 3, 1, 2).float() * self.scale - self.shift
        return self.vit.compute_hidden(planes)
