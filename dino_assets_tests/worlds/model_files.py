"""Model files as people ship them, right and wrong: around transformers' own classes, in every format.

Nothing here is taken from the code that looks for faults: a fault is planted as people plant it, in the
module that is exported or in the file itself.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dino_assets_tests.worlds.networks import Sample

Change = Callable[[Any], None]
Before = Callable[[Tensor], Tensor]
After = Callable[[Tensor, Any], Any]


@dataclass(frozen=True)
class Shipped:
    """How a model is shipped."""

    prepare: Before = lambda planes: planes
    change: Change = lambda model: None
    read: After = lambda hidden, model: hidden
    outputs: tuple[str, ...] = ("last_hidden_state",)
    takes: str = "planes"  # or bytes: uint8 (N, H, W, 3)


class _Wrapped(nn.Module):
    def __init__(self, model: Any, shipped: Shipped) -> None:
        super().__init__()
        self.model, self.shipped = model, shipped

    def forward(self, pixels: Tensor) -> Any:
        planes = self.shipped.prepare(pixels)
        hidden = self.model(pixel_values=planes).last_hidden_state
        return self.shipped.read(hidden, self.model)


def load(sample: Sample, shipped: Shipped) -> nn.Module:
    """transformers' own model, changed, in a module that is exported."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(sample.folder, dtype=torch.float32).eval()
    with torch.no_grad():
        shipped.change(model)
    return _Wrapped(model, shipped).eval()


def example(shipped: Shipped, size_px: tuple[int, int], batch: int = 2) -> Tensor:
    """Pixels to trace a module with."""
    if shipped.takes == "bytes":
        return torch.zeros((batch, *size_px, 3), dtype=torch.uint8)
    return torch.zeros((batch, 3, *size_px))


def write_onnx(
    sample: Sample,
    file: Path,
    shipped: Shipped = Shipped(),
    *,
    side: int,
    opset: int = 20,
    is_dynamic: bool = False,
    has_open_sides: bool = False,
) -> Path:
    """Write ONNX by PyTorch's exporter."""
    module = load(sample, shipped)
    pixels = example(shipped, (side, side))
    open_batch: dict[int, Any] = {0: torch.export.Dim("n", min=1, max=64)} if is_dynamic else {}
    if has_open_sides:
        patch = sample.checkpoint.patch_px
        for axis, name in ((2, "h"), (3, "w")):
            open_batch[axis] = patch * torch.export.Dim(name, min=2, max=64)
    file.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (pixels,),
            file,
            input_names=["pixel_values"],
            output_names=list(shipped.outputs),
            opset_version=opset,
            dynamo=True,
            external_data=True,
            dynamic_shapes=(open_batch,) if open_batch else None,
            verbose=False,
        )
    return file


def write_traced_onnx(
    sample: Sample,
    file: Path,
    shipped: Shipped = Shipped(),
    *,
    side: int,
    opset: int = 17,
    open_axes: tuple[int, ...] = (0,),
) -> Path:
    """Write ONNX by the older exporter, which traces; most files out there came from it."""
    module = load(sample, shipped)
    file.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example(shipped, (side, side)),),
            str(file),
            input_names=["pixel_values"],
            output_names=list(shipped.outputs),
            opset_version=opset,
            dynamo=False,
            dynamic_axes={"pixel_values": {axis: f"axis{axis}" for axis in open_axes}},
        )
    return file


def write_ir(
    sample: Sample,
    file: Path,
    shipped: Shipped = Shipped(),
    *,
    side: int,
    batch: int = 1,
    is_compressed: bool = False,
    preprocess: Callable[[Any], Any] = lambda model: model,
) -> Path:
    """Write OpenVINO's own format, straight from PyTorch."""
    from dino_assets.embeddings.encoder.openvino_engine import import_openvino

    openvino = import_openvino()
    module = load(sample, shipped)
    pixels = example(shipped, (side, side), batch)
    file.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced_module = torch.jit.trace(module, pixels, check_trace=False)
        converted_model = openvino.convert_model(
            traced_module,
            input=[
                (
                    tuple(pixels.shape),
                    openvino.Type.u8 if shipped.takes == "bytes" else openvino.Type.f32,
                )
            ],
        )
    openvino.save_model(preprocess(converted_model), file, compress_to_fp16=is_compressed)
    return file
