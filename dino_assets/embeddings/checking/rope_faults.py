"""Common mistakes in DINOv3's rotary positions (RoPE)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dino_assets.embeddings.checking import faults
from dino_assets.embeddings.checking.planted import NetworkFault, Plant, changed
from dino_assets.embeddings.encoder.vit import FixedVit

_THETAS = (10_000.0, 100.0)


def list_rope_faults(network: FixedVit, model: Any) -> Iterator[NetworkFault]:
    """List wrong rotations and wrong positions, except positions that are right at the network's size."""
    cos, sin = network.cos, network.sin
    assert cos is not None
    assert sin is not None
    size = cos.shape[-1]
    heads = network.layers[0].attention.config.num_attention_heads

    def swapped(table: Tensor) -> Tensor:
        first, second = table[:, : size // 2].chunk(2, dim=-1)
        return torch.cat([second, first], dim=-1).tile(2)

    yield NetworkFault("the other sign", faults.ROPE_HALVES, _turned_by(cos, -sin))
    yield NetworkFault("sine and cosine swapped", faults.ROPE_PLACES, _turned_by(sin, cos))
    yield NetworkFault("", faults.ROPE_AXES, _turned_by(swapped(cos), swapped(sin)))
    yield NetworkFault("", faults.ROPE_PAIRS, _interleaved(heads, size))
    yield NetworkFault(
        "", faults.ROPE_ABSENT, _turned_by(torch.ones_like(cos), torch.zeros_like(sin))
    )
    rope = model.rope_embeddings
    height, width = network.grid
    for theta in _THETAS:
        if not np.isclose(theta, rope.base):
            inverse = 1 / theta ** torch.arange(0, 1, 4 / size, dtype=torch.float32)
            angles = _angles(_centres(height), _centres(width), inverse)
            words = f"base {theta:g} instead of {rope.base:g}"
            yield NetworkFault(
                words, faults.ROPE_PLACES, _turned_by(torch.cos(angles), torch.sin(angles))
            )
    places = {
        "patch corners instead of centres": (_corners(height), _corners(width)),
        "both sides by the longer one": (
            _centres(height) * (height / max(height, width)),
            _centres(width) * (width / max(height, width)),
        ),
        "0…1 instead of −1…1": ((_centres(height) + 1) / 2, (_centres(width) + 1) / 2),
        "numbers of rows and columns": (
            torch.arange(height, dtype=torch.float32),
            torch.arange(width, dtype=torch.float32),
        ),
        "positions of the trained size, cut": (
            _centres(rope.num_patches_h)[:height],
            _centres(rope.num_patches_w)[:width],
        ),
    }
    for words, (rows, columns) in places.items():
        if (len(rows), len(columns)) != (height, width):
            continue
        angles = _angles(rows, columns, rope.inv_freq)
        if not torch.allclose(torch.cos(angles), cos, atol=1e-6):
            yield NetworkFault(
                words, faults.ROPE_PLACES, _turned_by(torch.cos(angles), torch.sin(angles))
            )


def _centres(count: int) -> Tensor:
    return (torch.arange(count, dtype=torch.float32) + 0.5) / count * 2 - 1


def _corners(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.float32) / count * 2 - 1


def _angles(rows: Tensor, columns: Tensor, inverse: Tensor) -> Tensor:
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1)
    angles = 2 * torch.pi * places[:, :, None] * inverse
    return angles.flatten(1, 2).tile(2)


def _turned_by(cos: Tensor, sin: Tensor) -> Plant:
    return lambda network: changed([(network, "cos", cos), (network, "sin", sin)])


def _interleaved(heads: int, size: int) -> Plant:
    """Plant a rotation of neighbouring channels, by sorting even channels before odd ones.

    The network rotates each channel of the first half together with one of the second half. Sorting makes
    such pairs of neighbouring channels. Queries and keys are sorted alike, so their product does not change.
    """
    within = torch.cat([torch.arange(0, size, 2), torch.arange(1, size, 2)])
    order = torch.cat([within + head * size for head in range(heads)])

    def sort(linear: nn.Linear) -> list[tuple[Any, str, Any]]:
        pairs: list[tuple[Any, str, Any]] = [
            (linear, "weight", nn.Parameter(linear.weight[order], requires_grad=False))
        ]
        if linear.bias is not None:
            pairs.append((linear, "bias", nn.Parameter(linear.bias[order], requires_grad=False)))
        return pairs

    return lambda network: changed(
        [
            pair
            for layer in network.layers
            for linear in (layer.attention.q_proj, layer.attention.k_proj)
            for pair in sort(linear)
        ]
    )
