"""Linear probe of the documents: one linear layer on frozen vectors, trained by Adam."""

import math
from dataclasses import replace

import numpy as np

from dino_assets.compute.threads import one_torch_thread, take_one_torch_thread
from dino_assets.probes.probe_settings import ClassWeights
from dino_assets.probes.records import ABSENT_BIAS, Probe, TrainingSet, fit_preparation, prepare

LEARNING_RATE = 1e-3
BATCH = 32
EPOCHS = 10


def train_linear(
    labelled: TrainingSet,
    *,
    epochs: int = EPOCHS,
    class_weights: ClassWeights = "none",
    seed: int = 0,
) -> Probe:
    """Train ``nn.Linear(dim, classes)`` by Adam with a rate of 0.001 in batches of 32, on the CPU.

    The vectors are centred and scaled so that a component has a variance of about 1. With the small components
    of unit vectors, ten epochs would end far from the optimum. Equal seeds give equal bytes.
    """
    ready = fit_preparation(labelled.vectors)
    ready = replace(ready, scale=float(np.float32(ready.scale / math.sqrt(len(ready.center)))))
    rows = prepare(labelled.vectors, ready.center, ready.scale).astype(np.float32)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(rows)) for _ in range(epochs)]
    bound = 1 / math.sqrt(rows.shape[1])  # as nn.Linear begins
    count = len(labelled.class_names)
    begin = rng.uniform(-bound, bound, (count, rows.shape[1] + 1)).astype(np.float32)
    present = np.bincount(labelled.classes, minlength=count)
    balanced = len(rows) / (max((present > 0).sum(), 1) * np.maximum(present, 1))
    with one_torch_thread():
        import torch
        from torch import nn

        take_one_torch_thread()
        layer = nn.Linear(rows.shape[1], count)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(begin[:, 1:].copy()))
            layer.bias.copy_(torch.from_numpy(begin[:, 0].copy()))
        weight = (
            torch.from_numpy(balanced.astype(np.float32)) if class_weights == "balanced" else None
        )
        measure_loss = nn.CrossEntropyLoss(weight=weight)
        optimizer = torch.optim.Adam(layer.parameters(), lr=LEARNING_RATE)
        vectors, classes = torch.from_numpy(rows), torch.from_numpy(labelled.classes)
        for order in orders:
            for first in range(0, len(order), BATCH):
                batch = torch.from_numpy(order[first : first + BATCH])
                optimizer.zero_grad()
                measure_loss(layer(vectors[batch]), classes[batch]).backward()
                optimizer.step()
        weights, bias = layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()
    weights[present == 0], bias[present == 0] = 0, ABSENT_BIAS
    return Probe("linear", labelled.class_names, weights, bias, ready.center, ready.scale)
