"""Faults built into the reference network on purpose, so that it computes what a faulty model computes.

Each fault is a context manager that changes the network and restores it at the end.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from dino_assets.compute.devices import available_cpus
from dino_assets.compute.threads import one_torch_thread
from dino_assets.embeddings.checking.faults import Fault
from dino_assets.embeddings.checking.pixels import Planes
from dino_assets.embeddings.encoder.tokens import ALL_TOKENS, Tokens, Vectors
from dino_assets.embeddings.encoder.vit import FixedVit

Plant = Callable[[FixedVit], AbstractContextManager[None]]


@dataclass(frozen=True)
class NetworkFault:
    """A mistake in building the network, with the context manager that plants it."""

    words: str
    fault: Fault
    planted: Plant


def compute_tokens(
    network: FixedVit,
    planes: Planes,
    planted: tuple[NetworkFault, ...] = (),
) -> Tokens:
    """Compute all tokens of the network with some faults planted, one picture per core at a time."""

    def compute(plane: Planes) -> list[Vectors]:
        with torch.inference_mode():  # applies to one thread only
            return [token.numpy() for token in network.compute(torch.from_numpy(plane), ALL_TOKENS)]

    with ExitStack() as stack:
        for each in planted:
            stack.enter_context(each.planted(network))
        stack.enter_context(one_torch_thread())
        pool = stack.enter_context(ThreadPoolExecutor(available_cpus()))
        answers = list(pool.map(compute, np.split(planes, len(planes))))
    joined = (np.concatenate(arrays) for arrays in zip(*answers, strict=True))
    return Tokens(**dict(zip(ALL_TOKENS, joined, strict=True)))


def compute_in_float16(network: FixedVit, planes: Planes) -> Tokens:
    """Compute all tokens with PyTorch in float16, the last norm in float32."""
    halved = deepcopy(network).half()
    halved.norm.float()
    return compute_tokens(halved, planes)


def find_largest_hidden(network: FixedVit, planes: Planes) -> float:
    """Find the largest number that any linear layer of the network computes for a picture."""
    largest = 0.0

    def look(_: nn.Module, __: object, hidden: Any) -> None:
        nonlocal largest
        tensor = hidden[0] if isinstance(hidden, tuple) else hidden
        largest = max(largest, float(tensor.abs().max()))

    hooks = [
        module.register_forward_hook(look)
        for module in network.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        compute_tokens(network, planes)
    finally:
        for hook in hooks:
            hook.remove()
    return largest


def replaced(name: str, make: Callable[[FixedVit], Any]) -> Plant:
    """Make a fault to plant: the network's attribute ``name`` becomes the result of ``make``."""

    @contextmanager
    def plant(network: FixedVit) -> Iterator[None]:
        before = getattr(network, name)
        setattr(network, name, make(network))
        try:
            yield
        finally:
            setattr(network, name, before)

    return plant


@contextmanager
def changed(pairs: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Set attributes for the block and then restore them; ``pairs`` are (object, attribute, value)."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in pairs]
    for owner, name, value in pairs:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
