"""An ONNX file in ONNX Runtime on the CPU, as it is: its own types, no other precision."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.checking.candidates import (
    Candidate,
    InputForm,
    Numerics,
    Run,
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
    """A graph and, beside it, its weights."""

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
            # Threads that wait by turning round take the time from those that compute.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.log_severity_level = 4
            self._session = onnxruntime.InferenceSession(
                file, options, providers=["CPUExecutionProvider"]
            )
        except Exception as err:
            raise InvalidModelFileError(
                f"{file.name} cannot be opened as ONNX: {_first_line(err)}. Copy the graph together with "
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
    """The coarsest numbers that a graph computes in."""
    if any(node.op_type in _QUANTISED for node in graph.node):
        return "int8"
    halves = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    casts = (
        attribute.i
        for node in graph.node
        if node.op_type == "Cast"
        for attribute in node.attribute
        if attribute.name == "to"
    )
    types = (*(tensor.data_type for tensor in graph.initializer), *casts)
    return "half" if any(each in halves for each in types) else "fp32"


def _first_line(err: Exception) -> str:
    return str(err).strip().partition("\n")[0][:200]
