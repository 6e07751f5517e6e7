"""Faults that people have shipped, planted as they plant them: in the module that is exported."""

import contextlib
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dino_assets.weights.records import Checkpoint
from dino_assets_tests.worlds.model_files import Shipped

REGISTERS = 4


@dataclass(frozen=True)
class Shipment:
    """A way to ship a model, and the name of what is wrong with it."""

    named: str
    shipped: Callable[[Checkpoint], Shipped]
    families: tuple[str, ...] = ("dinov2", "dinov2_with_registers", "dinov3_vit")
    around: Callable[[], AbstractContextManager[None]] = field(default=contextlib.nullcontext)
    is_resized: bool = False  # shows at other sides than the trained one only


def bytes_to_planes(
    checkpoint: Checkpoint,
    *,
    turn: Callable[[Tensor], Tensor] = lambda planes: planes,
    scale: float = 255,
    is_swapped: bool = False,
) -> Callable[[Tensor], Tensor]:
    """Preprocessing that is shipped inside of the model."""
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (checkpoint.mean, checkpoint.std))
    if is_swapped:
        mean, std = std, mean
    return lambda pixels: (turn(pixels.permute(0, 3, 1, 2).float()) / scale - mean) / std


@contextlib.contextmanager
def rotating_other_half() -> Iterator[None]:
    """transformers' rotation with its two halves exchanged."""
    from transformers.models.dinov3_vit import modeling_dinov3_vit as module

    def rotate(states: Tensor) -> Tensor:
        low, high = states.chunk(2, dim=-1)
        return torch.cat([high, -low], dim=-1)

    original = module.rotate_half
    module.rotate_half = rotate
    try:
        yield
    finally:
        module.rotate_half = original


@contextlib.contextmanager
def rotating_neighbours() -> Iterator[None]:
    """As language models rotate: channels in pairs, each angle twice in a row."""
    from transformers.models.dinov3_vit import modeling_dinov3_vit as module

    def apply(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, **_: Any) -> tuple[Tensor, ...]:
        half = cos.shape[-1] // 2
        cos, sin = (each[..., :half].repeat_interleave(2, dim=-1) for each in (cos, sin))
        prefix_tokens = query.shape[-2] - cos.shape[-2]

        def rotate(states: Tensor) -> Tensor:
            patches = states[..., prefix_tokens:, :]
            pairs = torch.stack([-patches[..., 1::2], patches[..., ::2]], dim=-1).flatten(-2)
            return torch.cat([states[..., :prefix_tokens, :], patches * cos + pairs * sin], dim=-2)

        return rotate(query), rotate(key)

    original = module.apply_rotary_pos_emb
    module.apply_rotary_pos_emb = apply
    try:
        yield
    finally:
        module.apply_rotary_pos_emb = original


def set_epsilon(epsilon: float) -> Callable[[Any], None]:
    """Another epsilon in each norm."""

    def change(model: Any) -> None:
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = epsilon

    return change


def interpolate(**options: Any) -> Callable[[Any], None]:
    """Position embeddings brought to another size in another way."""

    def change(model: Any) -> None:
        embeddings = model.embeddings

        def at(tokens: Tensor, height: int, width: int) -> Tensor:
            patch = embeddings.patch_size
            places = embeddings.position_embeddings
            side = math.isqrt(int(places.shape[1]) - 1)
            planes = places[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
            size = (height // patch, width // patch)
            resized_planes = functional.interpolate(planes, size=size, **options)
            return torch.cat([places[:, :1], resized_planes.flatten(2).transpose(1, 2)], dim=1)

        embeddings.interpolate_pos_encoding = at

    return change


def remove_registers(model: Any) -> None:
    """As transformers builds a network whose config spells their number in another way."""
    tokens = model.embeddings.register_tokens
    model.embeddings.register_tokens = nn.Parameter(tokens[:, :0])
    model.config.num_register_tokens = 0


def fix_positions(model: Any) -> None:
    """The table of positions is added as it is, whatever the size."""
    table = model.embeddings.position_embeddings
    model.embeddings.interpolate_pos_encoding = lambda tokens, height, width: table


def enlarge_hidden(model: Any) -> None:
    """One number inside of a block as large as few are in trained networks: beyond float16's end.

    What the block gives is no larger for it.
    """
    layers = model.encoder.layer if hasattr(model, "encoder") else model.model.layer
    mlp = layers[len(layers) // 2].mlp
    first, second = (mlp.fc1, mlp.fc2) if hasattr(mlp, "fc1") else (mlp.up_proj, mlp.down_proj)
    first.bias[7] = 1e5
    second.weight[:, 7] *= 1e-5


def raise_level(model: Any) -> None:
    """The same added to all channels, which each norm takes away again, unless bits were lost before."""
    embeddings = model.embeddings
    embeddings.cls_token += 3000.0
    if hasattr(embeddings, "register_tokens"):
        embeddings.register_tokens += 3000.0
    patch = embeddings.patch_embeddings
    getattr(patch, "projection", patch).bias += 3000.0


def _planes(
    prepare: Callable[[Checkpoint], Callable[[Tensor], Tensor]],
) -> Callable[[Checkpoint], Shipped]:
    return lambda checkpoint: Shipped(prepare=prepare(checkpoint), takes="bytes")


_REGISTERED = ("dinov2_with_registers", "dinov3_vit")
_LEARNED = ("dinov2", "dinov2_with_registers")

SHIPMENTS: dict[str, Shipment] = {
    "RoPE halves swapped": Shipment(
        "rope-halves-swapped", lambda c: Shipped(), ("dinov3_vit",), rotating_other_half
    ),
    "RoPE interleaved": Shipment(
        "rope-interleaved", lambda c: Shipped(), ("dinov3_vit",), rotating_neighbours
    ),
    "mean and std swapped": Shipment(
        "statistics-swapped", _planes(lambda c: bytes_to_planes(c, is_swapped=True))
    ),
    "not divided by 255": Shipment("pixel-range", _planes(lambda c: bytes_to_planes(c, scale=1))),
    "BGR": Shipment("bgr", _planes(lambda c: bytes_to_planes(c, turn=lambda p: p.flip(1)))),
    "transposed tiles": Shipment(
        "tiles-transposed", _planes(lambda c: bytes_to_planes(c, turn=lambda p: p.transpose(2, 3)))
    ),
    "registers among patches": Shipment(
        "registers-not-skipped",
        lambda c: Shipped(read=lambda hidden, model: hidden[:, 1:], outputs=("patches",)),
        _REGISTERED,
    ),
    "registers cut at the end": Shipment(
        "registers-not-skipped",
        lambda c: Shipped(read=lambda hidden, model: hidden[:, 1:-REGISTERS], outputs=("patches",)),
        _REGISTERED,
    ),
    "registers absent": Shipment(
        "registers-absent", lambda c: Shipped(change=remove_registers), _REGISTERED
    ),
    "positions bilinear": Shipment(
        "positions-interpolated",
        lambda c: Shipped(change=interpolate(mode="bilinear")),
        _LEARNED,
        is_resized=True,
    ),
    "positions, corners aligned": Shipment(
        "positions-interpolated",
        lambda c: Shipped(change=interpolate(mode="bicubic", align_corners=True)),
        _LEARNED,
        is_resized=True,
    ),
    "pooled": Shipment(
        "pooled-not-cls",
        lambda c: Shipped(
            read=lambda hidden, model: hidden[:, 1 + c.registers :].mean(1), outputs=("embedding",)
        ),
    ),
    "pooled over all": Shipment(
        "pooled-not-cls",
        lambda c: Shipped(read=lambda hidden, model: hidden.mean(1), outputs=("embedding",)),
    ),
    "LayerNorm epsilon too small": Shipment(
        "layernorm-epsilon", lambda c: Shipped(change=set_epsilon(1e-12)), ("dinov3_vit",)
    ),
    "LayerNorm epsilon of PyTorch": Shipment(
        "layernorm-epsilon", lambda c: Shipped(change=set_epsilon(1e-5)), _LEARNED
    ),
}


def quantise(file: Path, target: Path, *, side: int) -> Path:
    """8-bit numbers for activations by tensor, calibrated on the one grey picture that some take."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Grey(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.pictures = iter([{"pixel_values": np.zeros((2, 3, side, side), np.float32)}])

        def get_next(self) -> Any:
            return next(self.pictures, None)

    quantize_static(
        file,
        target,
        Grey(),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
    )
    return target
