"""Common mistakes in building a network, as faults to plant in the reference."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import nn

from dino_assets.embeddings.checking import faults
from dino_assets.embeddings.checking.planted import NetworkFault, Plant, changed, replaced
from dino_assets.embeddings.checking.position_faults import list_position_faults
from dino_assets.embeddings.checking.rope_faults import list_rope_faults
from dino_assets.embeddings.encoder.vit import FixedVit

_EPSILONS = (1e-5, 1e-6, 1e-12, 1e-3, 1e-8)


def list_network_faults(network: FixedVit, model: Any) -> Iterator[NetworkFault]:
    """List the mistakes that are possible in building a network of the same family as ``network``."""
    if network.cos is not None and network.sin is not None:
        yield from list_rope_faults(network, model)
    elif network.positions is not None:
        yield from list_position_faults(network, model)
    if network.registers:
        yield NetworkFault("", faults.REGISTERS_ABSENT, _without_registers)
    yield NetworkFault("", faults.GELU, _approximate_gelu)
    yield NetworkFault("", faults.NORM_ABSENT, replaced("norm", lambda _: nn.Identity()))
    yield NetworkFault("", faults.LAYER_SCALE, _without_layer_scale)
    yield NetworkFault(
        "", faults.BLOCK_ABSENT, replaced("layers", lambda n: nn.ModuleList(n.layers[:-1]))
    )
    yield NetworkFault("", faults.ATTENTION_UNSCALED, _without_attention_scale)
    norms = [module for module in network.modules() if isinstance(module, nn.LayerNorm)]
    own = norms[0].eps
    for epsilon in _EPSILONS:
        if not np.isclose(epsilon, own, rtol=1e-3):
            words = f"{epsilon:g} instead of {own:g}"
            yield NetworkFault(words, faults.EPSILON, _set_epsilon(epsilon))


def _set_epsilon(epsilon: float) -> Plant:
    return lambda network: changed(
        [
            (module, "eps", epsilon)
            for module in network.modules()
            if isinstance(module, nn.LayerNorm)
        ]
    )


def _without_registers(network: FixedVit) -> AbstractContextManager[None]:
    return changed([(network, "prefix", network.prefix[:, :1]), (network, "registers", 0)])


def _without_layer_scale(network: FixedVit) -> AbstractContextManager[None]:
    return changed(
        [
            (scale, "lambda1", nn.Parameter(torch.ones_like(scale.lambda1), requires_grad=False))
            for layer in network.layers
            for scale in (layer.layer_scale1, layer.layer_scale2)
        ]
    )


def _without_attention_scale(network: FixedVit) -> AbstractContextManager[None]:
    return changed([(layer.attention, "scaling", 1.0) for layer in network.layers])


def _approximate_gelu(network: FixedVit) -> AbstractContextManager[None]:
    return changed(
        [
            (module, name, nn.GELU(approximate="tanh"))
            for module in network.modules()
            for name in ("act_fn", "activation_fn", "activation")
            if "GELU" in type(getattr(module, name, None)).__name__
        ]
    )
