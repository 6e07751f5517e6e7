"""Model folders of a Triton repository, with config.pbtxt and the graph's own dimensions."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dino_assets.exports.graph import DATA, GRAPH, INPUT, OUTPUT
from dino_assets.exports.papers import write_manifest
from dino_assets.exports.torchscript import SCRIPT

CONFIG_FILE = "config.pbtxt"
VERSION = "1"
# Values of the original service's Triton configuration.
MAX_BATCH = 8
BATCHES = (1, 2, 4, 8)
QUEUE_DELAY_US = 100
INSTANCES = 2
Device = Literal["gpu", "cpu"]
_BACKENDS = {GRAPH: "onnxruntime", SCRIPT: "pytorch"}
_FORMAT_KEYS = ("format", "version", "files")


def name_model(manifest: Mapping[str, Any], *, file: str = GRAPH) -> str:
    """Name a model for Triton's clients, for example ``dinov2_base`` or ``dinov2_base_uint8``.

    The side, the input type and the file format are part of the name only if they are not the default.
    """
    model = manifest["model"]
    words = [Path(str(model["model"])).name]
    if manifest["side_px"] != 518 // model["patch_px"] * model["patch_px"]:
        words.append(str(manifest["side_px"]))
    if manifest["input"]["dtype"] == "uint8":
        words.append("uint8")
    if file == SCRIPT:
        words.append("torchscript")
    return re.sub(r"[^A-Za-z0-9]+", "_", "_".join(words)).strip("_")


def write_config(
    name: str,
    *,
    file: str,
    data_type: str,
    dims_in: list[int],
    dims_out: list[int],
    device: Device = "gpu",
) -> str:
    """Make the text of ``config.pbtxt``; only an ONNX model on a GPU is configured for TensorRT.

    Choose device ``cpu`` for a machine without a GPU: there Triton refuses a model configured for a GPU.
    """
    where = "kind: KIND_GPU\n    gpus: [ 0 ]" if device == "gpu" else "kind: KIND_CPU"
    text = f"""\
name: "{name}"
backend: "{_BACKENDS[file]}"
max_batch_size: {MAX_BATCH}

input [
  {{
    name: "{INPUT}"
    data_type: {data_type}
    dims: {dims_in}
  }}
]

output [
  {{
    name: "{OUTPUT}"
    data_type: TYPE_FP32
    dims: {dims_out}
  }}
]

dynamic_batching {{
  preferred_batch_size: {list(BATCHES)}
  max_queue_delay_microseconds: {QUEUE_DELAY_US}
}}

instance_group [
  {{
    count: {INSTANCES}
    {where}
  }}
]
"""
    if file == GRAPH and device == "gpu":
        text += """
optimization {
  execution_accelerators {
    gpu_execution_accelerator : [ { name : "tensorrt" } ]
  }
}
"""
    return text


def read_dims(graph: Path) -> tuple[str, list[int], list[int]]:
    """Read the input's type and the dimensions of input and output from a graph, without the batch."""
    import onnx

    loaded = onnx.load(graph, load_external_data=False).graph
    (graph_input,), (graph_output,) = loaded.input, loaded.output
    types = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.UINT8: "TYPE_UINT8"}
    dims = [
        [int(dim.dim_value) for dim in value.type.tensor_type.shape.dim[1:]]
        for value in (graph_input, graph_output)
    ]
    return types[graph_input.type.tensor_type.elem_type], dims[0], dims[1]


def fill_model(
    exported: Path,
    manifest: Mapping[str, Any],
    new: Path,
    *,
    file: str = GRAPH,
    device: Device = "gpu",
) -> dict[str, Any]:
    """Fill an empty folder with a model of a Triton repository, made from an export.

    Return the manifest of the new folder.
    """
    (new / VERSION).mkdir()
    graph = {GRAPH: (GRAPH, DATA), SCRIPT: (SCRIPT,)}[file]
    for name in manifest["files"]:
        if name in graph:
            shutil.copyfile(exported / name, new / VERSION / name)
        elif name not in (GRAPH, DATA, SCRIPT):
            shutil.copyfile(exported / name, new / name)
    data_type, dims_in, dims_out = read_dims(exported / GRAPH)
    name = name_model(manifest, file=file)
    (new / CONFIG_FILE).write_text(
        write_config(
            name,
            file=file,
            data_type=data_type,
            dims_in=dims_in,
            dims_out=dims_out,
            device=device,
        )
    )
    facts = {key: value for key, value in manifest.items() if key not in _FORMAT_KEYS}
    return write_manifest(new, facts)
