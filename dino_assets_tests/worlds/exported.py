"""Exported folders, and runtimes that open them as a stranger would."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dino_assets.embeddings.encoder.openvino_engine import open_core
from dino_assets_tests.worlds.networks import Sample


def run_onnxruntime(path: Path, values: NDArray[Any]) -> NDArray[np.float32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (hidden,) = session.run(None, {"pixel_values": values})
    return hidden


def run_openvino(path: Path, values: NDArray[Any]) -> NDArray[np.float32]:
    compiled_model = open_core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled_model(values)[0])


def ask_whole_model(sample: Sample, planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """What transformers' own model gives as last_hidden_state."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(sample.folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(torch.from_numpy(planes)).last_hidden_state.numpy()


def draw_planes(count: int, side_px: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(count)
    return rng.normal(size=(count, 3, side_px, side_px)).astype(np.float32)


def hash_folder(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def export_anew(source: str, target: str, model: str, side: str, *also: str) -> None:
    """Export in a process of its own."""
    from dino_assets.exports.onnx import export_onnx
    from dino_assets.exports.placing import fill_folder
    from dino_assets.exports.settings import make_settings
    from dino_assets.weights.checkpoint import read_checkpoint

    checkpoint = read_checkpoint(Path(source), model=model)
    settings = make_settings(side=int(side))
    fill_folder(
        Path(target),
        lambda new: export_onnx(
            Path(source), checkpoint, settings, new, with_torchscript=bool(also)
        ),
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


if __name__ == "__main__":
    export_anew(*sys.argv[1:])
