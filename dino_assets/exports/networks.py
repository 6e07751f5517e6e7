"""The networks that leave: our own form of the model, all tokens out, with or without normalising.

This module imports torch; whoever needs a network imports it inside a function.
"""

import torch
from torch import Tensor, nn

from dino_assets.embeddings.encoder.vit import FixedVit
from dino_assets.weights.records import Checkpoint


class AllTokens(nn.Module):
    """Normalised planes (N, 3, side, side) in, all tokens (N, T, D) out."""

    def __init__(self, vit: FixedVit) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Give CLS, registers and patches of the last layer, normed."""
        return self.vit.compute_hidden(pixel_values)


class AllTokensOfPixels(nn.Module):
    """uint8 pixels (N, side, side, 3) in, all tokens (N, T, D) out."""

    scale: Tensor
    shift: Tensor

    def __init__(self, vit: FixedVit, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.vit = vit
        # The constants of `encoder.tokens.normalise`, in its precision.
        statistics = list(zip(checkpoint.mean, checkpoint.std, strict=True))
        scale = torch.tensor([1 / (255 * std) for _, std in statistics]).view(1, 3, 1, 1)
        shift = torch.tensor([mean / std for mean, std in statistics]).view(1, 3, 1, 1)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Normalise, then give all tokens."""
        planes = pixel_values.permute(0, 3, 1, 2).float() * self.scale - self.shift
        return self.vit.compute_hidden(planes)
