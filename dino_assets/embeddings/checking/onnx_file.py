"""ONNX file as a model to check, in ONNX Runtime on the CPU with the file's own number types."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.checking.candidates import (
    Candidate,
    InputForm,
    Numerics,
    Run,
    first_line,
    form_input,
)
from dino_assets.errors import InvalidModelFileError, MissingExtraError

_QUANTISED = (
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "ConvInteger",
    "QLinearMatMul",
    "QLinearConv",
    "QGemm",
    "QAttention",
    "DynamicQuantizeMatMul",
)
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
_WORDS = {"fp32": "float32", "half": "float16", "int8": "8-bit"}


class OnnxCandidate(Candidate):
    """An ONNX graph with its weights."""

    kind = "ONNX"

    def __init__(self, file: Path, *, threads: int) -> None:
        try:
            import onnx
            import onnxruntime
        except ImportError:
            raise MissingExtraError("Checking an ONNX file", extra="export") from None
        try:
            numerics = _find_numerics(onnx.load(file, load_external_data=False).graph, onnx)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            # Spinning threads would take CPU time from the threads that compute.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.log_severity_level = 4
            self._session = onnxruntime.InferenceSession(
                file, options, providers=["CPUExecutionProvider"]
            )
        except Exception as err:
            raise InvalidModelFileError(
                f"{file.name} cannot be opened as ONNX: {first_line(err)}. Copy the graph together with "
                "its weights (.data or .onnx_data), or export it again.",
                file=file.name,
            ) from err
        inputs = self._session.get_inputs()
        self.form: InputForm = form_input(
            file.name,
            [(each.name, _TYPES.get(each.type, each.type), each.shape) for each in inputs],
        )
        self.runs = (Run(_WORDS[numerics], numerics),)
        self._names = [each.name for each in self._session.get_outputs()]

    def compute_batch(
        self, values: NDArray[np.generic], run: Run
    ) -> dict[str, NDArray[np.generic]]:
        """Compute one batch in ONNX Runtime."""
        return dict(
            zip(self._names, self._session.run(None, {self.form.name: values}), strict=True)
        )


def _find_numerics(graph: Any, onnx: Any) -> Numerics:
    """Find the coarsest number type that a graph computes in."""
    if any(node.op_type in _QUANTISED for node in graph.node):
        return "int8"
    constants = [
        attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
    ]
    tensors = [*graph.initializer, *constants]
    kinds = onnx.TensorProto
    bytes_and_less = (kinds.INT8, kinds.UINT8, kinds.INT4, kinds.UINT4)
    # Scalars of 8 bits are constants of preprocessing; weights are matrices.
    if any(each.data_type in bytes_and_less and len(each.dims) > 1 for each in tensors):
        return "int8"
    casts = [
        attribute.i
        for node in graph.node
        if node.op_type == "Cast"
        for attribute in node.attribute
        if attribute.name == "to"
    ]
    types = {*casts, *(each.data_type for each in tensors)}
    return "half" if types & {kinds.FLOAT16, kinds.BFLOAT16} else "fp32"
