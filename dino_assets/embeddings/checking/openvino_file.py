"""OpenVINO IR as a model to check: first in float32, then in this processor's default precision."""

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
from dino_assets.embeddings.encoder.openvino_engine import (
    has_bf16,
    has_openvino,
    open_core,
)
from dino_assets.errors import InvalidModelFileError

_TYPES = {"f32": "float32", "f16": "float16", "u8": "uint8"}
_WORDS = {"fp32": "float32", "half": "float32, weights in float16", "int8": "8-bit"}
_PRECISION = "INFERENCE_PRECISION_HINT"


class OpenVinoCandidate(Candidate):
    """An OpenVINO .xml file with its .bin."""

    kind = "OpenVINO IR"

    def __init__(self, file: Path, *, threads: int) -> None:
        if not has_openvino():
            raise InvalidModelFileError(
                f"{file.name} is an OpenVINO IR, but OpenVINO cannot be loaded on this machine. Check the "
                "file on an x86-64 machine, where OpenVINO is installed with dino_assets",
                file=file.name,
            )
        core = open_core()
        try:
            graph = core.read_model(file)
            numerics = _find_numerics(graph)
            usual = {
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "ENABLE_CPU_PINNING": False,
            }
            compiled = {"f32": core.compile_model(graph, "CPU", {**usual, _PRECISION: "f32"})}
            if has_bf16():
                compiled["bf16"] = core.compile_model(graph, "CPU", {**usual, _PRECISION: "bf16"})
        except Exception as err:
            raise InvalidModelFileError(
                f"{file.name} cannot be opened as an OpenVINO IR. Copy the .xml together with its .bin, "
                "or convert it again.",
                file=file.name,
            ) from err
        self.form: InputForm = form_input(
            file.name,
            [
                (
                    next(iter(port.names), "input"),
                    _TYPES.get(port.element_type.get_type_name(), str(port.element_type)),
                    [None if side.is_dynamic else side.get_length() for side in port.partial_shape],
                )
                for port in graph.inputs
            ],
        )
        self._requests = {
            Run(_WORDS[numerics], numerics): compiled["f32"].create_infer_request(),
        }
        if "bf16" in compiled:
            as_usual = Run("bfloat16, this processor's default", _coarser(numerics))
            self._requests[as_usual] = compiled["bf16"].create_infer_request()
        self.runs = tuple(self._requests)
        self._names = [
            next(iter(port.names), f"output {at}") for at, port in enumerate(graph.outputs)
        ]

    def compute_batch(
        self, values: NDArray[np.generic], run: Run
    ) -> dict[str, NDArray[np.generic]]:
        """Compute one batch in OpenVINO."""
        request = self._requests[run]
        request.infer([values])
        return {
            name: np.array(request.get_output_tensor(at).data)
            for at, name in enumerate(self._names)
        }


def _coarser(numerics: Numerics) -> Numerics:
    return "half" if numerics == "fp32" else numerics


def _find_numerics(graph: Any) -> Numerics:
    """Find the coarsest number type in a graph; float16 constants count even if converted to float32."""
    nodes = graph.get_ops()
    if any(node.get_type_name() == "FakeQuantize" for node in nodes):
        return "int8"
    constants = [node for node in nodes if node.get_type_name() == "Constant"]
    types = {
        node.get_output_element_type(0).get_type_name()
        for node in constants
        if len(node.get_output_shape(0)) > 1
    }
    if types & {"i8", "u8", "i4", "u4"}:
        return "int8"
    return "half" if types & {"f16", "bf16"} else "fp32"
