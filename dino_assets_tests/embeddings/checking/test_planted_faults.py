"""Faults that the field has shipped: each is named, alone and among others."""

import json
from pathlib import Path

import pytest
import torch

from dino_assets_tests.embeddings.checking.conftest import Check, GetSample, names
from dino_assets_tests.worlds.model_faults import (
    SHIPMENTS,
    bytes_to_planes,
    enlarge_hidden,
    fix_positions,
    quantise,
    raise_level,
    set_epsilon,
)
from dino_assets_tests.worlds.model_files import (
    Shipped,
    write_ir,
    write_onnx,
    write_traced_onnx,
)

HALF = Shipped(change=lambda model: model.half(), prepare=lambda planes: planes.half())
_REGISTERS = "dinov2_with_registers"
CASES = [
    # The tracing exporter cannot write its antialiased positions, and the newer one takes seconds.
    pytest.param(words, family, marks=pytest.mark.slow if family == _REGISTERS else ())
    for words, shipment in SHIPMENTS.items()
    for family in shipment.families
]


@pytest.mark.parametrize(("words", "family"), CASES)
def test_check_model__finds_the_planted_fault(
    shipped_sample: GetSample, check: Check, tmp_path: Path, words: str, family: str
):
    shipment, sample = SHIPMENTS[words], shipped_sample(family)
    side = sample.checkpoint.patch_px * (8 if shipment.is_resized else 5)
    # The tracing exporter is faster, but knows neither antialiasing nor this rotation.
    is_traced = family != _REGISTERS and words != "RoPE interleaved"
    write = write_traced_onnx if is_traced else write_onnx
    with shipment.around():
        file = write(sample, tmp_path / "m.onnx", shipment.shipped(sample.checkpoint), side=side)
    assert names(check(file, sample)) == [shipment.named]


@pytest.mark.parametrize(
    "words", ["BGR", "RoPE halves swapped", "pooled", "registers among patches"]
)
def test_check_model__finds_a_fault_in_an_ir(
    shipped_sample: GetSample, check: Check, tmp_path: Path, words: str
):
    shipment, sample = SHIPMENTS[words], shipped_sample("dinov3_vit")
    with shipment.around():
        file = write_ir(sample, tmp_path / "m.xml", shipment.shipped(sample.checkpoint), side=80)
    assert names(check(file, sample)) == [shipment.named]


def test_check_model__three_faults_at_once(shipped_sample: GetSample, check: Check, tmp_path: Path):
    sample = shipped_sample("dinov3_vit")
    shipped = Shipped(
        prepare=bytes_to_planes(sample.checkpoint, turn=lambda planes: planes.flip(1)),
        takes="bytes",
        change=set_epsilon(1e-3),
        read=lambda hidden, model: hidden.mean(1),
        outputs=("embedding",),
    )
    file = write_traced_onnx(sample, tmp_path / "m.onnx", shipped, side=80)
    assert sorted(names(check(file, sample))) == ["bgr", "layernorm-epsilon", "pooled-not-cls"]


@pytest.mark.parametrize("family", ["dinov2", "dinov3_vit"])
def test_check_model__bfloat16_weights_cast_to_float16(
    shipped_sample: GetSample, check: Check, tmp_path: Path, family: str
):
    sample = shipped_sample(family, enlarge_hidden)
    sound_file = write_traced_onnx(
        sample, tmp_path / "right.onnx", side=sample.checkpoint.patch_px * 5
    )
    assert names(check(sound_file, sample)) == []
    file = write_onnx(sample, tmp_path / "half.onnx", HALF, side=sample.checkpoint.patch_px * 5)
    assert names(check(file, sample)) == ["overflow"]


def test_check_model__lost_in_half_precision(
    shipped_sample: GetSample, check: Check, tmp_path: Path
):
    sample = shipped_sample("dinov2", raise_level)
    file = write_onnx(sample, tmp_path / "half.onnx", HALF, side=70)
    assert names(check(file, sample)) == ["half-too-coarse"]


@pytest.mark.parametrize("family", ["dinov2", "dinov3_vit"])
def test_check_model__calibrated_on_one_grey_picture(
    shipped_sample: GetSample, check: Check, tmp_path: Path, family: str
):
    sample = shipped_sample(family)
    side = sample.checkpoint.patch_px * 5
    float_file = write_onnx(sample, tmp_path / "whole.onnx", side=side)
    file = quantise(float_file, tmp_path / "int8.onnx", side=side)
    assert names(check(file, sample)) == ["int8-collapse"]


def test_check_model__other_weights(shipped_sample: GetSample, check: Check, tmp_path: Path):
    sample = shipped_sample("dinov2")
    other_sample = shipped_sample("dinov2", torch.nn.Module.train)
    file = write_traced_onnx(other_sample, tmp_path / "m.onnx", side=70)
    assert names(check(file, sample)) == []
    with torch.no_grad():
        other_sample = shipped_sample("dinov2", _shuffle)
    file = write_traced_onnx(other_sample, tmp_path / "other.onnx", side=70)
    assert names(check(file, sample)) == ["unexplained"]


def _shuffle(model: torch.nn.Module) -> None:
    for parameter in model.parameters():
        parameter.copy_(parameter.flip(0))


def test_check_model__another_architecture(shipped_sample: GetSample, check: Check, tmp_path: Path):
    file = write_traced_onnx(shipped_sample("dinov3_vit"), tmp_path / "m.onnx", side=80)
    assert names(check(file, shipped_sample("dinov2"))) == ["other-shape"]


def test_check_model__dynamic_sides_that_fail(
    shipped_sample: GetSample, check: Check, tmp_path: Path
):
    """The file says that any size will do, and has the positions of one."""
    sample = shipped_sample("dinov2")
    shipped = Shipped(change=fix_positions)
    file = write_traced_onnx(sample, tmp_path / "m.onnx", shipped, side=70, open_axes=(0, 2, 3))
    assert names(check(file, sample)) == ["side-not-dynamic"]


def test_check_model__folder_with_another_processor(
    shipped_sample: GetSample, check: Check, copy_of
):
    sample = shipped_sample("dinov2")
    folder = copy_of(sample, preprocessor={"image_mean": IMAGENET_STD, "image_std": IMAGENET_MEAN})
    assert names(check(folder, sample)) == ["statistics-swapped"]
    folder = copy_of(sample, preprocessor={"do_rescale": False})
    assert names(check(folder, sample)) == ["pixel-range"]


IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def test_check_model__folder_with_another_epsilon(shipped_sample: GetSample, check: Check, copy_of):
    sample = shipped_sample("dinov2")
    assert names(check(copy_of(sample, config={"layer_norm_eps": 1e-5}), sample)) == [
        "layernorm-epsilon"
    ]


@pytest.fixture
def copy_of(tmp_path: Path):
    """``copy_of(sample, config=…, preprocessor=…)``: its folder with other entries."""

    def copy(sample, *, config=None, preprocessor=None, without=()) -> Path:
        folder = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for path in sample.folder.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        for name, entries in (("config.json", config), ("preprocessor_config.json", preprocessor)):
            value = json.loads((folder / name).read_text()) | (entries or {})
            remaining_entries = {key: entry for key, entry in value.items() if key not in without}
            (folder / name).write_text(json.dumps(remaining_entries))
        return folder

    return copy
