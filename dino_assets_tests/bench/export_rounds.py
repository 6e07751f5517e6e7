"""The child process of one case: two graphs of one model, each in every runtime, in turn, round after round."""

import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.encoder.openvino_engine import has_bf16, open_core
from dino_assets.exports.graph import GRAPH, INPUT, OUTPUT
from dino_assets.exports.onnx import export_onnx
from dino_assets.exports.settings import make_settings
from dino_assets.weights.checkpoint import read_checkpoint
from dino_assets_tests.bench.encoder_workload import read_arguments
from dino_assets_tests.worlds.exported import draw_planes
from dino_assets_tests.worlds.networks import write_sample

ROUNDS = 11
# family, side: the sizes of the small published models
MODELS = {"DINOv2 S/14": ("dinov2", 518), "DINOv3 S/16": ("dinov3_vit", 512)}
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def export_plainly(weights: Path, file: Path, *, side_px: int) -> None:
    """What `torch.onnx.export` makes of transformers' model: the same batch, the same operators."""
    import torch
    from transformers import AutoModel

    file.parent.mkdir()
    model = AutoModel.from_pretrained(weights, dtype=torch.float32).eval()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(2, 3, side_px, side_px),),
            file,
            input_names=[INPUT],
            output_names=[OUTPUT, "pooler_output"],
            opset_version=make_settings().opset,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            dynamo=True,
            external_data=True,
            verbose=False,
        )


def open_in_onnxruntime(file: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda planes: session.run([OUTPUT], {INPUT: planes})[0]


def open_in_openvino(file: Path, numerics: str) -> Run:
    core = open_core()
    options = {"INFERENCE_PRECISION_HINT": numerics, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    compiled = core.compile_model(
        core.read_model(file), "CPU", options | {"ENABLE_CPU_PINNING": False}
    )
    request = compiled.create_infer_request()

    def run(planes: NDArray[np.float32]) -> NDArray[np.float32]:
        request.infer([planes], share_inputs=True)
        return np.array(request.get_output_tensor(0).data)

    return run


def measure(run: Run, planes: NDArray[np.float32]) -> float:
    """CPU seconds of one call."""
    start_s = time.process_time()
    run(planes)
    return time.process_time() - start_s


def main() -> None:
    arguments = read_arguments()
    family, side_px = MODELS[arguments["model"]]
    folder = Path(arguments["folder"]) / family
    weights = folder / "weights"
    folder.mkdir()
    write_sample(weights, family, dim=384, layers=12, heads=6, native_px=side_px)
    our_folder = folder / "ours"
    our_folder.mkdir()
    checkpoint = read_checkpoint(weights, model=arguments["model"])
    export_onnx(weights, checkpoint, make_settings(side=side_px), our_folder)
    export_plainly(weights, folder / "plain" / GRAPH, side_px=side_px)
    runtimes: dict[str, Callable[[Path], Run]] = {
        "ONNX Runtime float32": open_in_onnxruntime,
        "OpenVINO float32": lambda file: open_in_openvino(file, "f32"),
    }
    if has_bf16():
        runtimes["OpenVINO bfloat16"] = lambda file: open_in_openvino(file, "bf16")
    planes = draw_planes(1, side_px)
    figures = {}
    for runtime, open_graph in runtimes.items():
        runs = {name: open_graph(folder / name / GRAPH) for name in ("ours", "plain")}
        outputs = {name: run(planes) for name, run in runs.items()}
        # The order changes, so that neither is always the first after the other.
        rounds = [
            {name: measure(runs[name], planes) for name in sorted(runs, reverse=bool(number % 2))}
            for number in range(ROUNDS)
        ]
        # Whatever else the machine does only adds: the least is the graph's own.
        best = {name: min(each[name] for each in rounds) for name in runs}
        distance = float(np.abs(outputs["ours"] - outputs["plain"]).max())
        figures[runtime] = {**best, "ratio": best["plain"] / best["ours"], "apart": distance}
    Path(arguments["file"]).write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
