"""What one core gives at bfloat16 matrix products, of any library here and of the network's own shapes."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dino_assets.embeddings.encoder.engine import count_tokens
from dino_assets.embeddings.encoder.openvino_engine import import_openvino, open_core
from dino_assets.weights.records import Checkpoint
from dino_assets_tests.bench.encoder_workload import Case

SUSTAINED_S = 0.05  # CPU seconds of each product per round: a lucky moment is no rate
OPTIONS = {
    "INFERENCE_PRECISION_HINT": "bf16",
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
}


@dataclass(frozen=True)
class Product:
    """Something to repeat, and its multiplications and additions."""

    call: Callable[[], object]
    flops: float

    def measure(self) -> float:
        """Gflop per CPU second."""
        start_s, calls, spent_s = time.process_time(), 0, 0.0
        while spent_s < SUSTAINED_S:
            self.call()
            calls += 1
            spent_s = time.process_time() - start_s
        return calls * self.flops / spent_s / 1e9


def build_products(case: Case, checkpoint: Checkpoint, *, batch: int) -> dict[str, Product]:
    """Single products in torch and OpenVINO: large squares, and the MLP's."""
    import torch

    rows = batch * count_tokens(checkpoint, case.side_px)
    shapes = {
        "1024³": (1024, 1024, 1024),
        "2048³": (2048, 2048, 2048),
        "MLP in": (rows, case.dim, 4 * case.dim),
        "MLP out": (rows, 4 * case.dim, case.dim),
    }
    rng = np.random.default_rng(0)
    products: dict[str, Product] = {}
    for name, (m, k, n) in shapes.items():
        left, right = (rng.standard_normal(shape, np.float32) for shape in ((m, k), (k, n)))
        first = torch.from_numpy(left).bfloat16()
        second = torch.from_numpy(right.T.copy()).bfloat16().T
        flops = 2.0 * m * k * n
        products[f"torch {name}"] = Product(lambda a=first, b=second: a @ b, flops)
        products[f"openvino {name}"] = Product(_compile_one(left, right), flops)
    for product in products.values():
        product.call()
    return products


def _compile_one(left: np.ndarray, right: np.ndarray) -> Callable[[], object]:
    openvino = import_openvino()
    from openvino import opset13 as ops

    node = ops.parameter(left.shape, np.float32)
    graph = openvino.Model([ops.matmul(node, ops.constant(right), False, False)], [node])
    request = open_core().compile_model(graph, "CPU", OPTIONS).create_infer_request()
    return lambda: request.infer([left], share_inputs=True)


def build_own_products(case: Case, checkpoint: Checkpoint, *, batch: int) -> Product:
    """All products of the network's blocks, one after the other, in OpenVINO, and nothing between them.

    No softmax, norm, activation, residual or transposition: what the network would take if those
    were free. The patches' own product, 1 %, is left out.
    """
    openvino = import_openvino()
    from openvino import opset13 as ops

    rng = np.random.default_rng(0)
    dim, tokens = case.dim, count_tokens(checkpoint, case.side_px)
    heads = (batch * case.heads, tokens, dim // case.heads)

    def multiply(node: object, inputs: int, outputs: int) -> object:
        weights = rng.standard_normal((inputs, outputs), np.float32) / np.float32(inputs**0.5)
        return ops.matmul(node, ops.constant(weights), False, False)

    hidden = ops.parameter([batch * tokens, dim], np.float32)
    key, value = ops.parameter(heads, np.float32), ops.parameter(heads, np.float32)
    nodes, query = [hidden, key, value], key
    for _ in range(checkpoint.layers):
        for inputs, outputs in ((1, 1), (1, 1), (1, 1), (1, 1), (1, 4), (4, 1)):
            hidden = multiply(hidden, inputs * dim, outputs * dim)
        query = ops.matmul(ops.matmul(query, key, False, True), value, False, False)
    graph = openvino.Model([hidden, query], nodes)
    request = open_core().compile_model(graph, "CPU", OPTIONS).create_infer_request()
    # Small enough that a product of products of keys and values neither grows nor dies away.
    scale = np.float32(heads[2] ** -0.25 * tokens**-0.25)
    arrays = [rng.standard_normal((batch * tokens, dim), np.float32)]
    arrays += [rng.standard_normal(heads, np.float32) * scale for _ in range(2)]
    block = batch * (24 * tokens * dim * dim + 4 * tokens * tokens * dim)
    product = Product(
        lambda: request.infer(arrays, share_inputs=True), float(checkpoint.layers * block)
    )
    product.call()
    return product
