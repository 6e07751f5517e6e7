"""Exported graphs: transformers' tokens, in other runtimes, at any batch."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from dino_assets.embeddings.encoder.tokens import normalise
from dino_assets.errors import ConfigError, DiskFullError, EngineRefusedError, MissingExtraError
from dino_assets.exports.graph import check_packages
from dino_assets.exports.onnx import export_onnx
from dino_assets.exports.placing import fill_folder
from dino_assets.exports.settings import make_settings
from dino_assets_tests.conftest import REPOSITORY
from dino_assets_tests.worlds import exported
from dino_assets_tests.worlds.exported import (
    ask_whole_model,
    draw_planes,
    hash_folder,
    read_manifest,
    run_onnxruntime,
    run_openvino,
)
from dino_assets_tests.worlds.networks import Sample, draw_tiles, write_sample

ExportOf = Callable[..., tuple[Sample, Path]]


@pytest.mark.parametrize("run", [run_onnxruntime, run_openvino])
def test_export__equals_transformers_at_any_batch(export_of: ExportOf, family: str, run):
    sample, folder = export_of(family)
    for batch in (1, 3, 8):
        planes = draw_planes(batch, 4 * sample.checkpoint.patch_px)
        expected = ask_whole_model(sample, planes)
        np.testing.assert_allclose(run(folder / "model.onnx", planes), expected, rtol=0, atol=1e-4)


def test_export__one_named_input_and_output(export_of: ExportOf, family: str):
    sample, folder = export_of(family)
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph

    def shape(value) -> list[object]:
        return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]

    side_px = 4 * sample.checkpoint.patch_px
    tokens = 16 + 1 + sample.checkpoint.registers
    assert [(v.name, shape(v)) for v in graph.input] == [
        ("pixel_values", ["batch", 3, side_px, side_px])
    ]
    assert [(v.name, shape(v)) for v in graph.output] == [
        ("last_hidden_state", ["batch", tokens, 48])
    ]
    manifest = read_manifest(folder)
    assert manifest["input"]["shape"] == ["batch", 3, side_px, side_px]
    assert manifest["output"]["shape"] == ["batch", tokens, 48]
    first, last = manifest["output"]["tokens"]["patches"]
    assert (first, last - first) == (1 + sample.checkpoint.registers, 16)


@pytest.mark.parametrize("opset", [18, 20, 23])
def test_export__writes_the_requested_opset(export_of: ExportOf, opset: int):
    sample, folder = export_of("dinov3_vit", **({} if opset == 20 else {"opset": opset}))
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    assert {each.domain: each.version for each in model.opset_import} == {"": opset}
    planes = draw_planes(2, 64)
    output = run_onnxruntime(folder / "model.onnx", planes)
    np.testing.assert_allclose(output, ask_whole_model(sample, planes), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "value"), [("opset", 14), ("opset", 99), ("side", -1), ("side", 99_999)]
)
def test_make_settings__outside_limits(name: str, value: int):
    with pytest.raises(ConfigError) as caught:
        make_settings(**{name: value})
    assert (caught.value.setting, caught.value.value) == (name, value)


def test_export__a_side_that_cuts_patches(sample_of, tmp_path: Path):
    sample = sample_of("dinov2")
    with pytest.raises(ConfigError) as caught:
        export_onnx(sample.folder, sample.checkpoint, make_settings(side=60), tmp_path)
    assert caught.value.value == 60


@pytest.mark.parametrize("run", [run_onnxruntime, run_openvino])
def test_export__pixels_are_normalised_in_the_graph(export_of: ExportOf, family: str, run):
    sample, folder = export_of(family, include_preprocessing=True)
    tiles = draw_tiles(3, 4 * sample.checkpoint.patch_px)
    expected = ask_whole_model(sample, normalise(tiles, sample.checkpoint))
    np.testing.assert_allclose(run(folder / "model.onnx", tiles), expected, rtol=0, atol=1e-4)
    input_entry = read_manifest(folder)["input"]
    assert (input_entry["dtype"], input_entry["layout"], input_entry["shape"][-1]) == (
        "uint8",
        "NHWC",
        3,
    )


def test_export__includes_papers_and_manifest(export_of: ExportOf):
    sample, folder = export_of("dinov2")
    manifest = read_manifest(folder)
    assert {name: file["sha256"] for name, file in manifest["files"].items()} == {
        name: sha256 for name, sha256 in hash_folder(folder).items() if name != "manifest.json"
    }
    assert (folder / "LICENSE.md").read_text() == "the licence of the weights\n"
    assert {"README.md", "config.json", "model.onnx", "model.onnx.data"} <= set(manifest["files"])
    assert manifest["input"]["mean"] == list(sample.checkpoint.mean)
    assert manifest["model"]["weights_sha256"] == sample.checkpoint.weights_sha256
    assert manifest["check"]["largest_difference"] <= 1e-4
    props = {
        each.key: each.value
        for each in onnx.load(folder / "model.onnx", load_external_data=False).metadata_props
    }
    assert props["space"] == manifest["spaces"]["fp32"]


def test_export__transformers_own_processor_reads_its_statistics(export_of: ExportOf):
    from transformers import BitImageProcessorPil

    sample, folder = export_of("dinov2")
    processor = BitImageProcessorPil.from_pretrained(folder)
    tiles = draw_tiles(2, 4 * sample.checkpoint.patch_px)
    planes = processor(list(tiles), return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(planes, normalise(tiles, sample.checkpoint), atol=1e-5)


def test_export__dinov3_without_a_licence_warns(sample_of, tmp_path: Path):
    sample = write_sample(tmp_path / "bare", "dinov3_vit")
    (tmp_path / "out").mkdir()
    settings = make_settings(side=32)
    export = export_onnx(sample.folder, sample.checkpoint, settings, tmp_path / "out")
    assert len(export.warnings) == 1
    assert "licence" in export.warnings[0]


class _Shifted(torch.nn.Module):
    """transformers' model with a swapped pair of tokens."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, planes: torch.Tensor):
        output = self.model(planes)
        output.last_hidden_state = output.last_hidden_state.roll(1, dims=1)
        return output


def test_export__refused_by_the_gate_leaves_nothing(export_of, sample_of, tmp_path: Path):
    sample, settings = sample_of("dinov2"), make_settings(side=56)

    def fill(new: Path) -> object:
        return export_onnx(sample.folder, sample.checkpoint, settings, new, checks_against=_Shifted)

    with pytest.raises(EngineRefusedError) as caught:
        fill_folder(tmp_path / "out" / "model", fill)
    assert caught.value.refused
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_export__the_same_bytes_in_another_process(export_of: ExportOf, tmp_path: Path):
    sample, folder = export_of("dinov2")
    arguments = [sample.folder, tmp_path / "again", sample.checkpoint.model, 56]
    subprocess.run(
        [sys.executable, "-m", exported.__name__, *map(str, arguments)],
        check=True,
        capture_output=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert hash_folder(tmp_path / "again") == hash_folder(folder)


def test_export__contains_no_path_of_this_machine(export_of: ExportOf, family: str):
    _, folder = export_of(family)
    graph = (folder / "model.onnx").read_bytes()
    for word in (b"site-packages", b".py", b"/home", str(REPOSITORY).encode(), b"/tmp"):
        assert word not in graph


def test_export__reports_progress(sample_of, tmp_path: Path, capfd):
    sample, lines = sample_of("dinov2"), []
    settings = make_settings(side=28)
    export_onnx(sample.folder, sample.checkpoint, settings, tmp_path, say=lines.append)
    assert [line for line in lines if "16 of 16" in line]
    assert capfd.readouterr() == ("", "")  # the exporter's own noise is for nobody


def test_check_packages__names_the_extra():
    check_packages()
    with pytest.raises(MissingExtraError) as caught:
        check_packages(("onnx", "no_such_package_at_all"))
    assert caught.value.extra == "export"
    assert "dino-assets[export]" in str(caught.value)


@pytest.mark.slow
def test_export__a_base_model_at_its_own_side(tmp_path: Path):
    """One family is enough: it takes 100 s without bfloat16, and small models of all families are checked above."""
    sample = write_sample(
        tmp_path / "base", "dinov3_vit", is_lively=False, dim=768, layers=12, heads=12
    )
    export = fill_folder(
        tmp_path / "out",
        lambda new: export_onnx(sample.folder, sample.checkpoint, make_settings(), new),
    )
    assert export.manifest["output"]["shape"] == ["batch", 1029, 768]
    assert export.manifest["check"]["largest_difference"] <= 1e-4


def test_export__a_full_disk_leaves_nothing(tmp_path: Path, small_disk: Path):
    sample = write_sample(tmp_path / "larger", "dinov2", dim=96, layers=4)
    settings = make_settings(side=28)

    def fill(new: Path) -> object:
        return export_onnx(sample.folder, sample.checkpoint, settings, new)

    with pytest.raises(DiskFullError) as caught:
        fill_folder(small_disk / "model", fill)
    assert caught.value.needed_bytes > caught.value.free_bytes > 0
    assert list(small_disk.iterdir()) == []
