"""Common mistakes in resizing the learned positions of DINOv2."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dino_assets.embeddings.checking import faults
from dino_assets.embeddings.checking.planted import NetworkFault, Plant, replaced
from dino_assets.embeddings.encoder.vit import FixedVit


def list_position_faults(network: FixedVit, model: Any) -> Iterator[NetworkFault]:
    """List wrong ways to resize the table of positions, except those that are right at the network's size."""
    own = network.positions
    assert own is not None
    height, width = network.grid
    table = model.embeddings.position_embeddings.detach()[0, 1:]
    side = round(len(table) ** 0.5)
    planes = table.T.reshape(1, -1, side, side)

    def resized(**options: Any) -> Tensor:
        places = functional.interpolate(planes, **options)[:, :, :height, :width]
        return places.flatten(2).transpose(1, 2)

    size = (height, width)
    # Meta's own code for models without registers: 0.1 is added, and the size is given as a scale factor.
    offset = ((height + 0.1) / side, (width + 0.1) / side)
    ways: dict[str, Callable[[], Tensor]] = {
        "bicubic, not antialiased": lambda: resized(size=size, mode="bicubic"),
        "bicubic, antialiased": lambda: resized(size=size, mode="bicubic", antialias=True),
        "bilinear": lambda: resized(size=size, mode="bilinear"),
        "bilinear, antialiased": lambda: resized(size=size, mode="bilinear", antialias=True),
        "bicubic, corners aligned": lambda: resized(size=size, mode="bicubic", align_corners=True),
        "bilinear, corners aligned": lambda: resized(
            size=size, mode="bilinear", align_corners=True
        ),
        "nearest": lambda: resized(size=size, mode="nearest"),
        "with Meta's offset of 0.1": lambda: resized(
            scale_factor=offset, mode="bicubic", antialias=False
        ),
        "with an offset of 0.1, antialiased": lambda: resized(
            scale_factor=offset, mode="bicubic", antialias=True
        ),
        "cut, not interpolated": lambda: planes[:, :, :height, :width].flatten(2).transpose(1, 2),
        "the first ones of the table": lambda: table[None, : height * width],
    }
    for words, make in ways.items():
        places = make()
        if places.shape == own.shape and not torch.allclose(places, own, atol=1e-6):
            yield NetworkFault(words, faults.INTERPOLATION, _placed(places))
    turned = own.reshape(1, height, width, -1).transpose(1, 2).reshape(own.shape)
    if height == width:
        yield NetworkFault("", faults.POSITIONS_TURNED, _placed(turned))
    yield NetworkFault("", faults.POSITIONS_ABSENT, _placed(torch.zeros_like(own)))


def _placed(positions: Tensor) -> Plant:
    return replaced("positions", lambda _: positions.contiguous())
