"""No false alarm: fifty right ways to ship a model, by exporter, format, numbers, inputs and outputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dino_assets.embeddings.encoder.openvino_engine import import_openvino
from dino_assets_tests.embeddings.checking.conftest import Check, GetSample, names
from dino_assets_tests.worlds.model_faults import bytes_to_planes
from dino_assets_tests.worlds.model_files import (
    Shipped,
    write_ir,
    write_onnx,
    write_traced_onnx,
)
from dino_assets_tests.worlds.networks import Sample

Write = Callable[[Sample, Path, int], Path]
HALF: dict[str, Any] = {
    "change": lambda model: model.half(),
    "prepare": lambda planes: planes.half(),
}


def _scaled(hidden: Any, model: Any) -> Any:
    vectors = hidden[:, 0]
    return vectors / vectors.norm(dim=-1, keepdim=True)


def _registers(model: Any) -> int:
    return int(getattr(model.config, "num_register_tokens", 0))


OUTPUTS: dict[str, Shipped] = {
    "tokens": Shipped(),
    "cls": Shipped(read=lambda hidden, model: hidden[:, 0], outputs=("embedding",)),
    "cls at length one": Shipped(read=_scaled, outputs=("embedding",)),
    "mean": Shipped(
        read=lambda hidden, model: hidden[:, 1 + _registers(model) :].mean(1), outputs=("mean",)
    ),
    "patches": Shipped(
        read=lambda hidden, model: hidden[:, 1 + _registers(model) :], outputs=("patches",)
    ),
    "map": Shipped(
        read=lambda hidden, model: (
            hidden[:, 1 + _registers(model) :].transpose(1, 2).unflatten(2, (5, 5))
        ),
        outputs=("features",),
    ),
    "with a pooler": Shipped(
        read=lambda hidden, model: (hidden, hidden[:, 0]),
        outputs=("last_hidden_state", "pooler_output"),
    ),
}


def _takes_bytes(sample: Sample) -> Shipped:
    return Shipped(prepare=bytes_to_planes(sample.checkpoint), takes="bytes")


def _takes(scale: float) -> Callable[[Sample], Shipped]:
    """Float pixels of any range, normalised inside."""

    def shipped(sample: Sample) -> Shipped:
        prepare = bytes_to_planes(sample.checkpoint, scale=scale)
        return Shipped(prepare=lambda planes: prepare(planes.permute(0, 2, 3, 1)))

    return shipped


def _add_preprocessing(sample: Sample) -> Callable[[Any], Any]:
    """OpenVINO's own: uint8 pixels, channels last."""

    def add(model: Any) -> Any:
        openvino = import_openvino()
        from openvino.preprocess import PrePostProcessor

        checkpoint = sample.checkpoint
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(
            openvino.Layout("NHWC")
        )
        steps.input().model().set_layout(openvino.Layout("NCHW"))
        steps.input().preprocess().convert_element_type(openvino.Type.f32)
        steps.input().preprocess().mean([255 * value for value in checkpoint.mean])
        steps.input().preprocess().scale([255 * value for value in checkpoint.std])
        return steps.build()

    return add


WAYS: dict[str, Write] = {
    **{
        f"traced, {words}": lambda sample, file, side, shipped=shipped: write_traced_onnx(
            sample, file.with_suffix(".onnx"), shipped, side=side
        )
        for words, shipped in OUTPUTS.items()
    },
    "traced, opset 14": lambda sample, file, side: write_traced_onnx(
        sample, file.with_suffix(".onnx"), side=side, opset=14
    ),
    "traced, any side": lambda sample, file, side: write_traced_onnx(
        sample, file.with_suffix(".onnx"), side=side, open_axes=(0, 2, 3)
    ),
    "traced, other side": lambda sample, file, side: write_traced_onnx(
        sample, file.with_suffix(".onnx"), side=side // 5 * 8
    ),
    "traced, bytes": lambda sample, file, side: write_traced_onnx(
        sample, file.with_suffix(".onnx"), _takes_bytes(sample), side=side
    ),
    "traced, 0…1": lambda sample, file, side: write_traced_onnx(
        sample, file.with_suffix(".onnx"), _takes(1)(sample), side=side
    ),
    "traced, 0…255": lambda sample, file, side: write_traced_onnx(
        sample, file.with_suffix(".onnx"), _takes(255)(sample), side=side
    ),
    "IR": lambda sample, file, side: write_ir(sample, file.with_suffix(".xml"), side=side),
    "IR, weights in float16": lambda sample, file, side: write_ir(
        sample, file.with_suffix(".xml"), side=side, is_compressed=True
    ),
    "IR, batch of 4": lambda sample, file, side: write_ir(
        sample, file.with_suffix(".xml"), side=side, batch=4
    ),
    "IR, with its preprocessing": lambda sample, file, side: write_ir(
        sample, file.with_suffix(".xml"), side=side, preprocess=_add_preprocessing(sample)
    ),
}
EXPORTED: dict[str, Write] = {
    "opset 20": lambda sample, file, side: write_onnx(
        sample, file.with_suffix(".onnx"), side=side, is_dynamic=True
    ),
    "opset 18": lambda sample, file, side: write_onnx(
        sample, file.with_suffix(".onnx"), side=side, opset=18
    ),
    "float16": lambda sample, file, side: write_onnx(
        sample, file.with_suffix(".onnx"), Shipped(**HALF), side=side
    ),
    "other side": lambda sample, file, side: write_onnx(
        sample, file.with_suffix(".onnx"), side=side // 5 * 7
    ),
    "bytes": lambda sample, file, side: write_onnx(
        sample, file.with_suffix(".onnx"), _takes_bytes(sample), side=side
    ),
}
_REGISTERS = "dinov2_with_registers"  # the tracing exporter cannot write its antialiased positions
CASES = [
    *((family, words) for family in ("dinov2", "dinov3_vit") for words in WAYS),
    *((_REGISTERS, words) for words in WAYS if words.startswith("IR")),
    *(
        # PyTorch's newer exporter takes some seconds each.
        pytest.param(family, words, marks=pytest.mark.slow)
        for family in ("dinov2", _REGISTERS, "dinov3_vit")
        for words in EXPORTED
    ),
]


def test_good_models__has_fifty_models():
    assert len(CASES) + 3 >= 50


@pytest.mark.parametrize(("family", "words"), CASES)
def test_check_model__passes_good_models(
    shipped_sample: GetSample, check: Check, tmp_path: Path, family: str, words: str
):
    sample = shipped_sample(family)
    write = {**WAYS, **EXPORTED}[words]
    report = check(write(sample, tmp_path / "model", 5 * sample.checkpoint.patch_px), sample)
    assert names(report) == []
    assert report.grade


@pytest.mark.slow
@pytest.mark.parametrize("family", ["dinov2", _REGISTERS, "dinov3_vit"])
def test_check_model__passes_a_good_folder(shipped_sample: GetSample, check: Check, family: str):
    sample = shipped_sample(family)
    report = check(sample.folder, sample)
    assert names(report) == []
    assert report.grade == "fp32"
    assert len({(size.height, size.width) for size in report.sizes}) == 3


@pytest.mark.parametrize(
    ("words", "pixels"),
    [
        ("traced, tokens", "normalised"),
        ("traced, 0…1", "in 0…1, not normalised"),
        ("traced, 0…255", "in 0…255, not normalised"),
        ("traced, bytes", "bytes"),
    ],
)
def test_check_model__reports_the_form_of_pixels(
    shipped_sample: GetSample, check: Check, tmp_path: Path, words: str, pixels: str
):
    sample = shipped_sample("dinov3_vit")
    assert check(WAYS[words](sample, tmp_path / "model", 80), sample).pixels == pixels
